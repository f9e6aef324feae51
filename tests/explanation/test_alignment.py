"""A map lies over the photo that its file shows, to the pixel, whatever its shape and however the camera was held."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from wordgaze.captioner import Captioner

GRID = (4, 6)  # patches of 16 pixels: the model's input is 96 x 64
# EXIF's orientation, and how the upright photo must be turned to be stored so.
STORED = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def upright(size: tuple[int, int]) -> Image.Image:
    return Image.effect_mandelbrot(size, (-2, -1, 1, 1), 30).convert("RGB")


def encoded(photo: Image.Image, orientation: int) -> bytes:
    """Return a PNG whose pixels lie as a camera held so would store them."""
    turn = STORED[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    (photo if turn is None else photo.transpose(turn)).save(file, "PNG", exif=exif)
    return file.getvalue()


# The input shows all of the photo, and the mean color around it. By hand: the photo's rows and columns under a patch.
@pytest.mark.parametrize(
    ("size", "patch", "rows", "columns"),
    [
        # Wide, 960 x 320: a tenth of its size is 96 x 32, on the input's rows 16 to 48.
        ((960, 320), (1, 2), (0, 160), (320, 480)),
        ((960, 320), (2, 5), (160, 320), (800, 960)),
        # Tall, 320 x 640: a tenth is 32 x 64, on the input's columns 32 to 64.
        ((320, 640), (0, 2), (0, 160), (0, 160)),
        ((320, 640), (3, 3), (480, 640), (160, 320)),
        # 640 x 480 is not the input's shape: 85 x 64 of its pixels, from column 5, so 640 / 85 of the photo's each.
        ((640, 480), (1, 1), (120, 240), (83, 203)),
        ((480, 640), (2, 3), (320, 480), (240, 400)),
    ],
)
@pytest.mark.parametrize("orientation", STORED)
def test_one_hot_patch_lands_on_its_own_pixels(
    captioner: Captioner,
    size: tuple[int, int],
    patch: tuple[int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
    orientation: int,
) -> None:
    explanation = captioner.explain(encoded(upright(size), orientation), "a dog")
    assert explanation.photo.size == size and explanation.grid_size == GRID
    hot = np.zeros(GRID, np.float32)
    hot[patch] = 1
    expected = np.zeros((size[1], size[0]), np.float32)
    expected[slice(*rows), slice(*columns)] = 1
    np.testing.assert_array_equal(explanation.geometry.place(hot, smooth=False), expected)


def test_a_photo_turned_by_exif_has_the_same_maps_and_peaks(captioner: Captioner) -> None:
    photo = upright((90, 150))
    plain, *turned = (captioner.explain(encoded(photo, orientation), num_beams=2) for orientation in STORED)
    assert len(turned) == 3 and len(plain.words) > 1
    for other in turned:
        assert other.caption.text == plain.caption.text and other.geometry == plain.geometry
        np.testing.assert_array_equal(np.asarray(other.photo), np.asarray(plain.photo))
        for word, same in zip(other.words, plain.words, strict=True):
            np.testing.assert_array_equal(word.map, same.map)
            assert word.peak == same.peak and word.grounded == same.grounded
