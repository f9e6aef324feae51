"""How many scans a JPEG has: each costs a pass over all pixels, and takes only a few bytes of the file."""

from __future__ import annotations

import re
from typing import BinaryIO

from wordgaze.errors import PhotoError

_MOST_PIXELS = 4_000_000_000
"""To decode in all scans together: it takes seconds. A photo of 12 megapixels may have 333 scans, of 179 million 22;
cameras and encoders write 1 to 20."""

_LEAST_PIXELS = 2**16  # of a scan: each takes some time, however small the photo
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # none of those between coded data
_CHUNK = 2**16


def check_scans(file: BinaryIO, size: tuple[int, int]) -> None:
    """Raise PhotoError for a JPEG of so many scans that decoding takes minutes; ``file`` is left at its beginning."""
    most = _MOST_PIXELS // max(size[0] * size[1], _LEAST_PIXELS)
    count = _count_scans(file, most)
    file.seek(0)
    if count > most:
        raise PhotoError(
            f"is a JPEG of more than {most:,} scans, which take minutes to decode; save it again, as baseline JPEG"
        )


def _count_scans(file: BinaryIO, most: int) -> int:
    """Return the number of a JPEG's scans, or any larger than ``most``; 1 where a first one holds all components."""
    position, scans, components = 2, 0, 0
    while scans <= most:
        start = _next_marker(file, position)
        if start is None:
            return scans
        file.seek(start)
        header = file.read(5)
        if len(header) < 5 or header[1] == 0xD9:
            return scans
        code, length = header[1], int.from_bytes(header[2:4], "big")
        if code == 0xDA:
            scans += 1
            if scans == 1 and header[4] == components:
                return 1  # libjpeg then reads no other
        elif 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            file.seek(start + 9)
            is_progressive = code & 3 == 2
            components = 0 if is_progressive else int.from_bytes(file.read(1), "big")
        position = start + 2 + max(length, 2)
    return scans


def _next_marker(file: BinaryIO, position: int) -> int | None:
    """Return where the next marker's last 0xFF is, from ``position`` on."""
    file.seek(position)
    while chunk := file.read(_CHUNK):
        if found := _MARKER.search(chunk):
            return position + found.start(1) - 1
        if len(chunk) < _CHUNK:
            return None
        position += len(chunk) - 1  # a marker may lie across
        file.seek(position)
    return None
