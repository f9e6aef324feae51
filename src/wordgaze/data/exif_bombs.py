"""EXIF and TIFF directories whose tags all stand for the same bytes: Pillow copies these for each of 65,535 tags."""

from __future__ import annotations

import io
import re
import struct
from itertools import islice
from typing import BinaryIO

_ALLOWED = 16 * 1024**2  # beyond the file's own size, which tags that share nothing can't exceed
_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # bytes of a value, by kind
_SUBDIRECTORIES = (34665, 34853, 40965)  # of EXIF, GPS and interoperability
_HEADER = re.compile(rb"II[*+]\0|MM\0[*+]")
_EXIF = b"Exif\0\0"
_MOST_HEADERS = 16  # of a file; to judge each, its rest is copied


def is_bomb(file: BinaryIO) -> bool:
    """Return whether the tags of a TIFF file, or of EXIF without its name, claim far more bytes than there are."""
    try:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        header = file.read(16)
        order = ">" if header.startswith(b"MM") else "<"
        is_big = header[2:4] in (b"\x2b\0", b"\0\x2b")
        start, form = (8, "Q") if is_big else (4, "I")
        (directory,) = struct.unpack_from(order + form, header, start)
        directories, claimed = [directory], 0
        for position in directories:  # which grows
            sizes, more = _claims(file, position, order, is_big)
            claimed += sizes
            directories += more if len(directories) == 1 else []
        return claimed > size + _ALLOWED
    except (struct.error, OSError, OverflowError, ValueError):  # it is damaged, as Pillow will say
        return False


def _claims(file: BinaryIO, position: int, order: str, is_big: bool) -> tuple[int, list[int]]:
    """Return how many bytes the values of a directory take, and where its subdirectories are."""
    file.seek(position)
    length, form = (20, "HHQQ") if is_big else (12, "HHII")
    (count,) = struct.unpack(order + ("Q" if is_big else "H"), file.read(8 if is_big else 2))
    entries = file.read(min(count, 65_535) * length)
    claimed, subdirectories = 0, []
    for tag, kind, number, value in struct.iter_unpack(order + form, entries[: len(entries) // length * length]):
        size = number * _SIZES[kind] if kind < len(_SIZES) else 0
        claimed += size if size > (8 if is_big else 4) else 0
        if tag in _SUBDIRECTORIES:
            subdirectories.append(value)
    return claimed, subdirectories


def holds_bomb(data: bytes) -> bool:
    """Return whether EXIF that stands in one piece somewhere in a file, as in WebP and AVIF, is a bomb."""
    headers = [header.start() for header in islice(_HEADER.finditer(data), _MOST_HEADERS + 1)]
    return len(headers) > _MOST_HEADERS or any(is_bomb(io.BytesIO(data[header:])) for header in headers)


def is_text_bomb(text: bytes) -> bool:
    """Return whether EXIF written as a PNG's text, in hexadecimal after three lines, is a bomb."""
    try:
        exif = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("latin-1"))
    except ValueError:
        return False
    return is_bomb(io.BytesIO(exif.removeprefix(_EXIF)))


def defused_jpeg(file: BinaryIO) -> BinaryIO:
    """Return a JPEG without its EXIF if that is a bomb, else ``file`` itself, at its beginning.

    Pillow joins the EXIF of all segments, and reads it as soon as it opens the file.
    """
    segments, parts, position = [], [], 2
    while True:
        file.seek(position)
        header = file.read(4)
        if len(header) < 4 or header[0] != 0xFF or header[1] == 0xDA:
            break
        length = int.from_bytes(header[2:], "big")
        if header[1] == 0xE1 and (content := file.read(max(length - 2, 0))).startswith(_EXIF):
            segments.append((position, position + 2 + length))
            parts.append(content.removeprefix(_EXIF))
        position += 2 + max(length, 2)
    if not is_bomb(io.BytesIO(b"".join(parts))):
        file.seek(0)
        return file
    file.seek(0)
    data = bytearray(file.read())
    for start, end in reversed(segments):
        del data[start:end]
    return io.BytesIO(bytes(data))
