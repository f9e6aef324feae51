from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from PIL import Image

from wordgaze.data.geometry import Geometry
from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.explanation.overlay import (
    COLOR_MAPS,
    COLORS,
    colorize,
    overlay,
    percent,
    position_in_words,
    refine,
    resize,
    strength,
)


def _photo(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def _geometry(photo: Image.Image, side: int = 64) -> Geometry:
    return PhotoTransform(Preprocessing((side, side), (0.5,) * 3, (0.5,) * 3))(photo)[1]


@pytest.mark.parametrize("name", ["inferno", "viridis", "cividis"])
def test_the_colors_are_matplotlibs(name: str) -> None:
    expected = matplotlib.colormaps[name](0.2 + 0.8 * np.linspace(0, 1, 256))[:, :3] * 255
    assert np.abs(COLOR_MAPS[name] - expected).max() < 5
    assert next(iter(COLOR_MAPS)) == "inferno" and COLORS is COLOR_MAPS["inferno"]


@pytest.mark.parametrize("name", COLOR_MAPS)
def test_the_order_of_colors_shows_in_grey_and_to_color_blind_eyes(name: str) -> None:
    # What a dichromat sees, linear RGB (Viénot, Brettel and Mollon 1999): protanopia, deuteranopia.
    seen = {
        "all": np.eye(3),
        "protan": [[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.0040, -0.0040, 1]],
        "deutan": [[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]],
    }
    linear = (COLOR_MAPS[name] / 255) ** 2.2
    for matrix in seen.values():
        lightness = (linear @ np.transpose(matrix)).clip(0, 1) @ (0.2126, 0.7152, 0.0722)
        assert (np.diff(lightness) >= -0.005).all() and lightness[-1] > 4 * lightness[0]


def test_overlay_changes_the_photo_only_where_the_map_is() -> None:
    photo = _photo(40, 30)
    values = np.zeros((30, 40))
    values[5:10, 20:30] = 1.0
    painted = np.asarray(overlay(photo, values))
    changed = (painted != np.asarray(photo)).any(axis=-1)
    assert changed[5:10, 20:30].mean() > 0.95
    changed[5:10, 20:30] = False
    assert not changed.any()
    assert np.array_equal(np.asarray(photo), np.asarray(_photo(40, 30)))  # the given photo stays as it was


def test_overlay_gets_stronger_with_the_map_and_with_opacity() -> None:
    photo = Image.new("RGB", (101, 1), (40, 90, 200))
    values = np.linspace(0, 1, 101)[None] ** 3
    distance = np.abs(np.asarray(overlay(photo, values), int) - (40, 90, 200)).sum(axis=-1)[0]
    assert distance[0] == 0 and distance[-1] > 150 and np.all(np.diff(distance[60:]) >= -3)
    fainter = np.abs(np.asarray(overlay(photo, values, opacity=0.3), int) - (40, 90, 200)).sum(axis=-1)[0]
    assert fainter[-1] < distance[-1] / 2
    assert overlay(photo, values, opacity=0.0).tobytes() == photo.tobytes()


def test_strength_does_not_paint_an_even_map_with_confidence() -> None:
    np.testing.assert_allclose(strength(np.full((4, 4), 1 / 16)), 0.25)
    hot = np.zeros((4, 4))
    hot[1, 2] = 0.01
    assert strength(hot)[1, 2] == 1
    np.testing.assert_allclose(strength(hot * 1000), strength(hot))
    assert not strength(np.zeros((2, 2))).any()


def test_colorize_is_clear_where_there_is_nothing() -> None:
    rgba = np.asarray(colorize(np.array([[0.0, 0.5, 1.0]])))
    assert rgba[0, :, 3].tolist() == [0, 108, 217]
    assert rgba[0, 2, :3].tolist() == COLORS[255].tolist()


def test_refined_maps_keep_the_patches_and_their_place() -> None:
    patches = np.random.default_rng(0).random((5, 7))
    fine = refine(patches, 9)
    assert fine.shape == (45, 63) and fine.min() >= 0
    np.testing.assert_allclose(fine[4::9, 4::9], patches, atol=1e-5)
    hot = np.zeros((5, 7))
    hot[3, 1] = 1
    fine = refine(hot, 9)
    assert np.unravel_index(fine.argmax(), fine.shape) == (3 * 9 + 4, 9 + 4)
    far = np.ones_like(fine, bool)
    far[2 * 9 : 5 * 9, : 3 * 9] = False
    assert fine[far].max() < 0.01


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (333, 250)])
def test_a_resized_photo_keeps_its_geometry(size: tuple[int, int]) -> None:
    photo = _photo(*size)
    geometry = _geometry(photo)
    small, placed = resize(photo, geometry, 80)
    assert max(small.size) == 80 and placed.photo_size == small.size
    for row, column in [(0, 0), (3, 5), (7, 7)]:
        x, y = geometry.point(row, column, (8, 8))
        small_x, small_y = placed.point(row, column, (8, 8))
        assert small_x == pytest.approx(x * small.width / photo.width, abs=1.5)
        assert small_y == pytest.approx(y * small.height / photo.height, abs=1.5)


def test_percent_rounds_nothing_to_certainty() -> None:
    values = (0.0, 0.001, 0.006, 0.5, 0.994, 0.9999, 1.0)
    assert [percent(value) for value in values] == ["0%", "<1%", "1%", "50%", "99%", ">99%", "100%"]


def test_places_in_words() -> None:
    names = [position_in_words((x, y), (300, 90)) for y in (0, 45, 89) for x in (0, 150, 299)]
    assert names[:3] == ["upper left", "top", "upper right"]
    assert names[3:6] == ["left", "center", "right"]
    assert names[6:] == ["lower left", "bottom", "lower right"]
    assert position_in_words((0, 0), (1, 1)) == "upper left"
