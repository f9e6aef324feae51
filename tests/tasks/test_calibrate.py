"""Calibrating a model: from what evaluate wrote, on the captions that it judged, and none of another model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.model_folder import draw_photo

from wordgaze.captioner import Caption, Captioner
from wordgaze.errors import DataError
from wordgaze.evaluation.calibration import fit_logistic
from wordgaze.generation.confidence import FEATURES
from wordgaze.tasks.calibrate import CalibrationPhoto, calibrate, fit, read_calibration_photos
from wordgaze.tasks.evaluate import CaptionEvaluator, evaluate_results, reference_photos, save_per_photo

REFERENCES = {
    1: ["a dog runs on the grass", "a brown dog is running"],
    2: ["two men sit on a bench", "men on a bench in a park"],
    3: ["a cat sleeps on a red sofa", "the cat is asleep on the couch"],
}
FOUND = {
    1: "a dog runs on the grass",
    2: "a man with a dog on a bench",
    3: "a cat sleeps on a red sofa with a ball",
}
BOXES = {"images": [{"id": 3, "width": 9, "height": 9}], "categories": [{"id": 7, "name": "sports ball"}]}


@pytest.fixture
def per_image(tmp_path: Path) -> Path:
    """What ``wordgaze evaluate --per-image`` writes of three photos, the third with boxes."""
    captions, results, boxes, out = (tmp_path / f"{name}.json" for name in ("c", "r", "b", "val"))
    images = [{"id": photo_id, "file_name": f"{photo_id}.jpg"} for photo_id in REFERENCES]
    annotations = [
        {"id": 10 * photo_id + number, "image_id": photo_id, "caption": caption}
        for photo_id, some in REFERENCES.items()
        for number, caption in enumerate(some)
    ]
    captions.write_text(json.dumps({"images": images, "annotations": annotations}))
    results.write_text(json.dumps([{"image_id": number, "caption": text} for number, text in FOUND.items()]))
    box = {"id": 1, "image_id": 3, "category_id": 7, "bbox": [0, 0, 5, 5]}
    boxes.write_text(json.dumps({**BOXES, "annotations": [box]}))
    save_per_photo(evaluate_results(results, CaptionEvaluator(reference_photos(captions), instances=boxes)), out)
    return out


def test_what_is_right_is_read_from_an_evaluation(per_image: Path) -> None:
    photos = {photo.photo_id: photo for photo in read_calibration_photos(per_image)}
    assert {photo.name for photo in photos.values()} == {"val"}
    assert photos[1].references == tuple(REFERENCES[1]) and photos[1].caption == FOUND[1]
    assert [photos[number].boxed for number in (1, 2, 3)] == [False, False, True]
    assert [photos[number].absent for number in (1, 2, 3)] == [(), ("dog",), ()]  # the ball has a box
    assert [photos[number].cider >= 0.5 for number in (1, 2, 3)] == [True, True, True]
    assert [photos[number].right for number in (1, 2, 3)] == [True, False, True]


def _row(**changes: Any) -> str:
    row = {"image_id": 1, "file": None, "caption": "a cat", "references": ["a dog"], "CIDEr": 1.0}
    return json.dumps([row | changes])


def test_a_caption_of_little_cider_is_wrong(per_image: Path) -> None:
    photo = read_calibration_photos(per_image)[0]._replace(absent=())
    assert photo._replace(cider=0.5).right and not photo._replace(cider=0.499).right


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "does not list scored photos"),
        ("[]", "does not list scored photos .an empty list"),
        ('[{"image_id": 1}]', "a photo lacks its id, file, caption"),
        ("[3]", "a list at its top, of 3"),
        ("no", "not JSON, but text"),
        ("image_id,file,caption\n1,a.jpg,x\n", "not JSON, but a table .CSV."),
        ('{"metrics": {"CIDEr": 1.0}}', "the scores that `wordgaze evaluate --json` wrote"),
        ('[{"image_id": 1, "caption": "x"}]', "a list of results, one caption a photo"),
        (
            '{"file": "a", "caption": "x"}\n{"file": "b", "caption": "y"}',
            "captions as `wordgaze caption --json`",
        ),
        (_row(references="a dog"), "a photo lacks"),
        (_row(caption=None), "a photo lacks"),
        (_row(caption=5), "a photo lacks"),
        (_row(CIDEr="high"), "a photo lacks"),
        (_row(CIDEr=float("nan")), "a photo lacks"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "val.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_calibration_photos(path)
    assert str(caught.value).startswith(str(path)) and "--per-image OUT.json` wrote" in str(caught.value)
    path.write_text(_row())
    assert read_calibration_photos(path)[0].caption == "a cat"


def judged(files: Sequence[Path], captions: Sequence[Caption]) -> list[CalibrationPhoto]:
    """Every third caption right, of two sets."""
    return [
        CalibrationPhoto(
            "ab"[index % 2], index, file, caption.text, ("a dog",), float(index % 3 == 0), (), index % 2 == 0
        )
        for index, (file, caption) in enumerate(zip(files, captions, strict=True))
    ]


@pytest.fixture(scope="module")
def captioned(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Captioner, list[CalibrationPhoto], list[Caption]]:
    """A captioner, 160 photos judged by its captions, and those."""
    captioner, folder = Captioner.from_pretrained(model_folder, "cpu"), tmp_path_factory.mktemp("photos")
    files = [draw_photo(folder / f"{number}.png", number) for number in range(160)]
    captions = captioner.caption(list(files))
    return captioner, judged(files, captions), captions


def test_the_models_own_captions_are_what_is_fitted(
    captioned: tuple[Captioner, list[CalibrationPhoto], list[Caption]],
) -> None:
    captioner, photos, captions = captioned
    done: list[None] = []
    found = calibrate(captioner, photos, batch_size=7, advance=lambda: done.append(None))
    assert len(done) == len(found.photos) == len(photos) and found.differing == 0
    features = np.array([caption.features() for caption in captions])
    intercept, weights = fit_logistic(features, np.array([photo.right for photo in photos], float))
    assert found.confidence.intercept == pytest.approx(intercept, rel=1e-3)
    assert [found.confidence.weights[name] for name in FEATURES] == pytest.approx(list(weights), rel=1e-3)
    values: dict[str, Any] = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["photos"] == 160 and [values["sets"][name]["photos"] for name in "ab"] == [80, 80]
    assert values["confidence"] == found.confidence.to_dict()
    rows = {row["image_id"]: row for name in "ab" for row in values["captions"][name]}
    assert [rows[photo.photo_id]["right"] for photo in photos] == [photo.right for photo in photos]
    everything = np.array([rows[photo.photo_id]["confidence"] for photo in photos])
    assert values["mean_confidence"] == pytest.approx(everything.mean())


def test_a_few_other_captions_are_left_out_and_many_refused(
    captioned: tuple[Captioner, list[CalibrationPhoto], list[Caption]],
) -> None:
    captioner, photos, _ = captioned
    other = [photo._replace(caption="something else") for photo in photos]
    found = calibrate(captioner, [*other[:3], *photos[3:]])
    assert found.differing == 3
    assert [one.photo.photo_id for one in found.photos] == list(range(3, 160))
    with pytest.raises(DataError, match="4 of 160 captions differ from those scored"):
        calibrate(captioner, [*other[:4], *photos[4:]])


def test_photos_that_are_not_there_are_said(
    captioned: tuple[Captioner, list[CalibrationPhoto], list[Caption]],
) -> None:
    captioner, photos, _ = captioned
    with pytest.raises(DataError, match=r"nothere\.png: .*no such file.*one of 1 photos"):
        calibrate(captioner, [photos[0]._replace(file=Path("nothere.png"))])
    with pytest.raises(DataError, match="have no files"):
        calibrate(captioner, [photos[0]._replace(file=None)])


def test_the_threshold_goes_with_the_confidence() -> None:
    """Features that tell right from wrong: what lies below the threshold is wrong."""
    rng = np.random.default_rng(0)
    right = np.arange(300) % 2 == 0
    features = np.column_stack([right + 0.3 * rng.normal(size=300), *rng.normal(size=(3, 300))])
    photos = [CalibrationPhoto("a", index, None, "", (), float(good), (), False) for index, good in enumerate(right)]
    found = fit(photos, features)
    below = found.confidence.usually_wrong_below
    assert below is not None and below == found.to_dict()["usually_wrong"]["below"]
    assert 0 < below < 1
    under = [one.photo.right for one in found.photos if one.confidence < below]
    assert len(under) > 100 and np.mean(under) <= 1 / 3
