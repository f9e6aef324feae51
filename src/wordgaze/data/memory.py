"""What decoding a photo takes in memory: more than a gigabyte is refused, and large photos take turns.

A file of a few kilobytes can hold 179 million pixels, of which some kinds take 20 bytes each while they are decoded.
"""

from __future__ import annotations

import io
import threading
from typing import BinaryIO

from PIL import Image

from wordgaze.errors import PhotoError

MOST_BYTES = 1024**3
"""What a photo may take however small its file."""

_PER_BYTE_OF_FILE = 24  # more for files that are large themselves: these fill no memory by surprise
LARGE = 256 * 1024**2
"""From here on one photo is decoded at a time, in the whole process."""

TURN = threading.RLock()

# Bytes a pixel at most, the decoder's own and those of the copies until the photo is RGB; held by
# tests/hostile/test_memory.py.
_BY_FORMAT = {"WEBP": 13, "JPEG2000": 16, "AVIF": 9}
_BY_MODE = {"1": 6, "L": 6, "P": 6, "RGB": 5, "RGBX": 9, "CMYK": 9, "YCbCr": 9, "LAB": 13}
_OTHER_MODES = 14
FILLED_UP, DEEP = 16, 24
"""Bytes a pixel of a file whose missing end is filled in, and of a dark PNG of 16 bits, read once more in full."""


def bytes_to_decode(
    image: Image.Image, scale: int = 1, *, is_progressive: bool = False, is_turned: bool = False
) -> int:
    """Return what decoding takes of an image whose header is read; ``scale``: how much smaller it is decoded."""
    width, height = image.size
    # Not by has_transparency_data, which fails for a palette that is missing.
    is_clear = "transparency" in image.info
    a_pixel = _OTHER_MODES if is_clear else _BY_MODE.get(image.mode, _OTHER_MODES)
    a_pixel = max(a_pixel, _BY_FORMAT.get(image.format or "", 0)) + 4 * is_turned
    # All coefficients of a progressive JPEG are held, two bytes each, at any scale.
    return width * height * (6 * is_progressive) + width * height * a_pixel // scale**2


def may_take(needed: int, file: BinaryIO) -> bool:
    """Return whether a photo in ``file``, whose position is kept, may take so many bytes of memory."""
    position = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(position)
    return needed <= max(MOST_BYTES, _PER_BYTE_OF_FILE * size)


def check_bytes(needed: int, size: tuple[int, int], file: BinaryIO) -> None:
    """Raise PhotoError where decoding a photo of ``size`` takes more memory than it may."""
    if not may_take(needed, file):
        width, height = size
        raise PhotoError(
            f"has {width} x {height} pixels of a kind that takes {needed / 1e9:.1f} GB to decode, which is more than "
            f"the {MOST_BYTES / 1e9:.1f} GB allowed for so small a file; make it smaller first"
        )
