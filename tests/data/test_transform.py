"""Pixels in, maps out: each checked against rectangles that are worked out here, on photos of every shape."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from wordgaze.data.geometry import Geometry
from wordgaze.data.photos import open_photo
from wordgaze.data.transform import PhotoTransform, Preprocessing, TrainTransform, swap_left_right
from wordgaze.errors import ConfigError

HALF = (0.5, 0.5, 0.5)
SIZES = [(640, 480), (480, 640), (500, 500), (333, 517)]
CROPS = ["pad", "center"]
ASPECT_CHANGES = [1, Fraction(4, 3), 3]


def preprocessing(
    crop: str = "pad", size: tuple[int, int] = (224, 224), max_aspect_change: Fraction | int = 1
) -> Preprocessing:
    return Preprocessing(size, HALF, HALF, crop=crop, max_aspect_change=float(max_aspect_change))


def photo_rectangle(
    photo: tuple[int, int],
    size: tuple[int, int],
    crop: str,
    grid: tuple[int, int],
    row: int,
    column: int,
    max_aspect_change: Fraction | int = 1,
) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Left, top, right, bottom in photo pixels of a patch, by the recipe in words: the photo is squeezed, the longer
    side is fitted and whole pixels are padded evenly, or the shorter side is fitted and the middle kept."""
    missing = Fraction(size[1] * photo[1], size[0] * photo[0])  # above 1 where the photo is too narrow
    if missing >= 1:
        narrow, wide = Fraction(1) / min(missing, max_aspect_change), Fraction(1)
    else:
        narrow, wide = Fraction(1), Fraction(1) / min(1 / missing, max_aspect_change)
    squeezed = {0: photo[0] * wide, 1: photo[1] * narrow}
    sides = []
    for real, pixels, other, room, other_room, cell, cells in (
        (photo[0], squeezed[0], squeezed[1], size[1], size[0], column, grid[1]),
        (photo[1], squeezed[1], squeezed[0], size[0], size[1], row, grid[0]),
    ):
        scales = Fraction(room, pixels), Fraction(other_room, other)
        if crop == "pad":
            shown = max(1, round(pixels * min(scales)))
            scale, offset = Fraction(shown, pixels), Fraction((room - shown) // 2)
        else:
            scale = max(scales)
            offset = (room - pixels * scale) / 2
        edges = [Fraction(room * edge, cells) for edge in (cell, cell + 1)]
        sides.append([(edge - offset) / scale * real / pixels for edge in edges])
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def rectangle_mask(photo: tuple[int, int], rectangle: tuple[Fraction, ...]) -> np.ndarray:
    """(h, w) bool: the pixels whose center lies in the rectangle."""
    left, top, right, bottom = rectangle
    columns = [left <= Fraction(2 * x + 1, 2) < right for x in range(photo[0])]
    rows = [top <= Fraction(2 * y + 1, 2) < bottom for y in range(photo[1])]
    return np.outer(rows, columns)


def geometry_of(
    photo: tuple[int, int],
    crop: str,
    size: tuple[int, int] = (224, 224),
    max_aspect_change: Fraction | int = 1,
) -> Geometry:
    return PhotoTransform(preprocessing(crop, size, max_aspect_change))(Image.new("RGB", photo))[1]


# Maps over photos


@pytest.mark.parametrize("photo", SIZES)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("max_aspect_change", ASPECT_CHANGES)
@pytest.mark.parametrize(
    ("size", "grid"), [((224, 224), (14, 14)), ((192, 256), (6, 8)), ((224, 224), (7, 10))]
)
def test_a_hot_patch_lands_on_its_own_photo_pixels(
    photo: tuple[int, int],
    crop: str,
    size: tuple[int, int],
    grid: tuple[int, int],
    max_aspect_change: Fraction | int,
) -> None:
    geometry = geometry_of(photo, crop, size, max_aspect_change)
    for row, column in ((grid[0] // 2, grid[1] // 2), (2, grid[1] - 3), (grid[0] - 2, 1), (0, 0)):
        patch_map = np.zeros(grid)
        patch_map[row, column] = 2.0
        rectangle = photo_rectangle(photo, size, crop, grid, row, column, max_aspect_change)
        expected = rectangle_mask(photo, rectangle)
        placed = geometry.place(patch_map, smooth=False)
        assert (placed.shape, placed.dtype) == ((photo[1], photo[0]), np.float32)
        np.testing.assert_array_equal(placed, np.where(expected, np.float32(2), 0))
        assert geometry.inside(grid)[row, column] == (
            rectangle[2] > 0 and rectangle[3] > 0 and rectangle[0] < photo[0] and rectangle[1] < photo[1]
        )


@pytest.mark.parametrize("photo", SIZES)
@pytest.mark.parametrize("crop", CROPS)
def test_a_smooth_map_peaks_at_its_patches_center(photo: tuple[int, int], crop: str) -> None:
    geometry = geometry_of(photo, crop)
    patch_map = np.zeros((14, 14))
    patch_map[6, 8] = 1.0
    placed = geometry.place(patch_map)
    left, top, right, bottom = map(float, photo_rectangle(photo, (224, 224), crop, (14, 14), 6, 8))
    x, y = (left + right) / 2, (top + bottom) / 2
    ys, xs = np.indices(placed.shape) + 0.5
    # A tent over three patches, symmetric about the center.
    np.testing.assert_allclose(
        [(placed * xs).sum() / placed.sum(), (placed * ys).sum() / placed.sum()], [x, y], atol=0.1
    )
    assert (placed > 0).sum() == pytest.approx(4 * (right - left) * (bottom - top), rel=0.1)
    assert abs(np.unravel_index(placed.argmax(), placed.shape)[1] + 0.5 - x) <= 1
    assert geometry.point(6, 8, (14, 14)) == (int(x), int(y))


def test_a_smooth_map_is_bilinear_as_torch_has_it() -> None:
    patch_map = np.random.default_rng(0).random((7, 7), np.float32)
    placed = geometry_of((150, 150), "pad").place(patch_map)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(patch_map)[None, None], (150, 150), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(placed, expected[0, 0], atol=1e-5)


@pytest.mark.parametrize("smooth", [True, False])
def test_all_of_a_padded_photo_is_covered_and_of_a_cut_one_what_was_seen(smooth: bool) -> None:
    ones = np.ones((14, 14))
    np.testing.assert_allclose(geometry_of((640, 480), "pad").place(ones, smooth), 1, rtol=1e-6)
    seen = geometry_of((640, 480), "center").place(ones, smooth)
    assert (seen[:, 80:560] == 1).all()
    assert (seen[:, :80] == 0).all() and (seen[:, 560:] == 0).all()


def test_patches_in_the_padding_hold_no_photo() -> None:
    geometry = geometry_of((640, 480), "pad")  # 224 x 168 at 28 from the top: 1 and 3/4 patches of padding
    inside = geometry.inside((14, 14))
    np.testing.assert_array_equal(inside.all(axis=1), [False] + [True] * 12 + [False])
    exact = geometry_of((448, 224), "pad").inside((14, 14))  # 56 pixels, 3 and a half patches
    np.testing.assert_array_equal(exact[:, 0], [False] * 3 + [True] * 8 + [False] * 3)
    assert geometry_of((640, 480), "center").inside((14, 14)).all()
    for photo in ((303, 217), (331, 282), (450, 386)):  # end where a patch does, but for rounding
        touched = geometry_of(photo, "pad").inside((14, 14))[:, 7]
        edges = [photo_rectangle(photo, (224, 224), "pad", (14, 14), row, 7) for row in range(14)]
        assert list(touched) == [bottom > 0 and top < photo[1] for _, top, _, bottom in edges]
    assert geometry.point(0, 0, (14, 14)) == (22, 0)
    assert geometry.point(13, 13, (14, 14)) == (617, 479)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("photo", [(1, 1), (1, 2000), (2000, 1), (3, 5)])
def test_extreme_photos_go_in_and_come_back(crop: str, photo: tuple[int, int]) -> None:
    pixel_values, geometry = PhotoTransform(preprocessing(crop))(Image.new("RGB", photo, "white"))
    assert pixel_values.shape == (3, 224, 224)
    assert pixel_values.isfinite().all() and pixel_values.max() == 1
    if crop == "center":
        assert pixel_values.min() == 1
    grid = (14, 14)
    placed = geometry.place(np.ones(grid))
    assert placed.shape == (photo[1], photo[0])
    assert set(np.unique(placed)) <= {0, 1} and placed.max() == 1
    x, y = geometry.point(*np.argwhere(geometry.inside(grid))[0], grid)
    assert 0 <= x < photo[0] and 0 <= y < photo[1]


# Photos into the model


def test_a_square_in_the_photo_is_where_its_patch_is() -> None:
    for stored, orientation in (((640, 480), 1), ((480, 640), 1), ((640, 480), 6), ((640, 480), 3)):
        photo = (stored[1], stored[0]) if orientation == 6 else stored
        for crop in CROPS:
            for row, column in ((4, 9), (8, 5)):
                upright = np.zeros((photo[1], photo[0], 3), np.uint8)
                upright[
                    rectangle_mask(photo, photo_rectangle(photo, (224, 224), crop, (14, 14), row, column))
                ] = 255
                turned = np.rot90(upright, {1: 0, 3: 2, 6: 1}[orientation])  # as such a camera stores it
                exif = Image.Exif()
                exif[274] = orientation
                file = io.BytesIO()
                Image.fromarray(np.ascontiguousarray(turned)).save(file, "PNG", exif=exif)

                pixel_values, geometry = PhotoTransform(preprocessing(crop))(open_photo(file))
                assert geometry.photo_size == photo
                brightness = (pixel_values[0] * 0.5 + 0.5).reshape(14, 16, 14, 16).mean(dim=(1, 3))
                brightness[~torch.from_numpy(geometry.inside((14, 14)))] = 0  # padding is gray
                assert brightness[row, column] > 0.9
                neighbors = (
                    brightness[row - 1 : row + 2, column - 1 : column + 2].sum() - brightness[row, column]
                )
                assert neighbors < 0.25
                there = geometry.place(brightness.numpy(), smooth=False) > 0.9
                assert (upright[there] == 255).all() and (upright[~there] == 0).all()


@pytest.mark.parametrize("photo", [*SIZES, (1000, 300)])
@pytest.mark.parametrize("crop", CROPS)
def test_photos_keep_their_shape(photo: tuple[int, int], crop: str) -> None:
    left, top, right, bottom = geometry_of(photo, crop).box
    across, down = (right - left) / 224, (bottom - top) / 224  # photo pixels an input pixel
    assert across == pytest.approx(down, rel=0.5 / (min(photo) / max(across, down)))


def test_a_photo_is_squeezed_as_far_as_it_may_be() -> None:
    for crop in CROPS:
        shown = [geometry_of((400, 300), crop, max_aspect_change=limit).box for limit in (Fraction(4, 3), 5)]
        np.testing.assert_allclose(shown, [(0, 0, 400, 300)] * 2, atol=1e-9)  # all of it, and no more
    np.testing.assert_allclose(
        geometry_of((300, 600), "center", max_aspect_change=Fraction(4, 3)).box, (0, 100, 300, 500), atol=1e-9
    )
    left, top, right, bottom = geometry_of((300, 600), "pad", max_aspect_change=Fraction(4, 3)).box
    assert (top, bottom) == (0, 600)
    assert right - left == pytest.approx(450, abs=2.1) and left + right == pytest.approx(300, abs=2.1)
    as_it_is = preprocessing("center", (192, 256), 2).widening((400, 300))
    assert as_it_is == pytest.approx(1)  # the input has this shape


@pytest.mark.parametrize("crop_pct", [1, Fraction(7, 8), Fraction(1, 3)])
@pytest.mark.parametrize("photo", [*SIZES, (1000, 90)])
def test_a_squashed_photo_gives_its_maps_back_to_its_own_pixels(
    photo: tuple[int, int], crop_pct: Fraction
) -> None:
    values = Preprocessing((64, 96), HALF, HALF, crop="squash", crop_pct=float(crop_pct))
    geometry = PhotoTransform(values)(Image.new("RGB", photo))[1]
    grid = (4, 6)
    for row, column in ((0, 0), (1, 5), (3, 2)):
        patch_map = np.zeros(grid)
        patch_map[row, column] = 1.0
        rectangle = []
        for side, cell, cells in ((photo[0], column, grid[1]), (photo[1], row, grid[0])):
            cut = side * (1 - crop_pct) / 2
            rectangle.append([cut + side * crop_pct * Fraction(edge, cells) for edge in (cell, cell + 1)])
        (left, right), (top, bottom) = rectangle
        expected = rectangle_mask(photo, (left, top, right, bottom))
        np.testing.assert_array_equal(geometry.place(patch_map, smooth=False), expected.astype(np.float32))


def test_a_squashed_photo_is_resized_whole_and_then_cut() -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (77, 301, 3), np.uint8))
    for size, crop_pct in ((64, 1), (56, 7 / 8)):
        values = Preprocessing((size, size), HALF, HALF, crop="squash", crop_pct=crop_pct)
        pixel_values, _ = PhotoTransform(values)(photo)
        cut = (64 - size) // 2
        resized = photo.resize((64, 64), Image.Resampling.BICUBIC).crop((cut, cut, 64 - cut, 64 - cut))
        expected = torch.from_numpy(np.asarray(resized).transpose(2, 0, 1) / 127.5 - 1)
        torch.testing.assert_close(pixel_values.double(), expected, atol=1e-5, rtol=0)


def test_a_whole_training_photo_is_squashed_as_at_test_time() -> None:
    values = Preprocessing((32, 32), HALF, HALF, crop="squash")
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8))
    transform = TrainTransform(values, whole=1, flip=0, color=0)
    shown, _ = transform(photo, np.random.default_rng(1))
    torch.testing.assert_close(shown, PhotoTransform(values)(photo)[0], atol=1e-4, rtol=0)


def test_padding_is_the_mean_and_the_photo_is_normalized() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixel_values, _ = PhotoTransform(Preprocessing((64, 64), mean, std))(
        Image.new("RGB", (40, 20), (255, 51, 0))
    )
    assert pixel_values.dtype == torch.float32
    assert (pixel_values[:, :16] == 0).all() and (pixel_values[:, 48:] == 0).all()
    for channel, value in enumerate((1.0, 0.2, 0.0)):
        torch.testing.assert_close(
            pixel_values[channel, 16:48], torch.full((32, 64), (value - mean[channel]) / std[channel])
        )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_the_same_pixels_as_torchvision(interpolation: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    photo = Image.fromarray(noise)
    settings = Preprocessing((64, 64), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), interpolation)
    mode = F.InterpolationMode(interpolation)
    whole = F.resize(photo, [48, 64], mode)
    expected = F.normalize(F.to_dtype(F.pil_to_tensor(whole), scale=True), settings.mean, settings.std)
    torch.testing.assert_close(PhotoTransform(settings)(photo)[0][:, 8:56], expected, atol=1e-5, rtol=0)


# Preprocessing


def test_preprocessing_is_saved_and_loaded() -> None:
    settings = Preprocessing(
        (192, 256), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", "center", 1.5, True, 0.9
    )
    saved = json.loads(json.dumps(settings.to_dict()))
    assert Preprocessing.from_dict(saved) == settings
    assert (saved["stretch"], saved["mirrored"]) == (1.5, True)  # as the first model folders have them


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"size": [224]}, "size"),
        ({"size": 224}, "size"),
        ({"size": [0, 224]}, "size"),
        ({"size": [224.5, 224]}, "size"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean"),
        ({"std": [0.5, 0.5, 0]}, "std"),
        ({"std": ["a", "b", "c"]}, "std"),
        ({"interpolation": "cubic"}, "interpolation is 'cubic'; use bilinear, bicubic, lanczos"),
        ({"crop_pct": 0.9}, "crop_pct is 0.9, but crop is 'pad'"),
        ({"crop": "squash", "crop_pct": 0}, "crop_pct is 0; give a number above 0 and up to 1"),
        ({"crop": "squeeze"}, "crop is 'squeeze'; use pad, center, squash"),
        ({"stretch": 0.75}, "stretch is 0.75; give a number from 1"),
        ({"stretch": "4/3"}, "stretch is '4/3'"),
        ({"mirrored": 1}, "mirrored is 1; use true or false"),
        ({"colour": 1}, "unknown colour"),
    ],
)
def test_senseless_preprocessing_is_refused(change: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Preprocessing.from_dict({"size": [224, 224], "mean": HALF, "std": HALF} | change)


def test_missing_preprocessing_is_refused() -> None:
    with pytest.raises(ConfigError, match="mean, std missing"):
        Preprocessing.from_dict({"size": [224, 224]})


# Training


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
    transform = TrainTransform(
        preprocessing("center", (96, 96)), whole=1.0, flip=0.0, color=0.0, ratio=(1.0, 1.0)
    )
    box, (red, green) = shown(transform(ramp(), np.random.default_rng(0))[0])
    assert tuple(box) == (0, 0, 96, 96)
    assert green.max() - green.min() == pytest.approx(1, abs=0.02)
    assert red.max() - red.min() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("whole", [0.0, 1.0])
def test_a_flipped_photo_is_mirrored_and_says_so(whole: float) -> None:
    straight, was_flipped = train_transform(whole=whole, ratio=(1.0, 1.0))(
        ramp(240, 240), np.random.default_rng(5)
    )
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
    torch.testing.assert_close(
        plain, PhotoTransform(preprocessing(size=(96, 96)))(noise)[0], atol=1e-5, rtol=0
    )
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


# Words


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("a red circle left of a blue square", "a red circle right of a blue square"),
        ("a man raises his left hand to the right", "a man raises his right hand to the left"),
        ("cars on the left and right sides", "cars on the right and left sides"),
        ("Left hand, RIGHT side", "Right hand, LEFT side"),
        (
            "the leftmost and right-most of a left-handed player",
            "the rightmost and left-most of a right-handed player",
        ),
        ("the girl's left", "the girl's right"),
        ("turn right, then left", "turn left, then right"),
        ("waves from right to left", "waves from left to right"),
    ],
)
def test_left_and_right_change_places(caption: str, mirrored: str) -> None:
    assert swap_left_right(caption) == mirrored


@pytest.mark.parametrize(
    "caption",
    [
        "a dog stands right next to a bright light",
        "the door was left open with leftover pizza upright on it",
        "someone left a bike right behind the left-over tank",
        "",
    ],
)
def test_other_meanings_stay(caption: str) -> None:
    assert swap_left_right(caption) == caption


def test_swapping_twice_gives_the_caption_back(shared_data: Path) -> None:
    captions = (shared_data / "data/captions_text.txt").read_text().splitlines()
    assert sum(swap_left_right(caption) != caption for caption in captions) > 100
    assert [swap_left_right(swap_left_right(caption)) for caption in captions] == captions


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
