"""Photos through pipes are read; what would be waited for without end is refused."""

from __future__ import annotations

import errno
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wordgaze.data import streams
from wordgaze.data.photos import open_photo
from wordgaze.errors import PhotoError


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.effect_noise((400, 300), 90).convert("RGB").save(tmp_path / "noise.png")  # more than a pipe holds
    return tmp_path / "noise.png"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo.jpg")
    return tmp_path / "fifo.jpg"


@pytest.mark.parametrize("late", [0, 0.1])
def test_a_named_pipe_with_a_writer(photo: Path, pipe: Path, late: float) -> None:
    def write() -> None:
        time.sleep(late)
        with pipe.open("wb") as file:
            time.sleep(late)
            file.write(photo.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    assert open_photo(pipe).tobytes() == open_photo(photo).tobytes()
    writer.join()


def test_a_pipe_of_the_shell(photo: Path) -> None:
    """``<(cat noise.png)`` is ``/dev/fd/63``."""
    end, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(photo.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    with open_photo(f"/dev/fd/{end}") as image:
        assert image.size == (400, 300)
    writer.join()
    os.close(end)


def test_a_pipe_whose_writer_wrote_nothing_is_empty(pipe: Path) -> None:
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = threading.Thread(target=lambda: (time.sleep(0.1), os.close(os.open(pipe, os.O_WRONLY))))
    writer.start()
    with pytest.raises(PhotoError, match="is empty"):
        open_photo(pipe)
    writer.join()
    os.close(reading)


@pytest.fixture
def bound_socket(tmp_path: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.jpg"))
        yield tmp_path / "socket.jpg"


def test_what_would_never_end_is_refused(
    pipe: Path, bound_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WRITER_TIMEOUT", 0.1)
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for path, message in [
        (pipe, "is a pipe that nothing is written to"),
        (bound_socket, "is a socket, not a photo"),
        (tmp_path / "zero.jpg", "is a device, not a photo"),
    ]:
        with pytest.raises(PhotoError, match=message):
            open_photo(path)


def test_a_stream_without_end_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 5 * 1024**2)
    with open("/dev/zero", "rb") as file, pytest.raises(PhotoError, match="more than 5,242,880 bytes"):
        streams.read_stream(file)


class Unseekable(io.RawIOBase):
    """What a connection is: bytes, one after another, without an end, or until it breaks."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.error is not None:
            raise self.error
        return len(buffer)


def test_an_open_file_without_end_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 5 * 1024**2)
    with pytest.raises(PhotoError, match="more than 5,242,880 bytes"):
        open_photo(io.BufferedReader(Unseekable()))


def test_what_breaks_while_it_is_read(photo: Path) -> None:
    broken = io.BufferedReader(Unseekable(OSError(errno.ECONNRESET, "Connection reset by peer")))
    with pytest.raises(PhotoError, match=r"^can't be read \(Connection reset by peer\); try again"):
        open_photo(broken)
    memory = Path("/proc/self/mem")  # Linux's way to a file that fails when it is read, as on a broken disk
    if memory.exists():
        with pytest.raises(PhotoError, match=r"^can't be read \(Input/output error\); try again"):
            open_photo(memory)


def test_a_read_of_someone_s_own(photo: Path) -> None:
    class Whole:
        def read(self) -> bytes:
            return photo.read_bytes()

    class Text:
        def read(self, _: int = -1) -> str:
            return "text"

    assert open_photo(Whole()).size == open_photo(photo).size  # type: ignore[arg-type]
    with pytest.raises(PhotoError, match="open as text"):
        open_photo(Text())  # type: ignore[arg-type]
