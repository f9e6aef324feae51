"""Scores from a model and from a file: of the photos that the captions file names, and of no others."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.model_folder import mixed, model_folder, photos  # noqa: F401

from wordgaze.captioner import Captioner
from wordgaze.errors import ConfigError, DataError
from wordgaze.evaluation.score import score_captions
from wordgaze.tasks.evaluate import (
    choose_metrics,
    evaluate_model,
    evaluate_results,
    photos_to_caption,
    save_per_photo,
)

# ruff: noqa: F811  (fixtures are arguments of the same name)

REFERENCES = {
    1: ["a dog runs on the grass", "a brown dog is running"],
    2: ["two men sit on a bench", "men on a bench in a park"],
    3: ["a cat sleeps on a red sofa", "the cat is asleep on the couch"],
}
FOUND = {1: "a dog runs on the grass", 2: "a man on a bench", 3: "a man on a bench"}


def write_captions(path: Path, references: dict[Any, list[str]], names: dict[Any, str]) -> Path:
    """A captions file in COCO's format."""
    images = [
        {"id": photo_id, **({"file_name": names[photo_id]} if names else {})} for photo_id in references
    ]
    annotations = [
        {"id": 10 * photo_id + number, "image_id": photo_id, "caption": caption}
        for photo_id, captions in references.items()
        for number, caption in enumerate(captions)
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def write_results(path: Path, found: dict[Any, str]) -> Path:
    path.write_text(json.dumps([{"image_id": photo_id, "caption": found[photo_id]} for photo_id in found]))
    return path


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    return write_captions(tmp_path / "captions.json", REFERENCES, {1: "a.jpg", 2: "b.jpg", 3: "c.jpg"})


# --- From a file -----------------------------------------------------------------------------------------------


def test_results_are_scored_and_described(captions: Path, tmp_path: Path) -> None:
    evaluation = evaluate_results(write_results(tmp_path / "results.json", FOUND), captions)
    expected = score_captions(FOUND, REFERENCES)
    assert evaluation.metrics == expected.metrics
    assert list(evaluation.intervals) == ["ROUGE_L", "CIDEr"]
    for name, (low, high) in evaluation.intervals.items():
        assert 0 <= low < evaluation.metrics[name] < high
    assert evaluation.to_dict() == {
        "metrics": expected.metrics,
        "intervals": {name: list(ends) for name, ends in evaluation.intervals.items()},
        "images": 3,
        "references": 6,
        "distinct": 2,
        "repeats": 0.0,
        "words_per_caption": 16 / 3,
    }
    assert list(evaluation.metrics) == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    assert {photo.photo_id: photo.scores for photo in evaluation.photos} == expected.per_photo


def test_the_worst_come_first(captions: Path, tmp_path: Path) -> None:
    evaluation = evaluate_results(write_results(tmp_path / "results.json", FOUND), captions)
    assert [photo.photo_id for photo in evaluation.photos] == [3, 2, 1]
    chances = [photo.scores["CIDEr"] for photo in evaluation.photos]
    assert chances == sorted(chances) and chances[0] < chances[-1]


def test_references_need_no_photo_files(captions: Path, tmp_path: Path) -> None:
    nameless = write_captions(tmp_path / "nameless.json", REFERENCES, {})
    results = write_results(tmp_path / "results.json", FOUND)
    evaluation = evaluate_results(results, nameless)
    assert evaluation.metrics == evaluate_results(results, captions).metrics
    assert evaluation.photos[0].to_dict()["file"] is None


def test_ids_as_text_are_the_same_ids(captions: Path, tmp_path: Path) -> None:
    results = write_results(
        tmp_path / "results.json", {str(photo_id): text for photo_id, text in FOUND.items()}
    )
    assert evaluate_results(results, captions).metrics == score_captions(FOUND, REFERENCES).metrics


def test_other_photos_are_left_out_and_missing_ones_said(captions: Path, tmp_path: Path) -> None:
    more = write_results(tmp_path / "more.json", {**FOUND, 4: "a bus", 5: "a train"})
    evaluation = evaluate_results(more, captions)
    assert evaluation.left_out == 2
    assert evaluation.metrics == score_captions(FOUND, REFERENCES).metrics
    fewer = write_results(tmp_path / "fewer.json", {1: "a dog"})
    with pytest.raises(DataError, match=r"no caption for 2 of the 3 photos.*\(image_id 2, 3\)"):
        evaluate_results(fewer, captions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no valid JSON"),
        ('{"1": "a dog"}', "holds no list"),
        ('["a dog"]', "entry 0 needs"),
        ('[{"image_id": 1}]', "entry 0 needs"),
        ('[{"image_id": 1, "caption": ["a"]}]', "entry 0 needs"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}]', "image_id 1 has two"),
    ],
)
def test_broken_results_are_said(captions: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        evaluate_results(path, captions)
    with pytest.raises(DataError, match="can't be read"):
        evaluate_results(tmp_path / "nothere.json", captions)


def test_repeats_are_three_words_twice(captions: Path, tmp_path: Path) -> None:
    found = {1: "a b c a b c", 2: "a b a b a", 3: "a b c"}
    assert evaluate_results(write_results(tmp_path / "r.json", found), captions).repeats == pytest.approx(
        2 / 3
    )


def test_metrics_by_any_case(captions: Path, tmp_path: Path) -> None:
    results = write_results(tmp_path / "results.json", FOUND)
    assert list(evaluate_results(results, captions, metrics=["cider"]).metrics) == ["CIDEr"]
    evaluation = evaluate_results(results, captions, metrics=["bleu", "Rouge_L"])
    assert [photo.scores["ROUGE_L"] for photo in evaluation.photos] == sorted(
        photo.scores["ROUGE_L"] for photo in evaluation.photos
    )
    assert choose_metrics([]) == ("BLEU", "ROUGE_L", "CIDEr")
    with pytest.raises(ConfigError, match="METEOR is not in this version; choose from BLEU, ROUGE_L, CIDEr"):
        choose_metrics(["METEOR"])
    with pytest.raises(ConfigError, match="wit is not a metric"):
        choose_metrics(["wit"])


def test_each_photo_in_a_file(captions: Path, tmp_path: Path) -> None:
    evaluation = evaluate_results(write_results(tmp_path / "results.json", FOUND), captions)
    save_per_photo(evaluation, tmp_path / "each.json")
    save_per_photo(evaluation, tmp_path / "each.csv")
    values = json.loads((tmp_path / "each.json").read_text())
    assert [value["image_id"] for value in values] == [3, 2, 1]
    assert values[0]["references"] == REFERENCES[3] and values[0]["caption"] == FOUND[3]
    with (tmp_path / "each.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["CIDEr"]) for row in rows] == [value["CIDEr"] for value in values]
    assert rows[0]["references"] == " | ".join(REFERENCES[3])
    with pytest.raises(ConfigError, match=r"each\.txt: can't tell.*\.json or \.csv"):
        save_per_photo(evaluation, tmp_path / "each.txt")


def test_scoring_a_file_waits_for_no_torch() -> None:
    code = "import sys, wordgaze.tasks.evaluate; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
    )


# --- From a model ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def captioner(model_folder: Path) -> Captioner:
    return Captioner.from_pretrained(model_folder, "cpu")


def test_a_model_is_scored_on_the_photos_that_are_named(
    captioner: Captioner, mixed: Path, tmp_path: Path
) -> None:
    """Against its own captions it is perfect, unless a caption went to another photo."""
    names = {1: "g.png", 2: "c.png", 3: "e.png"}
    own = {photo_id: [captioner.caption(mixed / name).text] for photo_id, name in names.items()}
    assert len({text for [text] in own.values()}) == 3
    captions = write_captions(tmp_path / "captions.json", own, names)
    steps: list[None] = []
    evaluation = evaluate_model(
        captioner, photos_to_caption(captions, mixed), batch_size=2, advance=lambda: steps.append(None)
    )
    assert evaluation.metrics["Bleu_1"] == pytest.approx(1)
    assert evaluation.metrics["ROUGE_L"] == pytest.approx(1)
    assert (len(evaluation.photos), evaluation.distinct, len(steps)) == (3, 3, 3)
    assert {photo.photo_id: photo.file for photo in evaluation.photos} == {
        photo_id: mixed / name for photo_id, name in names.items()
    }


def test_a_photo_that_is_missing_or_broken_stops_it(
    captioner: Captioner, mixed: Path, tmp_path: Path
) -> None:
    captions = write_captions(tmp_path / "captions.json", REFERENCES, {1: "b.png", 2: "x.png", 3: "y.png"})
    with pytest.raises(DataError, match=r"2 of the 3 photos.*are not in .*\(x\.png, y\.png\)"):
        photos_to_caption(captions, mixed)
    captions = write_captions(tmp_path / "captions.json", REFERENCES, {1: "b.png", 2: "d2.png", 3: "c.png"})
    with pytest.raises(DataError, match=r"d2\.png: is not a photo"):
        evaluate_model(captioner, photos_to_caption(captions, mixed))
