"""Whole sets of captions: pycocoevalcap's numbers, the published scores, and what can go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scripts.experiments.parity import PUBLISHED

from wordgaze.errors import DataError
from wordgaze.evaluation import ptb
from wordgaze.evaluation.score import METRICS, CaptionScorer, fingerprint, score_captions

REFERENCES = {
    "a": ["A dog runs, fast!", "the brown dog's running on 1 1/2 fields", "a dog (running) in grass"],
    "b": ["two cats sleep", "Two cats aren't awake."],
    3: ["a man on a red bike", "someone rides a bike", "a cyclist", "the man's bike is red"],
}
CANDIDATES = {
    "a": "A dog is running on 1 1/2 fields.",
    "b": "two cats sleep",
    3: "a man rides a bike down a road",
}


def test_the_published_scores_to_every_digit(shared_data: Path) -> None:
    results = shared_data / "data" / "results"
    references: dict[int, list[str]] = {}
    for entry in json.loads((results / "karpathy_test_references.json").read_text())["annotations"]:
        references.setdefault(entry["image_id"], []).append(entry["caption"])
    scorer = CaptionScorer(references)

    def scores(file: str) -> dict[str, float]:
        entries = json.loads((results / file).read_text())
        return scorer.score({entry["image_id"]: entry["caption"] for entry in entries}).metrics

    assert scores("show_edit_tell_xe.json") == PUBLISHED
    rl = scores("show_edit_tell_rl.json")
    assert (round(rl["Bleu_4"], 4), round(rl["CIDEr"], 4)) == (0.3921, 1.2895)


def test_names_and_every_photo() -> None:
    scores = score_captions(CANDIDATES, REFERENCES)
    assert list(scores.metrics) == list(PUBLISHED)
    assert list(scores.per_photo) == list(REFERENCES)
    for name in ("ROUGE_L", "CIDEr"):
        mean = sum(photo[name] for photo in scores.per_photo.values()) / 3
        assert scores.metrics[name] == pytest.approx(mean)
    assert scores.per_photo["b"]["ROUGE_L"] == pytest.approx(1)
    assert all(type(value) is float for photo in scores.per_photo.values() for value in photo.values())


def test_equal_to_pycocoevalcap_given_the_same_words() -> None:
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4)
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    from wordgaze.evaluation.ptb import tokenize

    references = {photo: [" ".join(tokenize(c)) for c in captions] for photo, captions in REFERENCES.items()}
    candidates = {photo: [" ".join(tokenize(CANDIDATES[photo]))] for photo in REFERENCES}
    assert "\xa0" in candidates["a"][0]  # one word to ROUGE-L, two to BLEU and CIDEr
    ours = score_captions(CANDIDATES, REFERENCES)
    theirs = dict(zip(PUBLISHED, bleu.compute_score(references, candidates, verbose=0)[0], strict=False))
    theirs["ROUGE_L"], _ = Rouge().compute_score(references, candidates)
    theirs["CIDEr"], each = Cider().compute_score(references, candidates)
    assert ours.metrics == pytest.approx(theirs, abs=1e-12)
    assert [photo["CIDEr"] for photo in ours.per_photo.values()] == pytest.approx(list(each), abs=1e-12)


def test_the_order_of_the_candidates_does_not_matter() -> None:
    backwards = dict(reversed(CANDIDATES.items()))
    assert score_captions(backwards, REFERENCES) == score_captions(CANDIDATES, REFERENCES)


def test_every_photo_drawn_once_is_the_set_itself() -> None:
    for name, score in score_captions(CANDIDATES, REFERENCES).scores.items():
        assert score.resampled(np.ones((2, 3))) == pytest.approx([score.total] * 2), name
        assert score.resampled(np.array([[0.0, 3.0, 0.0]])) == pytest.approx([score.per_photo[1]]), name


def test_a_fingerprint_is_of_photos_references_and_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    references = {1: ["a dog", "a cat"], 2: ["a bus"]}
    found = fingerprint(references)
    assert len(found) == 12 and int(found, 16) >= 0
    assert fingerprint({"2": ["a bus"], "1": ("a cat", "a dog")}) == found
    others = [
        {1: ["a dog", "a cat"], 3: ["a bus"]},
        {1: ["a dog", "a cat"]},
        {1: ["a dog"], 2: ["a cat", "a bus"]},
        {1: ["a dog", "a cat"], 2: ["a bus."]},
        {1: ["a dog", "a cat", "a cat"], 2: ["a bus"]},
    ]
    assert len({found, *map(fingerprint, others)}) == 6
    monkeypatch.setattr(ptb, "VERSION", ptb.VERSION + 1)
    assert fingerprint(references) != found


def test_only_the_metrics_asked_for() -> None:
    assert set(score_captions(CANDIDATES, REFERENCES, metrics=("CIDEr",)).metrics) == {"CIDEr"}
    assert set(score_captions(CANDIDATES, REFERENCES, metrics=["ROUGE_L", "BLEU"]).metrics) == set(PUBLISHED) - {
        "CIDEr"
    }


def test_one_scorer_scores_many_sets() -> None:
    scorer = CaptionScorer(REFERENCES)
    first = scorer.score(CANDIDATES)
    assert scorer.score(dict.fromkeys(REFERENCES, "a zebra")) != first
    assert scorer.score(CANDIDATES) == first == score_captions(CANDIDATES, REFERENCES)


@pytest.mark.parametrize("caption", ["", " ", ".", "😀", "日本語", "a\ncat", "\x00"])
def test_odd_captions_get_a_score(caption: str) -> None:
    for references in ({1: ["a cat"]}, {1: [caption]}, {1: ["a cat", caption], 2: ["a dog"]}):
        scores = score_captions(dict.fromkeys(references, caption), references)
        assert all(0 <= value <= 10 for value in scores.metrics.values())


def test_photos_that_differ_are_told_in_a_sentence() -> None:
    with pytest.raises(DataError, match=r"1 have references but no caption \(b\)") as missing:
        score_captions({"a": "x", 3: "y"}, REFERENCES)
    assert "\n" not in str(missing.value)
    with pytest.raises(DataError, match=r"2 have a caption but no references \(4, 5\)"):
        score_captions({**CANDIDATES, 4: "x", 5: "y"}, REFERENCES)
    with pytest.raises(DataError, match=r"1 have references but no caption .* and 1 have a caption but no references"):
        score_captions({"a": "x", 3: "y", 4: "z"}, REFERENCES)


def test_references_that_are_none_are_told_in_a_sentence() -> None:
    with pytest.raises(DataError, match="There are no reference captions"):
        score_captions({}, {})
    with pytest.raises(DataError, match="Photo 1 has no reference caption"):
        score_captions({1: "x"}, {1: []})
    with pytest.raises(DataError, match="a single string"):
        score_captions({1: "x"}, {1: "a cat"})
    with pytest.raises(DataError, match=f"no metric 'cider'; choose from {', '.join(METRICS)}"):
        score_captions(CANDIDATES, REFERENCES, metrics=["cider"])
