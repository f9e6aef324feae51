"""Pixels in, maps out: each checked against rectangles that are worked out here, on photos of every shape."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from wordgaze.data.geometry import Geometry
from wordgaze.data.photos import open_photo
from wordgaze.data.transform import RESAMPLING, PhotoTransform, Preprocessing
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
@pytest.mark.parametrize(("size", "grid"), [((224, 224), (14, 14)), ((192, 256), (6, 8)), ((224, 224), (7, 10))])
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
                upright[rectangle_mask(photo, photo_rectangle(photo, (224, 224), crop, (14, 14), row, column))] = 255
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
                neighbors = brightness[row - 1 : row + 2, column - 1 : column + 2].sum() - brightness[row, column]
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
def test_a_squashed_photo_gives_its_maps_back_to_its_own_pixels(photo: tuple[int, int], crop_pct: Fraction) -> None:
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


def test_padding_is_the_mean_and_the_photo_is_normalized() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixel_values, _ = PhotoTransform(Preprocessing((64, 64), mean, std))(Image.new("RGB", (40, 20), (255, 51, 0)))
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
    settings = Preprocessing((192, 256), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", "center", 1.5, True, 0.9)
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


@pytest.mark.parametrize("interpolation", RESAMPLING)
@pytest.mark.parametrize("crop", ["pad", "center", "squash"])
def test_an_array_holds_the_tensors_pixels_to_the_last_bit(crop: str, interpolation: str) -> None:
    rng = np.random.default_rng(0)
    for number, (mode, channels) in enumerate((("RGB", 3), ("L", 0), ("RGBA", 4), ("CMYK", 4))):
        for width, height in ((1, 1), (640, 480), (33, 517), (300, 7)):
            shape = (height, width, channels) if channels else (height, width)
            photo = Image.fromarray(rng.integers(0, 256, shape, np.uint8), mode).convert("RGB")
            values = Preprocessing((48 + 16 * number, 64), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), interpolation, crop, 1.3)
            transform = PhotoTransform(values)
            (array, geometry), (tensor, its_geometry) = transform.array(photo), transform(photo)
            assert array.dtype == np.float32 and geometry == its_geometry
            assert array.tobytes() == tensor.numpy().tobytes()
