"""Files as strangers have them: each is read as the photo it is, or refused for the reason that is true."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.odd_photos import BOMB, GRAY, PHOTO, PIXELS, OddPhoto, chunk, encoded, odd_photos, png, tiff

from wordgaze.data.photos import open_photo
from wordgaze.errors import PhotoError, PhotoWarning

ODD = {odd.name: odd for odd in odd_photos()}
EXPECTED = {
    "rgb": PIXELS,
    "gray": np.dstack([GRAY] * 3),
    "white": np.full_like(PIXELS, 255),
    "black": np.zeros_like(PIXELS),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_a_file_is_read_as_what_it_is_or_refused_for_what_it_is(odd: OddPhoto) -> None:
    messages: list[str] = []
    if odd.tolerance is None:
        assert odd.message
        with pytest.raises(PhotoError, match=odd.message) as caught:
            open_photo(odd.data, on_warning=messages.append)
        assert "\n" not in str(caught.value)
        assert messages == []
        return
    photo = open_photo(odd.data, on_warning=messages.append)
    expected = EXPECTED[odd.expected]
    assert (photo.mode, photo.size) == ("RGB", (expected.shape[1], expected.shape[0]))
    difference = float(np.abs(np.asarray(photo).astype(float) - expected).mean())
    assert difference <= odd.tolerance
    if odd.message is None:
        assert messages == []
    else:
        assert len(messages) == 1 and re.search(odd.message, messages[0])


@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_rows_of_a_jpeg_are_counted(subsampling: int) -> None:
    """A restart marker stands after each row of blocks here, so that it is known how many rows an end leaves."""
    band = 16 if subsampling else 8
    data = encoded("JPEG", quality=92, subsampling=subsampling, restart_marker_rows=1)
    markers = [marker.start() for marker in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    assert len(markers) == -(-PHOTO.height // band) - 1
    for bands, marker in enumerate(markers, 1):
        for end, most in ((marker, 0), (marker + 2, 0), (marker + 40, band // 2)):
            messages: list[str] = []
            try:
                open_photo(data[:end], on_warning=messages.append)
            except PhotoError as error:
                messages.append(str(error))
            rows = int(re.search(r"([0-9]+) of 120 rows", messages[0])[1])  # type: ignore[index]
            assert 0 <= rows - band * bands <= most


@pytest.mark.parametrize(
    "name", ["jpeg-without-end", "jpeg-without-2-percent", "png-without-end", "png-of-a-wrong-sum"]
)
def test_strict_refuses_what_is_cut_short(name: str) -> None:
    with pytest.raises(PhotoError, match=r"rows can be read; that is refused here \(strict\); get the file again"):
        open_photo(ODD[name].data, strict=True)


def test_strict_takes_whole_photos_and_empty_ones() -> None:
    for name in ("jpeg-cmyk", "png-clear", "tiff-7-bands-u2"):
        open_photo(ODD[name].data, strict=True, on_warning=lambda _: None)


def test_without_a_listener_a_warning_names_the_photo(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(ODD["jpeg-without-end"].data)
    with pytest.warns(
        PhotoWarning, match=rf"^{re.escape(str(path))}: is cut short, though all of its 120 rows"
    ) as caught:
        open_photo(path)
    assert caught[0].filename == __file__
    with pytest.warns(PhotoWarning, match="^a photo: is cut short"):
        open_photo(path.read_bytes())


def test_text_that_inflates_to_gigabytes_takes_no_memory() -> None:
    bomb = chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB) * 99 + chunk(b"iCCP", b"k\0\0" + BOMB)
    file = png(b"".join(b"\0" + row.tobytes() for row in PIXELS), bomb)
    tracemalloc.start()
    open_photo(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 1024**2


def test_pillow_and_libtiff_say_nothing_in_any_thread(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    damaged = bytearray(encoded("TIFF", compression="tiff_lzw"))
    damaged[2000:2200] = bytes(range(200))
    loud = [
        bytes(damaged),  # libtiff prints to stderr
        encoded("TIFF", compression="tiff_deflate")[:-60],  # "Corrupt EXIF data", warned of
        tiff(np.repeat(GRAY[..., None], 9, 2), 1, compression=7),  # "More samples per pixel ...", logged
        ODD["jpeg-with-broken-mpf"].data,
        ODD["png-with-frames-out-of-order"].data,
    ]

    def open_all() -> None:
        for data in loud * 5:
            with contextlib.suppress(PhotoError):
                open_photo(data)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=open_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        open_all()
        for thread in threads:
            thread.join()
    written = capfd.readouterr()
    assert (written.out, written.err, warned, caplog.records) == ("", "", [], [])


def test_what_the_user_does_with_pillow_is_as_loud_as_ever(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    cut = encoded("TIFF", compression="tiff_deflate")[:-60]
    open_photo(encoded("PNG"))
    with pytest.warns(UserWarning), pytest.raises(OSError):
        Image.open(io.BytesIO(cut))
    with caplog.at_level(logging.ERROR), pytest.raises(OSError):
        Image.open(io.BytesIO(tiff(np.repeat(GRAY[..., None], 9, 2), 1)))
    assert "More samples" in caplog.text
    damaged = bytearray(encoded("TIFF", compression="tiff_lzw"))
    damaged[2000:2200] = bytes(range(200))
    with pytest.raises(OSError):
        Image.open(io.BytesIO(bytes(damaged))).load()
    assert capfd.readouterr().err != ""


# PIL images


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_closed_image_is_called_closed() -> None:
    closed = [opened(encoded(format)) for format in ("JPEG", "PNG", "TIFF", "WEBP", "GIF")]
    closed[0].load()
    for image in closed:
        image.close()
    with opened(encoded("JPEG")) as left:
        pass
    file = io.BytesIO(encoded("JPEG"))
    without_file = Image.open(file)
    file.close()
    for image in (*closed, left, without_file, Image.new("RGB", (9, 9))):
        if image.format is None:
            image.close()
        with pytest.raises(PhotoError, match="is a PIL image that is closed; pass it while it is open"):
            open_photo(image)
    with pytest.raises(PhotoError, match="is a closed file"):
        open_photo(file)


@pytest.mark.parametrize("name", ["jpeg-without-2-percent", "png-without-2-percent", "gif-without-2-percent"])
def test_an_image_that_is_not_yet_read_is_read_as_its_file(name: str) -> None:
    messages: list[str] = []
    photo = open_photo(opened(ODD[name].data), on_warning=messages.append)
    assert np.array_equal(photo, open_photo(ODD[name].data, on_warning=messages.append))
    assert len(messages) == 2 and messages[0] == messages[1]


# Arrays and tensors


def test_tensors_are_photos() -> None:
    torch = pytest.importorskip("torch")
    last = torch.from_numpy(PIXELS.copy())
    first = last.permute(2, 0, 1)
    opaque = torch.cat([first, torch.full_like(first[:1], 255)])
    learnt = (first / 255).requires_grad_()
    for tensor in (last, first, first / 255, learnt, (first / 255).double(), opaque, opaque.permute(1, 2, 0)):
        assert np.array_equal(open_photo(tensor), PIXELS)
    for tensor in ((first / 255).half(), (first / 255).bfloat16()):
        assert np.abs(np.asarray(open_photo(tensor), int) - PIXELS).max() <= 1
    for tensor in (last[..., 0], first[:1], last[..., :1]):
        assert np.array_equal(open_photo(tensor), np.dstack([PIXELS[..., 0]] * 3))
    assert open_photo(torch.zeros(3, 5, 4, dtype=torch.uint8)).size == (
        4,
        5,
    )  # channels first, as torch has them
    assert open_photo(np.full((3, 5, 4), 255, np.uint8)).size == (5, 3)  # channels last, as NumPy has them


def test_what_is_wrong_with_a_tensor() -> None:
    torch = pytest.importorskip("torch")
    for tensor, words in (
        (torch.zeros(2, 3, 8, 8), r"batch of shape \(2, 3, 8, 8\).*one by one"),
        (torch.zeros(2, 8, 8), r"tensor of shape \(2, 8, 8\)"),
        (torch.zeros(8), r"tensor of shape \(8,\)"),
        (torch.zeros(3, 8, 8, dtype=torch.long), "tensor of int64; pass uint8"),
        (torch.full((3, 8, 8), 2.5), "floats from 2.5 to 2.5; scale them"),
        (torch.zeros(3, 0, 8), "has no pixels"),
        (torch.zeros(3, 8, 8, device="meta"), "tensor that can't be read"),
    ):
        with pytest.raises(PhotoError, match=words):
            open_photo(tensor)


def test_an_array_with_its_channels_first_is_read_where_that_is_its_only_reading() -> None:
    assert np.array_equal(open_photo(np.moveaxis(PIXELS, 2, 0)), PIXELS)
    assert np.array_equal(open_photo(PIXELS[..., :1]), np.dstack([PIXELS[..., 0]] * 3))
