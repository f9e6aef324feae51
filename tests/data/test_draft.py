"""JPEGs decoded smaller: the same input for the model, the same geometry, and full decoding wherever that can't be."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter

from wordgaze.data.draft import DraftPhoto
from wordgaze.data.photos import open_photo
from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.errors import PhotoError

SIZE = (603, 401)  # no multiple of 2, 4 or 8: the last row and column of the smaller image are only partly the photo's


def textured(size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """Return a photo whose every side differs, with as much detail as photos have."""
    width, height = size
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    colors = np.stack([255 * x, 255 * y, 127 + 120 * np.sin(25 * x * y)], axis=-1)
    photo = Image.fromarray((colors + noise).clip(0, 255).astype(np.uint8))
    return photo.filter(ImageFilter.GaussianBlur(1)).convert(mode)


def encoded(photo: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    photo.save(file, format, quality=90, **options)
    return file.getvalue()


def transform_for(crop: str = "center", size: tuple[int, int] = (48, 64)) -> PhotoTransform:
    return PhotoTransform(Preprocessing(size=size, mean=(0, 0, 0), std=(1 / 255,) * 3, crop=crop))


def both(data: bytes, transform: PhotoTransform) -> tuple[Any, Any]:
    """Return what the model gets of a file that is decoded smaller and of one that is not, in values of 0 to 255."""
    photo = open_photo(data, max_reduction=transform.preprocessing.max_reduction)
    assert isinstance(photo, DraftPhoto) and photo.image.width < photo.size[0] / 1.9
    (smaller, its_geometry), (full, geometry) = transform(photo), transform(open_photo(data))
    assert its_geometry == geometry
    return smaller.numpy(), full.numpy()


def assert_alike(data: bytes, transform: PhotoTransform) -> None:
    smaller, full = both(data, transform)
    difference = np.abs(smaller - full)
    assert difference.mean() < 1.5 and difference.max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("crop", ["pad", "center", "squash"])
def test_the_model_sees_the_same_however_the_photo_is_turned(crop: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert_alike(encoded(textured(), exif=exif), transform_for(crop))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_edges_lie_where_they_lie_in_the_full_photo(orientation: int) -> None:
    """A ramp tells by its values from which row and column of the photo each pixel was taken."""
    width, height = 161, 161  # of which a scale of 8 leaves seven eighths of a pixel empty on each side
    ramp = np.minimum(np.add.outer(np.arange(height), np.zeros(width)), 255)
    both_ways = np.stack([ramp, ramp.T, 0 * ramp], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(Image.fromarray(both_ways), exif=exif, subsampling=0)
    smaller, full = both(data, transform_for("squash", (8, 8)))
    assert np.abs((smaller - full)[:, 2:6, 2:6]).max() <= 1


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {}),
        ("CMYK", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"icc_profile": b"a profile" * 50}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"restart_marker_rows": 1}),
    ],
)
def test_kinds_of_jpeg(mode: str, options: dict[str, Any]) -> None:
    assert_alike(encoded(textured(mode=mode), **options), transform_for())


def test_a_photo_of_several_frames() -> None:
    frames = textured(), Image.new("RGB", SIZE, "red")
    data = encoded(frames[0], "MPO", save_all=True, append_images=[frames[1]])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert_alike(data, transform_for())


def test_every_source_that_is_a_file_and_no_other(tmp_path: Path) -> None:
    data, max_reduction = encoded(textured()), transform_for().preprocessing.max_reduction
    (tmp_path / "photo.jpg").write_bytes(data)
    for source in (data, tmp_path / "photo.jpg", io.BytesIO(data)):
        assert isinstance(open_photo(source, max_reduction=max_reduction), DraftPhoto)
    # An image that the caller holds stays as it is, and other formats have no way to be decoded smaller.
    for image in (Image.open(io.BytesIO(data)), encoded(textured(), "WEBP"), np.asarray(textured())):
        photo = open_photo(image, max_reduction=max_reduction)
        assert isinstance(photo, Image.Image) and photo.size == SIZE


@pytest.mark.parametrize("size", [(95, 95), (96, 127), (40, 2000), (1, 1)])
def test_a_photo_without_twice_the_pixels_is_decoded_in_full(size: tuple[int, int]) -> None:
    data, transform = encoded(textured(size)), transform_for("center", (48, 48))
    photo = open_photo(data, max_reduction=transform.preprocessing.max_reduction)
    assert isinstance(photo, Image.Image) and photo.size == size


@pytest.mark.parametrize("crop", ["pad", "center", "squash"])
@pytest.mark.parametrize("size", [(800, 600), (600, 800), (3000, 500), (500, 3000), (4000, 3000)])
def test_twice_the_pixels_are_left(crop: str, size: tuple[int, int]) -> None:
    preprocessing = Preprocessing((48, 64), (0, 0, 0), (1, 1, 1), crop=crop, max_aspect_change=1.15)
    geometry = PhotoTransform(preprocessing)(Image.new("RGB", size))[1]
    left, top, right, bottom = geometry.box
    shrunk = min((right - left) / geometry.input_size[0], (bottom - top) / geometry.input_size[1])
    assert preprocessing.max_reduction(size) == pytest.approx(shrunk / 2, rel=0.03)  # whole pixels are filled


def test_a_photo_that_is_cut_short_is_judged_by_its_own_rows() -> None:
    data, max_reduction = encoded(textured()), transform_for().preprocessing.max_reduction
    messages: list[str] = []
    cut = data[: len(data) * 98 // 100]
    photo = open_photo(cut, max_reduction=max_reduction, on_warning=messages.append)
    assert photo.size == SIZE and "of 401 rows can be read" in messages[0]
    assert np.array_equal(np.asarray(photo), np.asarray(open_photo(cut, on_warning=messages.append)))
    assert messages[0] == messages[1]
    with pytest.raises(PhotoError, match="of 401 rows can be read"):
        open_photo(data[: len(data) // 2], max_reduction=max_reduction)
    with pytest.raises(PhotoError, match="strict"):
        open_photo(cut, max_reduction=max_reduction, strict=True)


def lossless_jpeg(width: int, height: int) -> bytes:
    """Return a gray JPEG of the lossless kind (ITU T.81, annex H): each difference to the pixel before is 0."""

    def segment(code: int, body: bytes) -> bytes:
        return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body

    frame = segment(0xC3, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
    table = segment(0xC4, bytes([0, 1, *[0] * 15, 0]))
    scan = segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    return b"\xff\xd8" + frame + table + scan + bytes(width * height // 8 + 1) + b"\xff\xd9"


def test_a_lossless_jpeg_is_never_decoded_smaller() -> None:
    """It would be written past the end of Pillow's buffer."""
    asked: list[Image.Image] = []
    data = lossless_jpeg(512, 512)
    draft, Image.Image.draft = Image.Image.draft, lambda self, *_: asked.append(self)  # type: ignore[method-assign,assignment,func-returns-value]
    try:
        assert not isinstance(open_photo(data, max_reduction=lambda _: 8), DraftPhoto)
    finally:
        Image.Image.draft = draft  # type: ignore[method-assign]
    assert not asked
