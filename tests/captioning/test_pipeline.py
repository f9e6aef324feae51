"""Many photos: in order, read ahead where that is safe, and nothing left running however it ends."""

from __future__ import annotations

import io
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wordgaze.captioning import pipeline
from wordgaze.captioning.pipeline import ReadPhoto, caption_photos, read_named_photos, read_photos
from wordgaze.errors import PhotoError, PhotoWarning
from wordgaze.generation.caption import Caption

PREFIX = "wordgaze-photos"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Twelve photos, each in its own shade of gray."""
    paths = [tmp_path / f"{number:02}.png" for number in range(12)]
    for number, path in enumerate(paths):
        Image.new("L", (4, 4), number).save(path)
    return paths


def shade(photo: Image.Image) -> int:
    return int(np.asarray(photo)[0, 0, 0])


def labeled(sources: Any) -> Iterator[tuple[int, Any]]:
    return enumerate(sources)


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(PREFIX)]


def wait_for(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.005)
    return happened()


@pytest.mark.parametrize("ahead", [0, 1, 3, 50])
def test_results_come_in_order_whichever_is_ready_first(files: list[Path], ahead: int) -> None:
    def slowly(photo: Image.Image) -> int:
        time.sleep(0.02 if shade(photo) % 4 == 0 else 0)
        return shade(photo)

    broken = [*files[:5], files[0].with_name("nothere.png"), *files[5:]]
    results = list(read_photos(labeled(broken), slowly, ahead=ahead))
    assert [photo.label for photo in results] == list(range(13))
    assert [photo.content for photo in results] == [0, 1, 2, 3, 4, None, 5, 6, 7, 8, 9, 10, 11]
    assert [str(photo.error) for photo in results if photo.error] == ["no such file; check the path"]


def test_photos_are_read_while_the_caller_does_something_else(files: list[Path]) -> None:
    read: list[int] = []
    photos = read_photos(labeled(files), lambda photo: read.append(shade(photo)), ahead=4)
    next(photos)
    assert wait_for(lambda: len(read) == 5)
    assert sorted(read) == [0, 1, 2, 3, 4]  # and no more than that
    photos.close()
    assert not reading_threads()


@pytest.mark.parametrize(("cores", "least", "most"), [(2, 4, 5), (16, 9, 9)])
def test_on_few_cores_no_photo_is_begun_while_the_caller_computes(
    files: list[Path], cores: int, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "THREADS", 4)
    monkeypatch.setattr(pipeline, "_CORES", cores)
    read: list[int] = []
    first_is_out = threading.Event()

    def make(photo: Image.Image) -> int:
        read.append(shade(photo))
        if shade(photo):  # those that were begun beside the first end later
            first_is_out.wait(20)
        return shade(photo)

    opened = read_photos(labeled(files), make, ahead=8, shares_cpu=True)
    next(opened)
    first_is_out.set()
    assert wait_for(lambda: len(read) >= least)
    time.sleep(0.05)
    assert len(read) <= most  # a thread may have begun another before the first was handed out
    assert [photo.content for photo in opened] == list(range(1, 12))


@pytest.mark.parametrize("ahead", [0, 4])
def test_no_more_is_taken_than_is_read_ahead(files: list[Path], ahead: int) -> None:
    taken: list[Path] = []

    def endless() -> Iterator[tuple[int, Path]]:
        while True:
            taken.append(files[len(taken) % 12])
            yield len(taken), taken[-1]

    photos = read_photos(endless(), shade, ahead=ahead)
    for number in range(1, 9):
        next(photos)
        assert len(taken) == number + ahead
    photos.close()


def test_without_read_ahead_a_photo_may_be_gone_once_the_next_is_asked_for(tmp_path: Path) -> None:
    def written_anew() -> Iterator[tuple[int, Path]]:
        for number in range(5):
            Image.new("L", (4, 4), number).save(tmp_path / "same.png")
            yield number, tmp_path / "same.png"
            (tmp_path / "same.png").unlink()

    assert [photo.content for photo in read_photos(written_anew(), shade)] == [0, 1, 2, 3, 4]


def arrays() -> Iterator[Any]:
    frame = np.zeros((4, 4, 3), np.uint8)
    for number in range(5):
        frame[:] = number
        yield frame


def tensors() -> Iterator[Any]:
    yield from (torch.from_numpy(frame).permute(2, 0, 1) for frame in arrays())


def pictures() -> Iterator[Any]:
    """One image, as ``ImageSequence`` hands on the frames of a file."""
    image = Image.new("RGB", (4, 4))
    for frame in arrays():
        image.paste(Image.fromarray(frame))
        yield image


def open_file() -> Iterator[Any]:
    file = io.BytesIO()
    for frame in arrays():
        file.seek(0)
        Image.fromarray(frame).save(file, "PNG")
        yield file


@pytest.mark.parametrize("sources", [arrays, tensors, pictures, open_file])
def test_what_may_be_filled_anew_is_read_when_it_comes(sources: Callable[[], Iterator[Any]]) -> None:
    for ahead in (0, 3):
        results = [photo.content for photo in read_photos(labeled(sources()), shade, ahead=ahead)]
        assert results == [0, 1, 2, 3, 4]


def test_files_and_bytes_are_read_by_threads_and_pipes_are_not(files: list[Path], tmp_path: Path) -> None:
    """A thread that waits for a pipe would have to be waited for when the command is interrupted."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(files[3].read_bytes()))
    writer.start()
    sources = [files[0], str(files[1]), files[2].read_bytes(), tmp_path / "pipe"]

    def where(photo: Image.Image) -> tuple[int, bool]:
        return shade(photo), threading.current_thread().name.startswith(PREFIX)

    results = [photo.content for photo in read_photos(labeled(sources), where, ahead=2)]
    writer.join()
    assert results == [(0, True), (1, True), (2, True), (3, False)]


@pytest.mark.parametrize("problem", [KeyError("mine"), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_an_error_of_the_callers_own_generator_comes_through(files: list[Path], problem: BaseException) -> None:
    def failing() -> Iterator[tuple[int, Path]]:
        yield from enumerate(files[:6])
        raise problem

    for ahead in (0, 2):
        photos = read_photos(failing(), shade, ahead=ahead)
        with pytest.raises(type(problem)) as raised:
            list(photos)
        assert raised.value is problem and not reading_threads()


def test_an_error_that_is_no_photos_fault_comes_in_its_turn(files: list[Path]) -> None:
    def make(photo: Image.Image) -> int:
        return 1 // (shade(photo) - 2)

    photos = read_photos(labeled(files), make, ahead=4)
    assert [next(photos).content, next(photos).content] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(photos)
    assert not reading_threads()


def test_a_photo_too_large_for_the_memory_stops_no_other(files: list[Path]) -> None:
    def make(photo: Image.Image) -> int:
        if shade(photo) == 1:
            raise MemoryError
        return shade(photo)

    results = list(read_photos(labeled(files[:3]), make, ahead=2))
    assert [photo.content for photo in results] == [0, None, 2]
    assert str(results[1].error) == "needs more memory than there is; make the photo smaller"


# --- With names ------------------------------------------------------------------------------------------------


@pytest.fixture
def doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos in odd shades of gray are doubtful."""
    from wordgaze.captioning import pipeline

    real = pipeline.convert_photo

    def converted(
        source: Any, make: Callable[[Any], Any], on_warning: Callable[[str], None], *, strict: bool, **_: Any
    ) -> Any:
        def make_doubtfully(photo: Image.Image) -> Any:
            if shade(photo) % 2:
                on_warning("looks odd")
            return make(photo)

        return real(source, make_doubtfully, on_warning, strict=strict)

    monkeypatch.setattr(pipeline, "convert_photo", converted)


@pytest.mark.usefixtures("doubtful")
@pytest.mark.parametrize("ahead", [0, 3])
def test_warnings_and_the_error_name_their_photos_in_order(files: list[Path], ahead: int) -> None:
    named = [("photo 1", files[1].read_bytes()), ("photo 2", (files[3], 7)), ("photo 3", b"no photo")]
    named += [("photo 4", files[5])]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(PhotoError, match=r"^photo 3: is not a photo"):
            list(read_named_photos(named, shade, strict=False, ahead=ahead))
        assert [str(warning.message) for warning in warned] == [
            "photo 1: looks odd",
            f"{files[3]}: looks odd",
        ]
        results = list(read_named_photos(named, shade, strict=False, on_error="return", ahead=ahead))
    assert [photo.content for photo in results] == [1, 3, None, 5]
    assert str(results[2].error).startswith("photo 3: is not a photo")
    assert {warning.category for warning in warned} == {PhotoWarning} and len(warned) == 5
    assert {warning.filename for warning in warned} == {__file__}


def test_an_error_leaves_no_thread_though_somebody_holds_it(files: list[Path]) -> None:
    named = [("a photo", path) for path in [files[0], files[0].with_name("nothere.png"), *files]]
    with pytest.raises(PhotoError, match=r"nothere\.png: no such file") as raised:
        list(read_named_photos(named, shade, strict=False, ahead=5))
    assert raised.value.__traceback__ is not None and not reading_threads()


# --- Captions --------------------------------------------------------------------------------------------------


def test_failed_photos_have_their_place_in_a_batch() -> None:
    sizes: list[int] = []

    def caption(pixel_values: torch.Tensor) -> list[Caption]:
        sizes.append(len(pixel_values))
        return [Caption(str(int(pixels[0, 0, 0])), 0.0, ()) for pixels in pixel_values]

    wrong = PhotoError("is not a photo")
    photos = [
        ReadPhoto(number, error=wrong) if number in (1, 3, 4, 5) else ReadPhoto(number, torch.full((3, 2, 2), number))
        for number in range(8)
    ]
    results = list(caption_photos(photos, caption, 3))
    assert sizes == [2, 2]  # of the first and the third batch, the second has none to caption
    assert [str(photo.caption) for photo in results] == ["0", "None", "2", "None", "None", "None", "6", "7"]
    assert [photo.label for photo in results if photo.error is wrong] == [1, 3, 4, 5]


def test_captions_of_a_batch_are_there_before_the_next_is_taken() -> None:
    taken: list[int] = []

    def photos() -> Iterator[ReadPhoto[int, torch.Tensor]]:
        for number in range(100):
            taken.append(number)
            yield ReadPhoto(number, torch.zeros(3, 2, 2))

    results = caption_photos(photos(), lambda pixel_values: [Caption("", 0.0, ())] * len(pixel_values), 4)
    next(results)
    assert len(taken) == 4
