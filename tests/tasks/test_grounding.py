"""Maps measured on photos with boxes: what counts as a trial, beside which controls, in which photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.grounding_data import CAPTIONS, write_data

from wordgaze.captioner import Captioner
from wordgaze.data.geometry import Geometry
from wordgaze.errors import ConfigError, DataError
from wordgaze.evaluation.categories import ObjectMention
from wordgaze.tasks import grounding
from wordgaze.tasks.grounding import (
    SHARES,
    boxed_photos,
    mapped,
    measure_faithfulness,
    measure_grounding,
    scene_of,
    trials,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Captions and boxes of four photos, of which one has no box."""
    write_data(tmp_path)
    return tmp_path


def boxed(data: Path) -> tuple:
    return boxed_photos(data / "captions.json", data / "photos", data / "instances.json")


def test_every_occurrence_of_a_word_with_a_box_is_a_trial(captioner: Captioner, data: Path) -> None:
    advanced = []
    found = measure_grounding(captioner, boxed(data), batch_size=2, advance=lambda: advanced.append(1))
    assert [(trial.photo, trial.category, trial.word) for trial in found.references] == [
        (2, "dog", "dog"),
        (2, "person", "men"),
        (2, "dog", "dog"),
        (3, "dog", "dog"),
        (7, "dog", "dog"),  # and not the man, who has no box
    ]
    assert len(advanced) == 3  # photo 8 has no boxes
    values = found.to_dict()
    assert (values["method"], values["words"], values["photos"]) == ("gradient", 5, 3)
    assert values["pointing"]["person"]["n"] == 1 and values["pointing"]["other"]["n"] == 4
    assert values["halves"]["even"]["words"] == 3 and values["halves"]["odd"]["words"] == 2
    assert values["other_photo"]["all"]["n"] == 4  # no other photo has men
    assert {"pointing", "mass", "auc", "center", "uniform", "halves"} <= set(values["generated"])
    json.dumps(values, allow_nan=False)


def test_in_any_batch_the_same(captioner: Captioner, data: Path) -> None:
    one, other = (measure_grounding(captioner, boxed(data), batch_size=size) for size in (1, 3))
    for left, right in zip(one.references + one.generated, other.references + other.generated, strict=True):
        assert left[:3] == right[:3] and left.scores.keys() == right.scores.keys()
        for name in left.scores:
            np.testing.assert_allclose(left.scores[name], right.scores[name], atol=1e-4)


def test_a_trial_is_the_map_of_explain_on_its_boxes(captioner: Captioner, data: Path) -> None:
    trial = measure_grounding(captioner, boxed(data)[:1], "last", raw=True).references[0]
    explanation = captioner.explain(data / "photos/2.png", CAPTIONS[2][0], "last", raw=True)
    word = explanation.words[2]
    assert word.text == "dog"
    x, y = word.peak
    assert trial.scores["map"][0] == (10 <= x < 50 and 10 <= y < 40)
    placed = explanation.geometry.place(word.map, smooth=False)
    # Each patch's attention spread over its own pixels: 120 x 90 is shown as 85 x 64, so patches have as many pixels.
    inside = placed[10:40, 10:50]
    assert trial.scores["map"][1] == pytest.approx(inside.sum() / placed.sum(), abs=0.02)
    mask = np.zeros((90, 120), bool)
    mask[10:40, 10:50] = True
    above = (placed[mask][:, None] > placed[~mask]).mean() + 0.5 * (placed[mask][:, None] == placed[~mask]).mean()
    assert trial.scores["map"][2] == pytest.approx(above, abs=1e-6)


def test_the_models_own_captions_count_apart(captioner: Captioner, data: Path, monkeypatch) -> None:
    photos = boxed(data)
    own = [captioner.explain(photo.photo.path).caption.text for photo in photos]
    monkeypatch.setattr(grounding, "find_objects", lambda words: [ObjectMention("dog", 0, 1)])
    found = measure_grounding(captioner, photos)
    assert [(trial.photo, trial.word) for trial in found.generated] == [
        (photo.photo.photo_id, text.split()[0]) for photo, text in zip(photos, own, strict=True)
    ]


def test_controls_by_hand() -> None:
    from wordgaze.data.readers.caption_file import CaptionedPhoto
    from wordgaze.tasks.grounding import BoxedPhoto

    def scene(photo_id: int, *boxes: tuple[float, float, float, float]):
        photo = CaptionedPhoto(photo_id, Path("x.png"), ("x",))
        geometry = Geometry((40, 20), (40, 20), (0, 0, 40, 20))
        return scene_of(BoxedPhoto(photo, (40, 20), {"dog": boxes}), geometry, (1, 2))

    left, right = np.array([1.0, 0]), np.array([0, 1.0])
    # The box is the left patch of photo 1, the right one of photo 2.
    first = mapped(scene(1, (0, 0, 0.5, 1)), ("a", "dog", "sits"), np.stack([right, left, right]))
    second = mapped(scene(2, (0.5, 0, 0.5, 1)), ("dog", "and", "puppy"), np.stack([left, right, left]))
    one, dog, puppy = trials([first, second])
    assert (one.word, dog.word, puppy.word) == ("dog", "dog", "puppy")
    assert [trial.scores["map"][0] for trial in (one, dog, puppy)] == [1, 0, 0]
    assert one.scores["other_word"][0] == 0  # "a" and "sits"
    assert one.scores["other_photo"][0] == 1  # the left patch, where photo 2's dog was looked for
    assert dog.scores["other_word"][0] == 1 and dog.scores["other_word"][1] == 1  # "and" alone: a puppy is a dog
    assert "other_photo" not in puppy.scores
    assert one.scores["uniform"][0] == 0.5 and one.scores["center"][0] == 0


def test_boxes_follow_a_photo_of_another_size_and_refuse_another_shape(captioner: Captioner, data: Path) -> None:
    before = measure_grounding(captioner, boxed(data)[:1], "last").references
    path = data / "photos/2.png"
    with Image.open(path) as photo:
        larger = photo.resize((240, 180), Image.Resampling.LANCZOS)
    larger.save(path)
    after = measure_grounding(captioner, boxed(data)[:1], "last").references
    np.testing.assert_allclose(before[0].scores["uniform"], after[0].scores["uniform"], atol=1e-3)
    larger.resize((90, 120)).save(path)
    with pytest.raises(DataError, match=r"2\.png is 90 x 120 pixels, but its boxes are for 120 x 90"):
        measure_grounding(captioner, boxed(data), "last")


def test_what_can_not_be_measured_is_said(captioner: Captioner, data: Path) -> None:
    with pytest.raises(ConfigError, match="no method 'median'"):
        measure_grounding(captioner, boxed(data), "median")
    with pytest.raises(ConfigError, match="batch_size is 0"):
        measure_grounding(captioner, boxed(data), batch_size=0)
    photos = boxed(data)
    (data / "photos/3.png").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"3\.png: .*one of 3 photos to measure"):
        measure_grounding(captioner, photos)
    (data / "photos/3.png").unlink()
    with pytest.raises(DataError, match="1 of the 4 photos"):
        boxed(data)
    other = data / "other"
    other.mkdir()
    write_data(other, boxes={8: []})
    with pytest.raises(DataError, match=r"None of the 4 photos of .* has boxes in"):
        boxed(other)


def test_faithfulness_blanks_the_right_patches(captioner: Captioner, data: Path, monkeypatch) -> None:
    seen: list[torch.Tensor] = []

    def probabilities(captioner, pixel_values, text, mention):
        seen.append(pixel_values)
        assert text == CAPTIONS[2][0] and mention[0] == "dog"
        return pixel_values.ne(0).float().mean(dim=(1, 2, 3)).tolist()

    monkeypatch.setattr(grounding, "_probabilities", probabilities)
    found = measure_faithfulness(captioner, boxed(data)[:1], "last", raw=True)
    assert found.words == ((2, "dog"),)
    (pixel_values,) = seen
    assert pixel_values.shape == (4 * len(SHARES), 3, 64, 96)
    shown = float(pixel_values.ne(0).float().mean(dim=(1, 2, 3)).max())
    for name in ("map", "random"):
        deletion, insertion = (found.curves[kind][name][0] for kind in ("deletion", "insertion"))
        np.testing.assert_allclose(deletion[[0, -1]], [shown, 0], atol=1e-6)
        np.testing.assert_allclose(insertion[[0, -1]], [0, shown], atol=1e-6)
        assert (np.diff(deletion) <= 0).all() and (np.diff(insertion) >= 0).all()
    # The first that goes by the map is its peak.
    word = captioner.explain(data / "photos/2.png", CAPTIONS[2][0], "last", raw=True).words[2]
    row, column = np.unravel_index(int(word.map.argmax()), word.map.shape)
    assert not pixel_values[2, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16].any()
    assert pixel_values[0, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16].any()


def test_faithfulness_tells_a_map_that_matters_from_one_that_does_not(captioner: Captioner, data: Path) -> None:
    advanced = []
    found = measure_faithfulness(captioner, boxed(data), advance=lambda: advanced.append(1))
    assert len(advanced) == 3
    assert [word for _, word in found.words] == [
        "dog",
        "dog",
    ]  # photo 3's first caption names nothing with a box
    chance = captioner.explain(data / "photos/2.png", CAPTIONS[2][0]).words[2].probability
    assert found.curves["deletion"]["map"][0, 0] == pytest.approx(chance, rel=1e-3)
    assert found.curves["insertion"]["random"][0, -1] == pytest.approx(chance, rel=1e-3)
    values = found.to_dict()
    assert values["words"] == 2 and values["shares"] == list(SHARES)
    for kind in ("deletion", "insertion"):
        curve = values["curves"][kind]
        assert curve["difference"]["value"] == pytest.approx(
            curve["map"]["area"]["value"] - curve["random"]["area"]["value"]
        )
        mean = np.mean(found.curves[kind]["map"], axis=0)
        assert curve["map"]["area"]["value"] == pytest.approx(np.trapezoid(mean, SHARES))
    with pytest.raises(DataError, match="names a thing with a box"):
        measure_faithfulness(captioner, boxed(data)[1:2])


@pytest.mark.slow
def test_the_bundled_models_maps_beat_the_center(shared_data: Path) -> None:
    folder = shared_data / "data/coco"
    photos = boxed_photos(folder / "captions_val.json", folder / "photos", folder / "instances_val.json")
    assert len(photos) == 159
    values = measure_grounding(Captioner.from_pretrained(device="cpu"), photos).to_dict()
    for part in (values, values["halves"]["odd"]):
        gap = part["difference"]["center"]["other"]
        assert gap["value"] >= 0.10 and gap["low"] > 0
