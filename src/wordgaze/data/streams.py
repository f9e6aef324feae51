"""A photo's bytes: files opened; stdin and named pipes read whole, with bounds on size and waiting."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from typing import BinaryIO

from wordgaze.data.listing import holds_photos, why_missing
from wordgaze.errors import PhotoError

MAX_BYTES = 1024**3
"""The limit for a photo through a pipe, which has to be held in memory."""

WRITER_TIMEOUT = 5.0
"""Seconds that a named pipe may go without a writer."""

_CHUNK = 1024**2


def read_stream(file: BinaryIO) -> bytes:
    """Return all bytes of a stream; raises PhotoError for one that has no end, or that is of text."""
    chunks, size = [], 0
    while chunk := file.read(_CHUNK):
        if isinstance(chunk, str):
            raise PhotoError("is a file open as text; open it in binary mode ('rb')")
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise PhotoError(f"is more than {MAX_BYTES:,} bytes through a pipe; save it in a file first")
    return b"".join(chunks)


def read_stdin() -> bytes:
    """Return the photo that is piped into stdin; raises PhotoError where none can be."""
    if sys.stdin is None:
        raise PhotoError("is stdin, which is closed; pipe a photo into it")
    if sys.stdin.isatty():
        raise PhotoError("is stdin, which is a terminal; pipe a photo into it")
    return read_stream(sys.stdin.buffer)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` is there and neither a regular file nor a folder; raises OSError or ValueError."""
    mode = os.stat(path).st_mode
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def open_special(path: str | os.PathLike[str]) -> BinaryIO:
    """Return the content of the pipe ``path``: the shell's ``<(...)``, ``/dev/stdin``, a FIFO with a writer.

    Raises PhotoError for sockets and devices, whose reads may never return, and OSError as ``open`` does.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISFIFO(mode):
        kind = "socket" if stat.S_ISSOCK(mode) else "device"
        raise PhotoError(f"is a {kind}, not a photo; name a file")
    # Without O_NONBLOCK, open() itself waits for a writer, for ever if need be.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb", buffering=0) as file:
        beginning = _first_bytes(handle)
        os.set_blocking(handle, True)
        return io.BytesIO(beginning + read_stream(file))


def _first_bytes(handle: int) -> bytes:
    """Return what a pipe holds already, perhaps nothing if it has a writer; raise PhotoError if it gets none."""
    hung_up = select.poll()
    hung_up.register(handle, 0)  # a hang-up is reported unasked: a writer came and has gone
    deadline = time.monotonic() + WRITER_TIMEOUT
    while time.monotonic() < deadline:
        try:
            beginning = os.read(handle, _CHUNK)
        except BlockingIOError:  # there is a writer, and it has not written yet
            return b""
        if beginning or hung_up.poll(0):
            return beginning
        time.sleep(0.02)
    raise PhotoError("is a pipe that nothing is written to; name a file")


def reason_of(error: Exception) -> str:
    """Return what an error of the system says, without its number and the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Return a photo's file, or the content of a pipe; raises PhotoError."""
    try:
        return open_special(path) if is_special(path) else open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise PhotoError(why_missing(path)) from None
    except IsADirectoryError:
        if not os.access(path, os.R_OK | os.X_OK):
            raise PhotoError("is a folder that can't be read; check its permissions") from None
        if holds_photos(path):
            raise PhotoError("is a folder, not a photo; name a photo inside it") from None
        raise PhotoError("is a folder without photos; name photos") from None
    except PermissionError:
        if os.path.isdir(path):
            raise PhotoError("is a folder that can't be read; check its permissions") from None
        raise PhotoError("can't be read; check the file's permissions") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise PhotoError(f"can't be opened ({reason_of(error)}); check the path") from None
