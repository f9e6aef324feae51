"""Any photo in, upright RGB out: what is seen must be right, and what can't be seen must be said."""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wordgaze.data.photos import MAX_PIXELS, open_photo
from wordgaze.errors import PhotoError

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 40), (20, 40, 210), (255, 255, 255)


def corners() -> Image.Image:
    """24 wide, 16 high: red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", (24, 16), WHITE)
    image.paste(RED, (0, 0, 12, 8))
    image.paste(GREEN, (12, 0, 24, 8))
    image.paste(BLUE, (0, 8, 12, 16))
    return image


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, rows: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pixels(photo: Image.Image) -> list[tuple[int, ...]]:
    assert photo.mode == "RGB"
    return [tuple(int(value) for value in pixel) for pixel in np.asarray(photo).reshape(-1, 3)]


def assert_close(photo: Image.Image, expected: Image.Image, tolerance: float) -> None:
    assert (photo.mode, photo.size) == ("RGB", expected.size)
    difference = np.abs(np.asarray(photo, float) - np.asarray(expected, float))
    assert np.median(difference) <= tolerance  # edges may be smeared by the codec, areas not
    for x, y in ((3, 3), (20, 3), (3, 12), (20, 12)):
        assert difference[y, x].max() <= 4 * tolerance


# How a camera that was held so stores an upright scene (EXIF 2.32, tag 274: which sides row 0 and column 0 are).
STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_exif_orientation_is_obeyed(orientation: int, format: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(corners()))))
    exif = Image.Exif()
    exif[274] = orientation
    options = {} if format in ("PNG", "TIFF") else {"quality": 95}
    file = encoded(stored, format, exif=exif.tobytes(), **options)

    assert_close(open_photo(file), corners(), 6)
    with Image.open(io.BytesIO(file)) as image:
        assert_close(open_photo(image), corners(), 6)
    with Image.open(io.BytesIO(file)) as image:
        again = open_photo(open_photo(image))
    assert_close(again, corners(), 6)


def test_broken_exif_leaves_the_photo_as_it_is() -> None:
    file = encoded(corners(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert_close(open_photo(file), corners(), 0)


def test_transparency_is_put_on_white() -> None:
    half = Image.new("RGBA", (2, 1), (200, 0, 100, 0))
    half.putpixel((1, 0), (200, 0, 100, 128))
    blended = (227, 127, 177)
    assert pixels(open_photo(encoded(half, "PNG"))) == [WHITE, blended]
    assert pixels(open_photo(half)) == [WHITE, blended]
    assert pixels(open_photo(encoded(half, "WEBP", lossless=True, exact=True))) == [WHITE, blended]

    gray = Image.fromarray(np.array([[[40, 0], [40, 255]]], np.uint8), "LA")
    assert pixels(open_photo(encoded(gray, "PNG"))) == [WHITE, (40, 40, 40)]


def test_a_transparent_color_is_put_on_white() -> None:
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    for format in ("PNG", "GIF"):
        assert pixels(open_photo(encoded(palette, format, transparency=0))) == [WHITE, (40, 50, 60)]
    assert pixels(open_photo(encoded(palette, "PNG", transparency=bytes([255, 0])))) == [(10, 20, 30), WHITE]

    rgb = png(2, 1, 8, 2, b"\0" + bytes([*RED, *GREEN]), chunk(b"tRNS", struct.pack(">3H", *RED)))
    assert pixels(open_photo(rgb)) == [WHITE, GREEN]
    deep = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 40000, 25700), chunk(b"tRNS", struct.pack(">H", 40000)))
    assert pixels(open_photo(deep)) == [WHITE, (100, 100, 100)]


def test_gray_palette_and_bilevel_photos() -> None:
    assert pixels(open_photo(encoded(Image.new("L", (1, 1), 77), "PNG"))) == [(77, 77, 77)]
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, *BLUE])
    assert pixels(open_photo(encoded(palette, "PNG"))) == [BLUE]
    bilevel = Image.new("1", (2, 1), 0)
    bilevel.putpixel((1, 0), 1)
    assert pixels(open_photo(encoded(bilevel, "PNG"))) == [(0, 0, 0), WHITE]


def test_cmyk_keeps_its_colors() -> None:
    inverted = encoded(corners().convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in inverted  # whose files hold 255 - C, M, Y, K
    assert_close(open_photo(inverted), corners(), 6)
    assert_close(open_photo(encoded(corners().convert("CMYK"), "TIFF")), corners(), 1)
    inked = Image.new("CMYK", (1, 1), (0, 128, 255, 51))
    assert pixels(open_photo(inked)) == [(204, 102, 0)]


def test_deep_photos_are_scaled_and_not_cut() -> None:
    values = np.array([[0, 257, 25700, 65535]])
    expected = [(gray,) * 3 for gray in (0, 1, 100, 255)]
    short = Image.fromarray(values.astype(np.uint16))
    assert short.mode == "I;16"
    for file in (encoded(short, "PNG"), encoded(short, "TIFF")):
        assert pixels(open_photo(file)) == expected
    big_endian = b"P5 4 1 65535\n" + values.astype(">u2").tobytes()
    assert pixels(open_photo(big_endian)) == expected
    assert pixels(open_photo(Image.fromarray(values.astype(np.int32)))) == expected
    assert pixels(open_photo(Image.fromarray(values.astype(np.float32)))) == expected
    assert pixels(open_photo(Image.fromarray((values / 65535).astype(np.float32)))) == expected
    assert pixels(open_photo(encoded(Image.fromarray((values / 65535).astype(np.float32)), "TIFF"))) == expected


def test_deep_photos_on_no_usual_scale_are_stretched() -> None:
    values = np.array([[-70_000, 0, 70_000]], np.int32)
    assert pixels(open_photo(Image.fromarray(values))) == [(0,) * 3, (128,) * 3, (255,) * 3]
    spoiled = Image.fromarray(np.array([[np.nan, np.inf, -np.inf, 1.0]], np.float32))
    assert pixels(open_photo(spoiled)) == [(0,) * 3, (255,) * 3, (0,) * 3, (255,) * 3]
    assert pixels(open_photo(Image.fromarray(np.full((1, 1), 70_000, np.int32)))) == [(0,) * 3]


@pytest.mark.filterwarnings("ignore:.*of a single color:wordgaze.errors.PhotoWarning")
@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_an_animation_shows_its_first_frame(format: str) -> None:
    first, second = Image.new("RGB", (24, 16), RED), Image.new("RGB", (24, 16), BLUE)
    file = encoded(first, format, save_all=True, append_images=[second])
    assert_close(open_photo(file), first, 6)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_every_way_to_hand_in_a_photo(format: str, tmp_path: Path) -> None:
    file = encoded(corners(), format)
    path = tmp_path / "named.wrongly"
    path.write_bytes(file)
    expected = open_photo(file)
    assert_close(expected, corners(), 12)
    for source in (path, str(path), io.BytesIO(file), bytearray(file)):
        assert pixels(open_photo(source)) == pixels(expected)  # type: ignore[arg-type]


def test_a_pipe_is_read() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(encoded(corners(), "PNG"))
    with os.fdopen(reading, "rb") as end:
        assert_close(open_photo(end), corners(), 0)


def test_heif_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"pip install 'wordgaze\[heif\]'"):
        open_photo(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))


@pytest.mark.extra("heif")
def test_heif_is_read() -> None:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(corners().resize((96, 64), Image.Resampling.NEAREST)).save(buffer, quality=95)
    assert_close(open_photo(buffer.getvalue()).resize((24, 16)), corners(), 8)


# What is wrong


def test_the_pixel_count_is_read_from_the_header_before_anything_is_decoded() -> None:
    bomb = png(60_000, 60_000, 8, 2, b"")
    with pytest.raises(PhotoError, match=r"60000 x 60000 = 3,600,000,000 pixels, more than the 178,956,970"):
        open_photo(bomb)
    assert MAX_PIXELS == 178_956_970
    with pytest.raises(PhotoError, match="more than the 383 allowed"):
        open_photo(encoded(corners(), "PNG"), max_pixels=383)
    assert open_photo(encoded(corners(), "PNG"), max_pixels=384).size == (24, 16)
    with pytest.raises(PhotoError, match="more than the 383 allowed"):
        open_photo(corners(), max_pixels=383)
    with pytest.raises(PhotoError, match="more than the 383 allowed"):
        open_photo(np.zeros((16, 24), np.uint8), max_pixels=383)


def test_pillows_own_limit_is_neither_asked_nor_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    file = encoded(corners(), "PNG")
    for limit in (300, 100):  # where Pillow warns, and where it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert open_photo(file).size == (24, 16)
        with pytest.raises(PhotoError):
            open_photo(b"nothing")
        assert limit == Image.MAX_IMAGE_PIXELS


def test_many_threads_leave_pillows_limit_alone() -> None:
    limit, file = Image.MAX_IMAGE_PIXELS, encoded(corners(), "PNG")
    threads = [threading.Thread(target=lambda: [open_photo(file) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit == Image.MAX_IMAGE_PIXELS is not None


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_cut_photo_is_refused(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = encoded(Image.fromarray(noise), format)
    with pytest.raises(PhotoError, match=r"damaged or cut short.*; get the file again"):
        open_photo(file[: int(len(file) * share)])


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (b"", "is empty"),
        (b"Dear diary, today", "not a photo in a format that can be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a photo in a format"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "not a photo in a format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a photo in a format"),
        (png(0, 5, 8, 2, b""), "damaged"),
        (Image.new("RGB", (0, 5)), "has no pixels"),
        (np.zeros((0, 5), np.uint8), "has no pixels"),
        (np.zeros((4, 5, 2), np.uint8), r"shape \(4, 5, 2\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((4, 5), np.int64), "array of int64"),
        (np.full((4, 5), 200.0), "floats from 200 to 200; scale them"),
        (np.full((4, 5), np.nan), "floats from nan"),
        (io.StringIO("text"), "open as text"),
        (7, "is an int"),
    ],
)
def test_what_is_no_photo_is_refused_in_a_sentence(source: object, what: str) -> None:
    with pytest.raises(PhotoError, match=what) as caught:
        open_photo(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.txt").write_text("text")
    for path, what in (
        (tmp_path / "missing.jpg", "no such file"),
        (tmp_path / "file.txt" / "photo.jpg", "no such file"),
        (tmp_path, "is a folder"),
        ("null\0byte", "can't be opened"),
    ):
        with pytest.raises(PhotoError, match=what) as caught:
            open_photo(path)
        assert str(tmp_path) not in str(caught.value)  # who reports it names the path

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PhotoError, match="check the file's permissions"):
        open_photo(tmp_path / "file.txt")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_no_file_stays_open_but_the_callers(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(encoded(corners(), "PNG"))
    (tmp_path / "cut.png").write_bytes(encoded(corners(), "PNG")[:-40])
    (tmp_path / "text.png").write_text("text")
    references = []  # an error's traceback would keep the file alive
    before = len(os.listdir("/proc/self/fd"))
    references.append(open_photo(tmp_path / "good.png"))
    for name in ("cut.png", "text.png"):
        with pytest.raises(PhotoError) as caught:
            open_photo(tmp_path / name)
        references.append(caught)
    assert len(os.listdir("/proc/self/fd")) == before

    with open(tmp_path / "good.png", "rb") as file:
        open_photo(file)
        assert not file.closed


def test_arrays_become_photos() -> None:
    upright = np.asarray(corners())
    assert pixels(open_photo(upright)) == pixels(corners())
    assert pixels(open_photo(upright[:, ::-1])) == pixels(Image.fromarray(upright[:, ::-1].copy()))
    assert pixels(open_photo(upright.astype(np.float32) / 255)) == pixels(corners())
    assert pixels(open_photo(np.array([[0, 200]], np.uint8))) == [(0, 0, 0), (200, 200, 200)]
    assert pixels(open_photo(np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8))) == [WHITE, (9, 9, 9)]


def test_the_result_is_the_callers_own() -> None:
    mine = corners()
    open_photo(mine).paste(WHITE, (0, 0, 24, 16))
    assert pixels(mine) == pixels(corners())
