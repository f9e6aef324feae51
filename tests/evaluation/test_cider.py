"""CIDEr-D against its definition written out for one caption, and against pycocoevalcap's."""

from __future__ import annotations

import json
import math
import pickle
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scripts.experiments.benchmark_cider import measure

from wordgaze.errors import DataError
from wordgaze.evaluation.cider import CiderD, DocumentFrequencies

Captions = dict[int, list[list[str]]]


def _random_set(seed: int, photos: int | None = None) -> tuple[dict[int, list[str]], Captions]:
    rng = random.Random(seed)
    words = [
        "a",
        "the",
        "on",
        "of",
        "man",
        "dog",
        "cat",
        "red",
        "blue",
        "ball",
        "runs",
        "sits",
        "é",
        "日本",
        "-",
    ]

    def caption() -> list[str]:
        return rng.choices(words, weights=range(len(words), 0, -1), k=rng.randint(0, 12))

    count = photos or rng.randint(1, 40)
    ids = rng.sample(range(1000), count)
    return (
        {photo: [*caption(), *rng.choices(["unseen", "zebra", "a"], k=rng.randint(0, 3))] for photo in ids},
        {photo: [caption() for _ in range(rng.randint(1, 5))] for photo in ids},
    )


def _grams(words: list[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _by_definition(candidate: list[str], references: list[list[str]], documents: Captions) -> float:
    """Vedantam et al. 2015, section 5, with the lengths counted in bigrams as in their code."""
    total = 0.0
    for n in range(1, 5):
        seen = Counter(gram for group in documents.values() for gram in {g for r in group for g in _grams(r, n)})

        def weighted(words: list[str], n: int = n, seen: Counter = seen) -> dict:
            return {
                gram: times * (math.log(len(documents)) - math.log(max(1, seen[gram])))
                for gram, times in _grams(words, n).items()
            }

        own = weighted(candidate)
        for reference in references:
            other = weighted(reference)
            norms = math.hypot(*own.values()) * math.hypot(*other.values())
            clipped = sum(min(weight, other.get(gram, 0)) * other.get(gram, 0) for gram, weight in own.items())
            shorter = max(0, len(candidate) - 1) - max(0, len(reference) - 1)
            total += (clipped / norms if norms else 0) * math.exp(-(shorter**2) / (2 * 6.0**2))
    return 10 * total / 4 / len(references)


@pytest.mark.parametrize("seed", range(10))
def test_equal_to_the_definition(seed: int) -> None:
    candidates, references = _random_set(seed)
    mean, each = CiderD(references).score(candidates)
    expected = [_by_definition(candidates[photo], references[photo], references) for photo in candidates]
    assert each == pytest.approx(expected, abs=1e-9)
    assert mean == pytest.approx(np.mean(expected), abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_pycocoevalcap(seed: int) -> None:
    theirs = pytest.importorskip("pycocoevalcap.cider.cider")
    candidates, references = _random_set(seed)
    if not any(words for group in references.values() for words in group):
        pytest.skip("pycocoevalcap fails on references without words")
    mean, each = theirs.Cider().compute_score(
        {photo: [" ".join(words) for words in group] for photo, group in references.items()},
        {photo: [" ".join(candidates[photo])] for photo in references},
    )
    our_mean, our_each = CiderD(references).score({photo: candidates[photo] for photo in references})
    assert our_each == pytest.approx(each, abs=1e-12)
    assert our_mean == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_several_samples_of_a_photo_score_as_each_alone(seed: int) -> None:
    candidates, references = _random_set(seed, photos=12)
    cider = CiderD(references)
    rng = random.Random(seed)
    photos = rng.choices(list(references), k=60)
    samples = [rng.choice(list(candidates.values())) for _ in photos]
    alone = [cider.rewards([photo], [sample])[0] for photo, sample in zip(photos, samples, strict=True)]
    assert cider.rewards(photos, samples).tolist() == alone
    assert cider.rewards(photos[::-1], samples[::-1]).tolist() == alone[::-1]


@pytest.mark.parametrize("seed", range(5))
def test_other_document_frequencies(seed: int) -> None:
    candidates, references = _random_set(seed, photos=6)
    _, documents = _random_set(seed + 100, photos=30)
    documents[-1] = [["purple", "a", "dog"]]
    references[next(iter(references))].append(["words", "no", "document", "has"])
    candidates[next(iter(references))] = ["words", "no", "document", "a"]
    frequencies = DocumentFrequencies(documents.values())
    expected = [_by_definition(candidates[photo], references[photo], documents) for photo in references]
    for _ in range(2):  # the frequencies are not changed by their use
        each = CiderD(references, frequencies=frequencies).rewards(
            list(references), [candidates[photo] for photo in references]
        )
        assert each == pytest.approx(expected, abs=1e-9)


def test_the_references_own_frequencies_given_change_nothing() -> None:
    candidates, references = _random_set(3, photos=20)
    given = CiderD(references, frequencies=DocumentFrequencies(references.values()))
    assert given.score(candidates)[1].tolist() == CiderD(references).score(candidates)[1].tolist()


def test_ids_of_words_serve_as_well_as_words() -> None:
    candidates, references = _random_set(4)
    number: dict[str, int] = {}

    def ids(words: list[str]) -> list[int]:
        return [number.setdefault(word, 7 * len(number)) for word in words]

    numbered = CiderD({photo: [ids(words) for words in group] for photo, group in references.items()})
    by_ids = numbered.score({photo: ids(words) for photo, words in candidates.items()})
    assert by_ids[1].tolist() == CiderD(references).score(candidates)[1].tolist()


def test_scoring_one_set_leaves_nothing_for_the_next() -> None:
    candidates, references = _random_set(6, photos=10)
    cider = CiderD(references)
    first = cider.score(candidates)[1].tolist()
    cider.score({photo: ["other", "unseen", "words", *words] for photo, words in candidates.items()})
    assert cider.score(candidates)[1].tolist() == first
    assert pickle.loads(pickle.dumps(cider)).score(candidates)[1].tolist() == first


def test_repeating_a_reference_word_wins_nothing() -> None:
    references = {1: [["red", "dog", "runs"]], 2: [["blue", "cat", "sits"]]}
    once, often = CiderD(references).rewards([1, 1], [["red", "dog", "runs"], ["red"] * 9])
    assert once > 3 * often > 0


def test_one_photo_and_empty_captions_score_zero() -> None:
    assert CiderD({1: [["a", "cat"], []]}).score({1: ["a", "cat"]})[0] == 0  # log(1 photo) is no weight
    assert CiderD({1: [[]], 2: [["a"]]}).score({1: [], 2: []})[1].tolist() == [0, 0]
    assert CiderD({1: [[]]}).score({1: []})[0] == 0
    assert CiderD({1: [["a"]]}).rewards([], []).shape == (0,)
    assert CiderD({}).score({})[0] == 0


def test_mistakes_are_told_in_a_sentence() -> None:
    cider = CiderD({1: [["a", "cat"]], 2: [["a", "dog"]]})
    with pytest.raises(DataError, match="Photo 3 has no reference captions"):
        cider.rewards([1, 3], [["a"], ["b"]])
    with pytest.raises(DataError, match="There are 2 captions but 1 photo id"):
        cider.rewards([1], [["a"], ["b"]])
    with pytest.raises(DataError, match="Photo 7 has no reference caption"):
        CiderD({7: []})
    with pytest.raises(TypeError, match="not as one string"):
        cider.rewards([1], ["a cat"])


def test_the_benchmark_finds_equal_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocoevalcap.cider.cider")
    monkeypatch.setattr("scripts.experiments.benchmark_cider.PHOTOS", 2)  # of the steps that are timed
    candidates, references = _random_set(8, photos=40)
    annotations = [
        {"image_id": photo, "caption": " ".join(["a", *words])}
        for photo, group in references.items()
        for words in group
    ]
    images = [{"id": photo} for photo in references]
    (tmp_path / "references.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    results = [{"image_id": photo, "caption": " ".join(words)} for photo, words in candidates.items()]
    (tmp_path / "results.json").write_text(json.dumps(results))
    values = measure(tmp_path / "references.json", tmp_path / "results.json", rounds=1)
    assert (values["captions"], values["references"]) == (40, len(annotations))
    assert values["largest_difference"] < 1e-9 and values["CIDEr"] > 0
    assert all(seconds > 0 for seconds in values["seconds"].values())
