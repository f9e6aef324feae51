"""What random views of a photo show, seen in the colors of a ramp."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.errors import ConfigError
from wordgaze.training.augmentation import TrainTransform

HALF = (0.5, 0.5, 0.5)
CROPS = ["pad", "center"]


def preprocessing(
    crop: str = "pad", size: tuple[int, int] = (224, 224), max_aspect_change: Fraction | int = 1
) -> Preprocessing:
    return Preprocessing(size, HALF, HALF, crop=crop, max_aspect_change=float(max_aspect_change))


def ramp(width: int = 320, height: int = 240) -> Image.Image:
    """Red counts from left to right, green from top to bottom, blue is full: the place of a pixel is its color."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.rint(np.stack([x, y, np.full_like(x, 255)], axis=-1)).astype(np.uint8))


def shown(pixel_values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What a transformed ramp shows: its rectangle in the input and, cut to that, its red and green from 0 to 1."""
    assert pixel_values.shape == (3, 96, 96)
    rows, columns = np.nonzero(pixel_values[2].numpy() > 0.5)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return box, pixel_values[:2, box[1] : box[3], box[0] : box[2]].numpy() * 0.5 + 0.5


def train_transform(**options: object) -> TrainTransform:
    defaults: dict[str, object] = {"whole": 1.0, "flip": 0.0, "color": 0.0}
    return TrainTransform(preprocessing(size=(96, 96)), **(defaults | options))  # type: ignore[arg-type]


def test_training_photos_depend_on_the_generator_alone() -> None:
    transform = TrainTransform(preprocessing(size=(96, 96)))
    first, again = np.random.default_rng(3), np.random.default_rng(3)
    seen = []
    for _ in range(8):
        (pixels, flipped), (again_pixels, again_flipped) = transform(ramp(), first), transform(ramp(), again)
        assert torch.equal(pixels, again_pixels) and flipped == again_flipped
        assert pixels.is_contiguous() and pixels.dtype == torch.float32
        seen.append(pixels)
    assert not any(torch.equal(seen[0], other) for other in seen[1:])


def test_a_whole_photo_is_all_there_at_a_jittered_shape_and_place() -> None:
    rng = np.random.default_rng(0)
    transform = train_transform()
    shapes, positions = [], []
    for _ in range(200):
        box, colors = shown(transform(ramp(), rng)[0])
        assert colors.min(axis=(1, 2)) == pytest.approx([0, 0], abs=0.02)
        assert colors.max(axis=(1, 2)) == pytest.approx([1, 1], abs=0.02)
        width, height = box[2:] - box[:2]
        assert max(width, height) == 96
        shapes.append(width / height / (320 / 240))
        positions.append(box[:2] / np.maximum(96 - np.array([width, height]), 1))
    assert 0.73 < min(shapes) < 0.8 and 1.25 < max(shapes) < 1.37
    assert np.max(positions, axis=0)[1] == 1 and np.min(positions, axis=0)[1] == 0


def test_a_window_shows_its_share_of_the_photo_anywhere_in_it() -> None:
    rng = np.random.default_rng(0)
    transform = train_transform(whole=0.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    corners = []
    for _ in range(100):
        box, (red, green) = shown(transform(ramp(), rng)[0])
        assert tuple(box) == (0, 0, 96, 96)
        # The largest square is 240 of 320 wide; a quarter of its area is 120 x 120.
        assert red.max() - red.min() == pytest.approx(120 / 320, abs=0.02)
        assert green.max() - green.min() == pytest.approx(120 / 240, abs=0.02)
        corners.append((red.min(), green.min()))
    assert np.min(corners, axis=0) == pytest.approx([0, 0], abs=0.05)
    assert np.max(corners, axis=0) == pytest.approx([200 / 320, 0.5], abs=0.05)
    assert abs(np.corrcoef(np.transpose(corners))[0, 1]) < 0.4  # not only along a diagonal


def test_a_window_is_jittered_in_shape() -> None:
    rng = np.random.default_rng(0)
    transform = train_transform(whole=0.0)
    shapes, areas = [], []
    for _ in range(300):
        _, (red, green) = shown(transform(ramp(), rng)[0])
        width, height = 320 * (red.max() - red.min()), 240 * (green.max() - green.min())
        shapes.append(width / height)
        areas.append(width * height / (320 * 240))
    assert 0.72 < min(shapes) < 0.8 and 1.25 < max(shapes) < 1.38
    assert 0.25 < min(areas) < 0.4 and max(areas) > 0.85


def test_a_photo_that_is_to_be_cut_is_cut_in_training_too() -> None:
    transform = TrainTransform(preprocessing("center", (96, 96)), whole=1.0, flip=0.0, color=0.0, ratio=(1.0, 1.0))
    box, (red, green) = shown(transform(ramp(), np.random.default_rng(0))[0])
    assert tuple(box) == (0, 0, 96, 96)
    assert green.max() - green.min() == pytest.approx(1, abs=0.02)
    assert red.max() - red.min() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("whole", [0.0, 1.0])
def test_a_flipped_photo_is_mirrored_and_says_so(whole: float) -> None:
    straight, was_flipped = train_transform(whole=whole, ratio=(1.0, 1.0))(ramp(240, 240), np.random.default_rng(5))
    mirrored, is_flipped = train_transform(whole=whole, ratio=(1.0, 1.0), flip=1.0)(
        ramp(240, 240), np.random.default_rng(5)
    )
    assert (was_flipped, is_flipped) == (False, True)
    torch.testing.assert_close(mirrored, straight.flip(2))
    flips = [train_transform(flip=0.5)(ramp(), np.random.default_rng(seed))[1] for seed in range(100)]
    assert 30 < sum(flips) < 70


def test_colors_are_jittered_and_stay_colors() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    plain, _ = train_transform(ratio=(1.0, 1.0))(noise, np.random.default_rng(0))
    torch.testing.assert_close(plain, PhotoTransform(preprocessing(size=(96, 96)))(noise)[0], atol=1e-5, rtol=0)
    rng = np.random.default_rng(0)
    jittered = [train_transform(color=0.2, ratio=(1.0, 1.0))(noise, rng)[0] * 0.5 + 0.5 for _ in range(50)]
    brightness = torch.stack([photo.mean() for photo in jittered])
    spread = torch.stack([photo.std() for photo in jittered])
    saturation = torch.stack([photo.std(dim=0).mean() / photo.std() for photo in jittered])
    assert min(photo.min() for photo in jittered) >= -1e-6
    assert max(photo.max() for photo in jittered) <= 1 + 1e-6
    assert 0.38 < brightness.min() < 0.43 and 0.55 < brightness.max() < 0.62
    assert spread.max() / spread.min() > 1.2
    assert saturation.max() / saturation.min() > 1.05
    gray, _ = train_transform(color=1.0)(Image.new("RGB", (96, 96), (90, 90, 90)), np.random.default_rng(1))
    assert gray.std(dim=0).max() < 1e-5  # saturation has nothing to do there


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"ratio": (2.0, 1.0)}, "ratio"),
        ({"whole": 1.5}, "whole"),
        ({"color": -1}, "color"),
    ],
)
def test_senseless_training_options_are_refused(options: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=f"transform: {what}"):
        train_transform(**options)


def test_a_whole_training_photo_is_squashed_as_at_test_time() -> None:
    values = Preprocessing((32, 32), HALF, HALF, crop="squash")
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8))
    transform = TrainTransform(values, whole=1, flip=0, color=0)
    shown, _ = transform(photo, np.random.default_rng(1))
    torch.testing.assert_close(shown, PhotoTransform(values)(photo)[0], atol=1e-4, rtol=0)


def test_whole_photos_are_squeezed_as_at_test_time() -> None:
    """Their ``ratio`` is theirs, not drawn; a window's is drawn."""
    options = {"ratio": (0.5, 2.0), "flip": 0.0, "color": 0.0}
    photo = ramp(320, 240)
    for crop in CROPS:
        squeezed = preprocessing(crop, (96, 96), Fraction(4, 3))
        expected = PhotoTransform(squeezed)(photo)[0]
        whole = TrainTransform(squeezed, whole=1.0, **options)(photo, np.random.default_rng(0))[0]
        assert torch.allclose(whole, expected, atol=0.02)
        window = TrainTransform(squeezed, whole=0.0, **options)(photo, np.random.default_rng(0))[0]
        assert not torch.allclose(window, expected, atol=0.1)


def test_training_can_show_whole_photos_otherwise_than_captioning() -> None:
    photo = Image.new("RGB", (200, 100), (255, 255, 255))
    center = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3, crop="center")
    options = {"whole": 1.0, "ratio": (1.0, 1.0), "flip": 0.0, "color": 0.0}
    filled = TrainTransform(center, **options)(photo, np.random.default_rng(0))[0]
    padded = TrainTransform(center, **options, crop="pad")(photo, np.random.default_rng(0))[0]
    assert (filled > 0.9).all()
    assert (padded == 0).float().mean() == 0.5
    with pytest.raises(ConfigError, match="crop"):
        TrainTransform(center, crop="squeeze")
