"""Files that end too early, made readable: what is missing is filled in, and what is there is measured.

Pillow either refuses such a file or, after a switch for the whole process, reads it without saying how much of it was
there. Here the missing end is added instead, in several ways: pixels that depend on the way were not in the file.
"""

from __future__ import annotations

import io
import random
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from PIL import Image

Pixels = Callable[[bytes], np.ndarray | None]
"""Decodes a file to (H, W, channels), or to None where it can't."""

MAX_FILLING = 64 * 1024**2
"""Bytes that a filling may have; two are held at a time."""
_MAX_SHARE = 16  # of the filling to what there is; a file that claims to miss more is damaged
_ZEROS = 64  # more at the end are no coded pixels: they were never written
_EARLIER = (16, 64, 128, 256, 512, 1024, 2048)  # bytes that a filling replaces
_JPEG_END = b"\xff\xd9"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # none of those between coded data
_JPEG_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB}


@dataclass
class FilledUp:
    """A file whose end was filled in, and how much of it did not need to be."""

    file: bytes
    rows: int
    note: str = ""


def ends_in_zeros(file: BinaryIO) -> bool:
    """Return whether a file ends in so many zeros that its end was perhaps never written."""
    end = file.seek(0, io.SEEK_END)
    file.seek(max(end - _ZEROS + 1, 0))
    return not file.read(_ZEROS + 1).strip(b"\0")


def ends_in_gray(image: Image.Image) -> bool:
    """Return whether a JPEG's last pixel is the gray that libjpeg writes where data are missing."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return all(value in (127, 128) for value in (last if isinstance(last, tuple) else (last,)))


def fill_up(data: bytes, format: str, pixels: Pixels) -> FilledUp | None:
    """Return a whole file made from a cut one, or None where that can't be done."""
    fillers = {
        "JPEG": _fill_up_jpeg,
        "MPO": _fill_up_jpeg,
        "JPEG2000": _fill_up_jpeg_2000,
        "WEBP": _fill_up_webp,
        "AVIF": _fill_up_avif,
        "GIF": _fill_up_gif,
        "BMP": _fill_up_raw,
        "DIB": _fill_up_raw,
        "PPM": _fill_up_raw,
    }
    filler = fillers.get(format)
    return filler(data, pixels) if filler else None


def _can_be_filled(missing: int, data: bytes) -> bool:
    return missing <= min(MAX_FILLING, _MAX_SHARE * len(data))


# Formats without compression


def _fill_up_raw(data: bytes, pixels: Pixels) -> FilledUp | None:
    for missing in (len(data) // 8 + 65536, MAX_FILLING):
        zeros = data + bytes(missing)
        first, second = pixels(zeros), pixels(data + b"\xff" * missing)
        if first is not None and second is not None:
            return FilledUp(zeros, int((first == second).all(axis=(1, 2)).sum()))
    return None


# JPEG (ITU T.81)


@dataclass
class _Scans:
    """The scans of a JPEG; a progressive one refines its coefficients from scan to scan."""

    end: int  # of what is usable
    is_ended: bool = False  # the end marker is there
    is_progressive: bool = False
    components: tuple[int, ...] = ()
    band: int = 8  # pixel rows that are coded together
    first_passes: list[set[tuple[int, int]]] = field(default_factory=list)  # (component, coefficient)
    is_last_open: bool = False  # the last scan runs to the end of the file
    last_start: int = 0

    def are_covered(self, scans: int) -> bool:
        """Return whether the first ``scans`` scans hold each coefficient of each component, if coarsely."""
        coefficients = range(64) if self.is_progressive else range(1)
        needed = {(component, k) for component in self.components for k in coefficients}
        return bool(needed) and needed <= set().union(*self.first_passes[:scans])


def _read_scans(data: bytes) -> _Scans | None:
    scans, position = _Scans(end=len(data)), 2
    while True:
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            return scans
        start, code = marker.start(), data[marker.end() - 1]
        if code == 0xD8 and scans.first_passes:  # another photo begins where this one was cut
            scans.end = start
            return scans
        if scans.first_passes and scans.is_last_open:
            scans.is_last_open = False
        if code == 0xD9:
            scans.end = start
            scans.is_ended = True
            return scans
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        body = data[start + 4 : start + 2 + length]
        if len(body) < length - 2 or length < 2:
            scans.end = start
            return scans
        position = start + 2 + length
        if code in _JPEG_FRAMES:
            scans.is_progressive = code in (0xC2, 0xCA)
            layout = [(body[i], body[i + 1] & 15) for i in range(6, len(body) - 2, 3)]
            scans.components = tuple(component for component, _ in layout)
            scans.band = 8 * max((rows for _, rows in layout), default=1)
        elif code == 0xDA:
            count = body[0]
            inside = body[1 : 1 + 2 * count : 2]
            first, last, bits = body[1 + 2 * count :][:3]
            coefficients = range(first, last + 1) if scans.is_progressive else range(1)
            is_first_pass = bits >> 4 == 0
            scans.first_passes.append({(c, k) for c in inside for k in coefficients if is_first_pass})
            scans.is_last_open, scans.last_start = True, position


def jpeg_kind(data: bytes) -> str | None:
    """Return what makes a JPEG a rare one that Pillow does not read, or None for all other files."""
    position = 2
    if not data.startswith(b"\xff\xd8"):
        return None
    while marker := _JPEG_MARKER.search(data, position):
        start, code = marker.start(), data[marker.end() - 1]
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC) and start + 5 <= len(data):
            bits = data[start + 4]
            if code in (0xC3, 0xC7, 0xCB, 0xCF):
                return f"lossless, {bits} bits"
            if data[start + 5 : start + 7] == b"\0\0":
                return "its height comes after its pixels"
            return f"{bits} bits" if bits != 8 else "hierarchical" if code in (0xC5, 0xC6, 0xCD, 0xCE) else None
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return None


def _fill_up_jpeg(data: bytes, pixels: Pixels) -> FilledUp | None:
    # A download that was given its full length before it ended holds zeros from there on.
    stripped = data.rstrip(b"\0")
    data = stripped if len(data) - len(stripped) > _ZEROS else data
    try:
        scans = _read_scans(data)
    except (IndexError, ValueError):
        return None
    if scans is None or not scans.first_passes:
        return None
    if scans.is_ended:  # perhaps too early
        if scans.is_progressive:
            return None
        scans.is_last_open = True
    data = data[: scans.end]
    while data.endswith(b"\xff"):
        data = data[:-1]
    whole = data + _JPEG_END
    picture = pixels(whole)
    if picture is None:
        return None
    count = len(scans.first_passes)
    if not scans.are_covered(count):
        return FilledUp(whole, 0)
    rows = height = len(picture)
    if scans.is_last_open:
        restarts = _JPEG_RESTART.findall(data, scans.last_start)
        next_restart = (restarts[-1][1] - 0xD0 + 1) % 8 if restarts else 0
        others = (pixels(data + _junk(seed, next_restart) + _JPEG_END) for seed in range(3))
        rows = min(
            (_rows_before_a_difference(picture, other, scans.band, 1) for other in others if other is not None),
            default=0,
        )
    if scans.is_ended and rows == height:
        return None
    if scans.is_progressive and scans.are_covered(count - scans.is_last_open):
        return FilledUp(whole, height, ", in less detail" if rows < height else "")
    return FilledUp(whole, rows)


def _junk(seed: int, next_restart: int) -> bytes:
    """Return bytes that continue coded data, with another meaning for each ``seed``.

    Where the data ended at a restart marker, none are read before the next marker.
    """
    random_ = random.Random(seed)
    parts = (bytes(random_.randrange(1, 255) for _ in range(512)) for _ in range(8))
    return b"".join(part + bytes([0xFF, 0xD0 + (next_restart + i) % 8]) for i, part in enumerate(parts))


def _rows_before_a_difference(picture: np.ndarray, other: np.ndarray, band: int, smoothed: int) -> int:
    """Return how many rows two pictures share from the top left on, counting parts of rows.

    They are compared in bands of ``band`` rows, whose blocks are coded from left to right. A band's last
    ``smoothed`` rows are left out: they depend on the next band, too.
    """
    if picture.shape != other.shape:
        return 0
    height, width = picture.shape[:2]
    for top in range(0, height, band):
        end = min(top + band, height)
        compared = slice(top, end if end == height else max(end - smoothed, top + 1))
        differs = (picture[compared] != other[compared]).any(axis=(0, 2))
        if differs.any():
            return top + int((end - top) * int(differs.argmax()) / width)
    return height


# WebP (RIFF) and AVIF (ISO base media file format)


def _fill_up_webp(data: bytes, pixels: Pixels) -> FilledUp | None:
    chunks: list[tuple[bytes, bytes]] = []
    missing = 0
    for name, body, size in _riff_chunks(data):
        if len(body) == size:
            chunks.append((name, body))
        elif name in (b"VP8 ", b"VP8L"):
            chunks.append((name, body))
            missing = size - len(body)
    names = {name for name, _ in chunks}
    if not names & {b"VP8 ", b"VP8L", b"ANMF"} or not _can_be_filled(missing, data):
        return None
    if chunks[0][0] == b"VP8X":  # it says what else there is
        gone = 8 * (b"EXIF" not in names) | 4 * (b"XMP " not in names)
        flags = bytes([chunks[0][1][0] & ~gone])
        chunks[0] = (b"VP8X", flags + chunks[0][1][1:])
    (last, body), before = chunks[-1], chunks[:-1]

    def with_(there: int, filling: int) -> bytes:
        filled = body[:there] + bytes([filling]) * (len(body) + missing - there)
        riff = b"WEBP" + b"".join(
            name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
            for name, body in [*before, (last, filled)]
        )
        return b"RIFF" + struct.pack("<I", len(riff)) + riff

    if not missing:
        whole = with_(len(body), 0)
        picture = pixels(whole)
        return None if picture is None else FilledUp(whole, len(picture))
    return _compare_fillings(with_, len(body), pixels, 16 if last == b"VP8 " else 1)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return the size that a WebP file's beginning states; Pillow tells it only after it has taken the memory."""
    name, body = data[12:16], data[20:30]
    if not data.startswith(b"RIFF") or data[8:12] != b"WEBP" or len(body) < 10:
        return None
    if name == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield each chunk's name, the content that is there, and its stated size."""
    position = 12
    while position + 8 <= len(data):
        name, size = (
            data[position : position + 4],
            int.from_bytes(data[position + 4 : position + 8], "little"),
        )
        yield name, data[position + 8 : position + 8 + size], size
        position += 8 + size + size % 2


def _fill_up_avif(data: bytes, pixels: Pixels) -> FilledUp | None:
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < 8:
            return None
        position += size
    missing = position - len(data)
    if missing <= 0 or not _can_be_filled(missing, data):
        return None
    return _compare_fillings(
        lambda there, filling: data[:there] + bytes([filling]) * (position - there), len(data), pixels, 64
    )


def _compare_fillings(with_: Callable[[int, int], bytes], there: int, pixels: Pixels, band: int) -> FilledUp | None:
    """Return the rows that two fillings have in common; the decoder accepts few fillings.

    Where it accepts only one, the file is filled again from a little earlier on.
    """
    attempts = [(there, filling) for filling in (0, 0x55, 0x80, 0xAA, 0xFF, 1)]
    # Of three files dav1d refuses two: what a filling means may not end where it has to.
    attempts += [(max(there - less, 0), filling) for less in _EARLIER for filling in (0, 0xFF, 0x80)]
    best = None
    for start, filling in attempts:
        file = with_(start, filling)
        picture = pixels(file)
        if picture is None:
            continue
        if best is None:
            best = file, picture
            continue
        return FilledUp(best[0], _rows_before_a_difference(best[1], picture, band, band // 4))
    return None


# JPEG 2000 (ITU T.800)


def _fill_up_jpeg_2000(data: bytes, pixels: Pixels) -> FilledUp | None:
    stripped = data.rstrip(b"\0")
    data = stripped if len(data) - len(stripped) > _ZEROS else data
    start, end = data.find(b"\xff\x4f\xff\x51"), 0
    position = data.find(b"\xff\x90\x00\x0a", start)
    while start >= 0 and data[position : position + 2] == b"\xff\x90" and position + 10 <= len(data):
        size = int.from_bytes(data[position + 6 : position + 10], "big")  # of the tile's part
        if size < 14:
            return None
        position = end = position + size
    missing = end - len(data)
    if end == 0 or not _can_be_filled(missing, data):
        return None
    first, second = (data[:end] + bytes([filling]) * missing + _JPEG_END for filling in (0xAA, 0x55))
    picture, other = pixels(first), pixels(second)
    if picture is None or other is None:
        return None
    # The finest details of all rows come last: rows without them look the same to the eye.
    differences = np.abs(picture.astype(np.int16) - other).mean(axis=(1, 2))
    return FilledUp(first, int((differences < 2).sum()), ", in less detail" if differences.any() else "")


# GIF (version 89a)


def _fill_up_gif(data: bytes, pixels: Pixels) -> FilledUp | None:
    start = _find_gif_data(data)
    if start is None:
        return None
    position, width, height = start
    code_size, coded = data[position], bytearray()
    if not 2 <= code_size <= 11:
        return None
    head, position = data[: position + 1], position + 1
    while position < len(data) and data[position]:
        coded += data[position + 1 : position + 1 + data[position]]
        position += 1 + data[position]
    count = _count_gif_pixels(coded, code_size, width * height)
    # A code of zeros is one pixel of the first color, and takes at most 12 bits.
    coded += bytes((width * height - count) * 12 // 8 + 16)
    blocks = (coded[i : i + 255] for i in range(0, len(coded), 255))
    filled = head + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0;"
    picture = pixels(filled)
    if picture is None:
        return None
    return FilledUp(filled, len(picture) - (height - count // width))


def _find_gif_data(data: bytes) -> tuple[int, int, int] | None:
    """Return the position of the first picture's code size, and the picture's width and height."""
    position = 13 + _color_table_size(data[10])
    while data[position : position + 1] == b"!":
        position += 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    if data[position : position + 1] != b"," or position + 10 > len(data):
        return None
    width, height, flags = struct.unpack_from("<HHB", data, position + 5)
    position += 10 + _color_table_size(flags)
    return (position, width, height) if position < len(data) and width and height else None


def _color_table_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 128 else 0


def _count_gif_pixels(coded: bytearray, code_size: int, enough: int) -> int:
    """Return how many pixels LZW codes stand for, at most ``enough``."""
    clear, end = 1 << code_size, (1 << code_size) + 1
    start = [1] * clear + [0, 0]
    lengths, width, before = start[:], code_size + 1, 0  # of what each code stands for; of codes, in bits
    count = bits = filled = 0
    for byte in coded:
        bits |= byte << filled
        filled += 8
        while filled >= width:
            code = bits & ((1 << width) - 1)
            bits, filled = bits >> width, filled - width
            if code == clear:
                lengths, width, before = start[:], code_size + 1, 0
                continue
            if code == end or code > len(lengths) or count >= enough:
                return min(count, enough)
            length = lengths[code] if code < len(lengths) else before + 1
            if before and len(lengths) < 4096:
                lengths.append(before + 1)
                if len(lengths) == 1 << width and width < 12:
                    width += 1
            count, before = count + length, length
    return min(count, enough)
