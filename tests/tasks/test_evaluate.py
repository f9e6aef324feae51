"""Scores from a model and from a file: of the photos that the captions file names, and of no others."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wordgaze.captioner import Captioner
from wordgaze.errors import ConfigError, DataError
from wordgaze.evaluation.score import fingerprint, score_captions
from wordgaze.tasks.evaluate import (
    CaptionEvaluator,
    Evaluation,
    choose_metrics,
    evaluate_model,
    evaluate_results,
    photos_to_caption,
    reference_photos,
    save_per_photo,
)

REFERENCES = {
    1: ["a dog runs on the grass", "a brown dog is running"],
    2: ["two men sit on a bench", "men on a bench in a park"],
    3: ["a cat sleeps on a red sofa", "the cat is asleep on the couch"],
}
FOUND = {1: "a dog runs on the grass", 2: "a man on a bench", 3: "a man on a bench"}


def write_captions(path: Path, references: dict[Any, list[str]], names: dict[Any, str]) -> Path:
    """A captions file in COCO's format."""
    images = [{"id": photo_id, **({"file_name": names[photo_id]} if names else {})} for photo_id in references]
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


def evaluated(results: Path, captions: Path, metrics: Sequence[str] = (), **options: Any) -> Evaluation:
    return evaluate_results(results, CaptionEvaluator(reference_photos(captions), metrics, **options))


# --- From a file -----------------------------------------------------------------------------------------------


def test_results_are_scored_and_described(captions: Path, tmp_path: Path) -> None:
    evaluation = evaluated(write_results(tmp_path / "results.json", FOUND), captions)
    expected = score_captions(FOUND, REFERENCES)
    assert evaluation.metrics == expected.metrics
    assert list(evaluation.intervals) == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    for name, (low, high) in evaluation.intervals.items():
        assert 0 <= low < evaluation.metrics[name] < high <= 10
    assert evaluation.to_dict() == {
        "metrics": expected.metrics,
        "intervals": {name: list(ends) for name, ends in evaluation.intervals.items()},
        "images": 3,
        "references": 6,
        "distinct": 2,
        "repeats": 0.0,
        "words_per_caption": 16 / 3,
        "fingerprint": fingerprint(REFERENCES),
    }
    assert list(evaluation.metrics) == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    assert {photo.photo_id: photo.scores for photo in evaluation.photos} == expected.per_photo
    rows = {name: (value, interval) for name, value, interval in evaluation.rows()}
    low, high = evaluation.intervals["Bleu_4"]
    assert rows["Bleu_4"] == (f"{expected.metrics['Bleu_4']:.4f}", f"{low:.3f} to {high:.3f}")
    assert rows["images"] == ("3", "") and rows["fingerprint"] == (fingerprint(REFERENCES), "")


def test_the_worst_come_first(captions: Path, tmp_path: Path) -> None:
    evaluation = evaluated(write_results(tmp_path / "results.json", FOUND), captions)
    assert [photo.photo_id for photo in evaluation.photos] == [3, 2, 1]
    chances = [photo.scores["CIDEr"] for photo in evaluation.photos]
    assert chances == sorted(chances) and chances[0] < chances[-1]


def test_references_need_no_photo_files(captions: Path, tmp_path: Path) -> None:
    nameless = write_captions(tmp_path / "nameless.json", REFERENCES, {})
    results = write_results(tmp_path / "results.json", FOUND)
    evaluation = evaluated(results, nameless)
    assert evaluation.to_dict() == evaluated(results, captions).to_dict()
    assert evaluation.photos[0].to_dict()["file"] is None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([{"id": 1}], r"annotations\[0\] has image_id 2, which 'images' does not list"),
        ([{"id": [1]}], r"images\[0\] has id \[1\]; give a whole number or a text"),
        ([{"id": 1}, {"id": 2}], r"annotations\[0\] has caption 3; give a text"),
    ],
)
def test_broken_nameless_references_are_said(tmp_path: Path, images: list, message: str) -> None:
    path = tmp_path / "nameless.json"
    path.write_text(json.dumps({"images": images, "annotations": [{"image_id": 2, "caption": 3}]}))
    with pytest.raises(DataError, match=rf"nameless\.json: {message}"):
        reference_photos(path)


def test_ids_as_text_are_the_same_ids(captions: Path, tmp_path: Path) -> None:
    results = write_results(tmp_path / "results.json", {str(photo_id): text for photo_id, text in FOUND.items()})
    assert evaluated(results, captions).metrics == score_captions(FOUND, REFERENCES).metrics


def test_other_photos_are_left_out_and_missing_ones_said(captions: Path, tmp_path: Path) -> None:
    more = write_results(tmp_path / "more.json", {**FOUND, 4: "a bus", 5: "a train"})
    evaluation = evaluated(more, captions)
    assert (
        evaluation.warnings[0].startswith(f"{more}: 2 captions are of photos") and "left out" in evaluation.warnings[0]
    )
    assert evaluation.metrics == score_captions(FOUND, REFERENCES).metrics
    fewer = write_results(tmp_path / "fewer.json", {1: "a dog"})
    with pytest.raises(DataError, match=r"no caption for 2 of the 3 photos.*\(image_id 2, 3\)"):
        evaluated(fewer, captions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "broken JSON in line 1"),
        ('{"1": "a dog"}', "no caption for 2 of the 3 photos"),
        ('["a dog"]', "entry 0 needs"),
        ('[{"image_id": 1}]', "entry 0 needs"),
        ('[{"image_id": 1, "caption": ["a", "b"]}]', "entry 0 has 2 captions, like references"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}]', "image_id 1 has two"),
    ],
)
def test_broken_results_are_said(captions: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        evaluated(path, captions)
    with pytest.raises(DataError, match="can't be read"):
        evaluated(tmp_path / "nothere.json", captions)


def test_repeats_are_three_words_twice(captions: Path, tmp_path: Path) -> None:
    found = {1: "a b c a b c", 2: "a b a b a", 3: "a b c"}
    assert evaluated(write_results(tmp_path / "r.json", found), captions).repeats == pytest.approx(2 / 3)


def test_metrics_by_any_case(captions: Path, tmp_path: Path) -> None:
    results = write_results(tmp_path / "results.json", FOUND)
    assert list(evaluated(results, captions, ["cider"]).metrics) == ["CIDEr"]
    evaluation = evaluated(results, captions, ["bleu", "Rouge_L", "BLEU"])
    assert [photo.scores["ROUGE_L"] for photo in evaluation.photos] == sorted(
        photo.scores["ROUGE_L"] for photo in evaluation.photos
    )
    assert choose_metrics([]) == ("BLEU", "ROUGE_L", "CIDEr")
    assert choose_metrics(["spice", "Meteor"]) == ("SPICE", "METEOR")
    with pytest.raises(ConfigError, match="wit is not a metric; choose from BLEU, ROUGE_L, CIDEr, METEOR, SPICE"):
        choose_metrics(["wit"])


def test_cider_of_few_photos_is_warned_of(tmp_path: Path) -> None:
    def warnings(photos: int, metrics: Sequence[str] = ()) -> tuple[str, ...]:
        references = {number: [f"a dog number {number}"] for number in range(photos)}
        captions = write_captions(tmp_path / "captions.json", references, {})
        results = write_results(tmp_path / "results.json", dict.fromkeys(references, "a dog"))
        return evaluated(results, captions, metrics).warnings

    [warning] = warnings(1)
    assert warning.startswith("CIDEr means little with 1 photo: ") and "\n" not in warning
    assert warnings(99)[0].startswith("CIDEr means little with 99 photos: ")
    assert warnings(100) == ()
    assert warnings(1, ["BLEU"]) == ()


def test_each_photo_in_a_file(captions: Path, tmp_path: Path) -> None:
    evaluation = evaluated(write_results(tmp_path / "results.json", FOUND), captions)
    save_per_photo(evaluation, tmp_path / "each.json")
    save_per_photo(evaluation, tmp_path / "each.csv")
    values = json.loads((tmp_path / "each.json").read_text())
    assert [value["image_id"] for value in values] == [3, 2, 1]
    assert values[0]["references"] == REFERENCES[3] and values[0]["caption"] == FOUND[3]
    with (tmp_path / "each.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["CIDEr"]) for row in rows] == [value["CIDEr"] for value in values]
    assert rows[0]["references"] == " | ".join(REFERENCES[3])
    assert "hallucinated" not in rows[0]
    with pytest.raises(ConfigError, match=r"each\.txt: the name does not tell the format.*\.json or \.csv"):
        save_per_photo(evaluation, tmp_path / "each.txt")


# --- Against other results --------------------------------------------------------------------------------------------


def test_two_results_are_compared_photo_by_photo(captions: Path, tmp_path: Path) -> None:
    better = write_results(tmp_path / "better.json", {**FOUND, 3: "a cat sleeps on the couch"})
    results = write_results(tmp_path / "results.json", {**FOUND, 9: "another"})
    evaluation = evaluated(better, captions, against=results)
    comparison = evaluation.against
    assert comparison is not None and comparison.file == str(results)
    assert comparison.metrics == score_captions(FOUND, REFERENCES).metrics
    assert list(comparison.differences) == list(evaluation.metrics)
    for name, difference in comparison.differences.items():
        assert difference.value == evaluation.metrics[name] - comparison.metrics[name] > 0
        assert difference.low <= difference.value <= difference.high
    # Equal, half a win, where photo 3 is not drawn: (2/3) ** 3 of the draws.
    assert comparison.differences["CIDEr"].better == pytest.approx(1 - (2 / 3) ** 3 / 2, abs=0.03)
    values = evaluation.to_dict()["against"]
    assert values["differences"]["CIDEr"] == comparison.differences["CIDEr"]._asdict()
    assert evaluation.warnings[0].startswith(f"{results}: 1 caption is of a photo")
    row = next(row for row in evaluation.comparison_rows() if row[0] == "CIDEr")
    assert row[1:4] == (
        f"{evaluation.metrics['CIDEr']:.4f}",
        f"{comparison.metrics['CIDEr']:.4f}",
        f"{comparison.differences['CIDEr'].value:+.4f}",
    )
    back = evaluated(results, captions, against=better).against
    assert back is not None
    assert back.differences["CIDEr"].value == -comparison.differences["CIDEr"].value
    assert back.differences["CIDEr"].better == pytest.approx(1 - comparison.differences["CIDEr"].better)


def test_the_other_results_must_be_of_the_same_photos(captions: Path, tmp_path: Path) -> None:
    fewer = write_results(tmp_path / "fewer.json", {1: "a dog"})
    with pytest.raises(DataError, match=r"fewer\.json has no caption for 2 of the 3 photos"):
        CaptionEvaluator(reference_photos(captions), against=fewer)


# --- CHAIR ------------------------------------------------------------------------------------------------------------


def write_instances(path: Path, boxes: dict[Any, list[str]], names: Sequence[str] = ("dog", "bench")) -> Path:
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    images = [{"id": photo_id, "width": 60, "height": 40} for photo_id in boxes]
    annotations = [
        {"id": 0, "image_id": photo_id, "category_id": names.index(name), "bbox": [1, 2, 3, 4]}
        for photo_id, found in boxes.items()
        for name in found
    ]
    path.write_text(json.dumps({"categories": categories, "images": images, "annotations": annotations}))
    return path


def test_objects_that_are_in_neither_boxes_nor_references(captions: Path, tmp_path: Path) -> None:
    found = {1: "a dog and a cat on a bench", 2: "a dog on a bench", 3: "a man with a dog"}
    # Photo 3 is not in the file; photo 8 is no photo of these.
    instances = write_instances(tmp_path / "instances.json", {"1": ["bench"], "2": [], "8": ["dog"]})
    results = write_results(tmp_path / "results.json", found)
    evaluation = evaluated(results, captions, instances=instances)
    assert {photo.photo_id: photo.hallucinated for photo in evaluation.photos} == {
        1: ("cat",),  # the bench is boxed, the dog in a reference
        2: ("dog",),  # the bench is in a reference
        3: None,
    }
    assert evaluation.metrics["CHAIRs"] == 1
    assert evaluation.metrics["CHAIRi"] == 2 / 5
    assert evaluation.intervals["CHAIRs"] == (1, 1)
    low, high = evaluation.intervals["CHAIRi"]
    assert low == pytest.approx(1 / 3) and high == pytest.approx(1 / 2)
    assert evaluation.to_dict()["chair"] == {"images": 2, "mentions": 5}
    assert ("chair images", "2", "") in evaluation.rows()
    save_per_photo(evaluation, tmp_path / "each.json")
    save_per_photo(evaluation, tmp_path / "each.csv")
    each = {value["image_id"]: value for value in json.loads((tmp_path / "each.json").read_text())}
    assert each[1]["hallucinated"] == ["cat"] and "hallucinated" not in each[3]
    with (tmp_path / "each.csv").open(newline="", encoding="utf-8") as file:
        assert {row["image_id"]: row["hallucinated"] for row in csv.DictReader(file)} == {
            "1": "cat",
            "2": "dog",
            "3": "",
        }
    other = write_results(tmp_path / "other.json", {**found, 1: "a dog on a bench"})
    comparison = evaluated(other, captions, instances=instances, against=results).against
    assert comparison is not None
    assert comparison.metrics["CHAIRs"] == 1
    assert comparison.differences["CHAIRs"].value == -0.5
    # Fewer is better: sure wherever photo 1 is drawn, equal else.
    assert comparison.differences["CHAIRs"].better == pytest.approx(1 - (1 / 2) ** 2 / 2, abs=0.03)


def test_boxes_of_other_photos_or_things_are_said(captions: Path, tmp_path: Path) -> None:
    photos = reference_photos(captions)
    others = write_instances(tmp_path / "others.json", {7: ["dog"]})
    with pytest.raises(DataError, match=r"others\.json lists none of the 3 photos \(image_id 1, 2, 3\)"):
        CaptionEvaluator(photos, instances=others)
    shapes = write_instances(tmp_path / "shapes.json", {1: ["square"]}, ("square",))
    with pytest.raises(DataError, match=r"shapes\.json has none of COCO's 80 categories"):
        CaptionEvaluator(photos, instances=shapes)


def test_scoring_a_file_waits_for_no_torch() -> None:
    code = "import sys, wordgaze.tasks.evaluate; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


# --- From a model ----------------------------------------------------------------------------------------------


def test_a_model_is_scored_on_the_photos_that_are_named(captioner: Captioner, mixed: Path, tmp_path: Path) -> None:
    """Against its own captions it is perfect, unless a caption went to another photo."""
    names = {1: "g.png", 2: "c.png", 3: "e.png"}
    own = {photo_id: [captioner.caption(mixed / name).text] for photo_id, name in names.items()}
    assert len({text for [text] in own.values()}) == 3
    captions = write_captions(tmp_path / "captions.json", own, names)
    steps: list[None] = []
    evaluation = evaluate_model(
        captioner,
        CaptionEvaluator(photos_to_caption(captions, mixed)),
        batch_size=2,
        advance=lambda: steps.append(None),
    )
    assert evaluation.metrics["Bleu_1"] == pytest.approx(1)
    assert evaluation.metrics["ROUGE_L"] == pytest.approx(1)
    assert (len(evaluation.photos), evaluation.distinct, len(steps)) == (3, 3, 3)
    assert {photo.photo_id: photo.file for photo in evaluation.photos} == {
        photo_id: mixed / name for photo_id, name in names.items()
    }


def test_a_photo_that_is_missing_or_broken_stops_it(captioner: Captioner, mixed: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions.json", REFERENCES, {1: "b.png", 2: "x.png", 3: "y.png"})
    with pytest.raises(DataError, match=r"2 of the 3 photos.*are not in .*\(x\.png, y\.png\)"):
        photos_to_caption(captions, mixed)
    captions = write_captions(tmp_path / "captions.json", REFERENCES, {1: "b.png", 2: "d2.png", 3: "c.png"})
    with pytest.raises(DataError, match=r"d2\.png: is not a photo"):
        evaluate_model(captioner, CaptionEvaluator(photos_to_caption(captions, mixed)))
