"""What decoding photos takes in memory: at most a gibibyte, all threads together; a photo that needs more is refused.

A file of a few kilobytes can hold 179 million pixels, of which some kinds take 20 bytes each while they are decoded.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

from PIL import Image

from wordgaze.device import give_back_freed_memory
from wordgaze.errors import PhotoError

MOST_BYTES = 1024**3
"""What the photos that are being decoded may take together, and one however small its file."""

_LARGE = 128 * 1024**2  # of which a thread's heap must not keep what is free again

_PER_BYTE_OF_FILE = 24  # more for files that are large themselves: these fill no memory by surprise
_COPIES_OF_FILE = 4  # of a PNG: its pixels, and the plain file that they become

# Bytes a pixel at most, the decoder's own and those of the copies until the photo is RGB; held by
# tests/hostile/test_memory.py.
_BY_FORMAT = {"WEBP": (17, 23), "JPEG2000": (20, 25), "AVIF": (10, 19)}  # without transparency, and with it
_BY_MODE = {"1": 6, "L": 6, "P": 6, "RGB": 5, "RGBX": 9, "CMYK": 9, "YCbCr": 9, "LAB": 13}
_OTHER_MODES = 14
FILLED_UP, DEEP = 16, 30
"""Bytes a pixel of a file whose missing end is filled in, and of a dark PNG of 16 bits, read once more in full."""


_Decoded = TypeVar("_Decoded")


class _Wait(BaseException):  # no Exception, which handlers of damage catch
    """There is no room now; holds how many bytes are needed."""

    def __init__(self, needed: int) -> None:
        self.needed = needed


class Reservation:
    """The memory that one photo may take while it is decoded."""

    def __init__(self, gate: MemoryGate, size: int) -> None:
        self._gate = gate
        self.size = size

    def grow(self, size: int) -> None:
        """Take ``size`` bytes in all; where others hold them, begin the photo anew once there is room."""
        # Waiting here, two photos that both grow would wait for each other.
        if size > self.size and not self._gate.try_grow(self, size):
            raise _Wait(size)


class MemoryGate:
    """Lets photos be decoded together as long as all of them fit ``most`` bytes; one that needs more is let in alone.

    First come, first served: many small photos never keep a large one waiting for ever.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def reserve(self, size: int) -> Iterator[Reservation]:
        """Wait until there is room for ``size`` bytes, and give them back at the end."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._has_room(size))
                self.taken += size
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        reservation = Reservation(self, size)
        try:
            yield reservation
        finally:
            if reservation.size > _LARGE:
                give_back_freed_memory()
            with self._changed:
                self.taken -= reservation.size
                self._changed.notify_all()

    @property
    def is_waited_for(self) -> bool:
        return bool(self._waiting)

    def run(self, decode: Callable[[Reservation], _Decoded]) -> _Decoded:
        """Return what ``decode`` does, which is called anew where others hold the memory that it asks for."""
        size = 0
        while True:
            failed = None
            with self.reserve(size) as reservation:
                try:
                    return decode(reservation)
                except _Wait as wait:
                    size = wait.needed
                except PhotoError as error:
                    # Its frames, and those of the error it stands for, hold what was decoded so far.
                    failed = error.with_traceback(None)
                    failed.__context__ = None
            if failed is not None:
                raise failed

    def try_grow(self, reservation: Reservation, size: int) -> bool:
        with self._changed:
            more = size - reservation.size
            if self.taken + more > self.most and self.taken > reservation.size:
                return False
            self.taken, reservation.size = self.taken + more, size
            return True

    def _has_room(self, size: int) -> bool:
        return self.taken == 0 or self.taken + size <= self.most

    def reset(self) -> None:
        """Forget what threads held that a forked process does not have."""
        self.taken = 0
        self._changed = threading.Condition()
        self._waiting.clear()


GATE = MemoryGate(MOST_BYTES)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=GATE.reset)


def file_bytes(file: BinaryIO) -> int:
    """Return what the copies of a file, whose position is kept, take at most."""
    return _COPIES_OF_FILE * _size(file)


def bytes_to_decode(
    image: Image.Image, size: tuple[int, int], scale: int = 1, *, is_progressive: bool = False, is_turned: bool = False
) -> int:
    """Return what decoding takes of an image of ``size`` whose header is read; ``scale``: how much smaller it is made.

    ``is_turned``: its EXIF has it turned, which takes a copy.
    """
    width, height = size
    # Not by has_transparency_data, which fails for a palette that is missing.
    is_clear = "transparency" in image.info
    a_pixel = _OTHER_MODES if is_clear else _BY_MODE.get(image.mode, _OTHER_MODES)
    opaque, clear = _BY_FORMAT.get(image.format or "", (0, 0))
    a_pixel = max(a_pixel, opaque if image.mode in ("RGB", "L") else clear) + 4 * is_turned
    # All coefficients of a progressive JPEG are held, two bytes each, at any scale.
    return width * height * (6 * is_progressive) + width * height * a_pixel // scale**2


def may_take(needed: int, file: BinaryIO) -> bool:
    """Return whether a photo in ``file``, whose position is kept, may take so many bytes of memory."""
    return needed <= max(MOST_BYTES, _PER_BYTE_OF_FILE * _size(file))


def check_bytes(needed: int, size: tuple[int, int], file: BinaryIO) -> None:
    """Raise PhotoError where decoding a photo of ``size`` takes more memory than it may."""
    if not may_take(needed, file):
        width, height = size
        raise PhotoError(
            f"has {width} x {height} pixels of a kind that takes {needed / 1e9:.1f} GB to decode, which is more than "
            f"the {MOST_BYTES / 1e9:.1f} GB allowed for so small a file; make it smaller first"
        )


def _size(file: BinaryIO) -> int:
    if isinstance(getattr(file, "raw", None), io.FileIO):
        # Moving to its end would drop what is read already, and the file may have changed since.
        return os.fstat(file.fileno()).st_size
    position = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(position)
    return size
