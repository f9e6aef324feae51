"""PNG files without what their pixels do not need: text, profiles and further frames are not even inflated."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from wordgaze.data.colors import to_8_bits, usual_range
from wordgaze.data.exif_bombs import is_bomb, is_text_bomb
from wordgaze.data.quiet import open_with_pillow
from wordgaze.errors import PhotoError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MAX_CHUNKS = 1_000_000
_MAX_SIDE_CHUNK = 8 * 1024**2  # of EXIF or XMP, inflated; no other chunk is
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_KEYS = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # of texts that may say which side is up
_LONGEST_KEY = max(map(len, _KEYS)) + 1
_WANTED = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", *_KEYS)
_CHUNK_NAME = re.compile(rb"[A-Za-z]{4}")
_DARK = 15  # of 255: the most that 12 bits in 16 come to
_FILTERS = 5  # kinds that a row may begin with
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type

# Where each pass of an interlaced file begins, and its steps: (x, y, dx, dy).
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip


class PlainPng(NamedTuple):
    """A PNG file of its pixels, palette, transparency and orientation alone."""

    chunks: bytes  # with the signature, before the pixels
    pixels: bytes  # deflated
    is_whole: bool
    is_animated: bool

    def file(self) -> BinaryIO:
        return io.BytesIO(self.chunks + _chunk(b"IDAT", self.pixels) + _chunk(b"IEND", b""))


def read_plain_png(file: BinaryIO) -> PlainPng:
    """Return what matters of a PNG file."""
    file.seek(len(SIGNATURE))
    chunks, pixels, seen, is_animated = [SIGNATURE], [], set(), False
    is_whole = False
    for _ in range(_MAX_CHUNKS):
        header = file.read(8)
        length, name = int.from_bytes(header[:4], "big"), header[4:]
        if not _CHUNK_NAME.fullmatch(name):
            break
        if name == b"CgBI":
            raise PhotoError("is a PNG in Apple's own form for iOS apps; convert it to JPEG or PNG")
        if name == b"IEND":
            is_whole = True
            break
        if name == b"IDAT":
            pixels.append(file.read(length))
            if len(pixels[-1]) < length or len(file.read(4)) < 4:
                break
            continue
        is_animated |= name == b"acTL"
        data = file.read(min(length, _LONGEST_KEY))
        key = data.partition(b"\0")[0] if name in _TEXTS else name
        if key not in _WANTED or key in seen or length > _MAX_SIDE_CHUNK:
            file.seek(length - len(data) + 4, io.SEEK_CUR)
            continue
        data += file.read(length - len(data))
        checksum = file.read(4)
        if name in (b"IHDR", b"PLTE"):  # Pillow judges these
            chunks.append(header + data + checksum)
        elif checksum == zlib.crc32(name + data).to_bytes(4, "big"):
            seen.add(key)
            chunks.append(_side_chunk(name, data))
    else:
        raise PhotoError(f"is a PNG of more than {_MAX_CHUNKS:,} chunks; save it again, without them")
    return PlainPng(b"".join(chunks), b"".join(pixels), is_whole, is_animated)


def _side_chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk as Pillow reads it without inflating, or nothing for one that is broken or a bomb."""
    if name in (b"tRNS", b"eXIf"):
        return b"" if name == b"eXIf" and is_bomb(io.BytesIO(data)) else _chunk(name, data)
    key, _, text = data.partition(b"\0")
    is_deflated = name == b"zTXt"
    if name == b"zTXt":
        text = text[1:]
    elif name == b"iTXt":
        is_deflated = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]
    if is_deflated:
        inflate = zlib.decompressobj()
        try:
            text = inflate.decompress(text, _MAX_SIDE_CHUNK)
        except zlib.error:
            return b""
        if inflate.unconsumed_tail:
            return b""
    if key == _KEYS[0] and is_text_bomb(text):
        return b""
    if key.startswith(b"XML"):
        return _chunk(b"iTXt", key + b"\0\0\0\0\0" + text)
    return _chunk(b"tEXt", key + b"\0" + text)


_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""What Pillow's decoder calls samples of 16 bits: read the wrong way round, what it keeps is the lower byte."""


def read_deep_png(png: PlainPng, image: Image.Image, before: Callable[[], None]) -> Image.Image | None:
    """Return a PNG's colors of 16 bits on the scale that they use, where all are dark on the full one, else None.

    ``image``: as Pillow reads it, which keeps the upper byte. ``before`` is called first where it is read again.
    """
    depth, color = png.chunks[len(SIGNATURE) + 16 : len(SIGNATURE) + 18]
    colors = {2: 3, 6: 3}.get(color, 0)
    if depth != 16 or not colors or "transparency" in image.info:
        return None
    extrema: Any = image.getextrema()
    if max(highest for _, highest in extrema[:colors]) > _DARK:
        return None
    before()
    upper = np.asarray(image)
    lower: Any = open_with_pillow(png.file(), ["PNG"])
    tile = lower.tile[0]
    if tile.args not in _LOW_BYTES:
        return None
    lower.tile = [tile._replace(args=_LOW_BYTES[tile.args])]
    lower.load()
    values = upper.astype(np.uint16) << 8 | np.asarray(lower)
    black_and_white = usual_range(values[..., :colors])
    out = to_8_bits(values[..., :colors], black_and_white)
    if color == 6:
        alpha = values[..., 3:]
        opaque = (0, 65535) if alpha.max() > black_and_white[1] else black_and_white
        out = np.dstack([out, to_8_bits(alpha, opaque)])
    deep = Image.fromarray(out)
    deep.format, deep.info = image.format, image.info
    deep.getexif().update(image.getexif())
    return deep


def _lines(png: PlainPng) -> list[tuple[range, int]]:
    """Return of each pass its rows, and how many bytes one takes; nothing for no known kind of pixels."""
    width, height, depth, color, _, _, interlace = struct.unpack_from(">IIBBBBB", png.chunks, len(SIGNATURE) + 8)
    bits = depth * _SAMPLES.get(color, 0)
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    return [(range(y, height, dy), 1 + (-(-(width - x) // dx) * bits + 7) // 8) for x, y, dx, dy in passes
            if x < width and bits]  # fmt: skip


def _size(lines: list[tuple[range, int]]) -> int:
    return sum(len(rows) * line for rows, line in lines)


def lacks_rows(png: PlainPng, image: Image.Image) -> bool:
    """Return whether a PNG's pixels end too early, though as deflated data should; ``image``: what Pillow made of it.

    Pillow leaves such rows black, and says nothing.
    """
    last_rows = np.asarray(image.crop((0, max(image.height - 2, 0), image.width, image.height)))
    if last_rows.reshape(len(last_rows), -1).any(axis=1).all():
        return False
    missing, inflate, deflated = _size(_lines(png)), zlib.decompressobj(), png.pixels
    while missing > 0 and deflated and not inflate.eof:
        missing -= len(inflate.decompress(deflated, min(missing, 2**20)))
        deflated = inflate.unconsumed_tail
    return missing > 0


class FilledPng(NamedTuple):
    file: BinaryIO
    rows: int  # that are there
    is_damaged: bool  # and not only cut short


def fill_up_png(png: PlainPng) -> FilledPng | None:
    """Return a PNG file whose missing rows repeat the last one."""
    lines = _lines(png)
    if not lines:
        return None
    size, height = _size(lines), int.from_bytes(png.chunks[len(SIGNATURE) + 12 : len(SIGNATURE) + 16], "big")
    raw, is_damaged = _inflate(png.pixels, size)
    is_damaged |= png.is_whole
    there, position = [True] * height, 0
    filled = bytearray(raw)
    for rows, line in lines:
        for row in rows:
            if position < len(raw) and raw[position] >= _FILTERS:
                raw, filled, is_damaged = raw[:position], filled[:position], True
            if position + line > len(raw):
                there[row] = False
                # Filter 2: each byte is its own plus that above. The rest of a cut row stays as it is.
                filled += (b"\2" if position >= len(raw) else b"") + bytes(position + line - len(filled))
                del filled[position + line :]
            position += line
    file = PlainPng(png.chunks, zlib.compress(bytes(filled), 1), True, png.is_animated).file()
    return FilledPng(file, sum(there), is_damaged)


def _inflate(deflated: bytes, size: int) -> tuple[bytes, bool]:
    """Return at most ``size`` bytes, as many as there are before an end or damage, and whether there is damage."""
    inflate, raw, start, step = zlib.decompressobj(), bytearray(), 0, 4096
    while start < len(deflated) and len(raw) < size and not inflate.eof:
        before = inflate.copy()
        try:
            raw += inflate.decompress(deflated[start : start + step], size - len(raw))
            start += step
        except zlib.error:
            if step == 1:
                return bytes(raw), True
            inflate, step = before, 1  # the bytes before the damage are still good
    return bytes(raw), False


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + zlib.crc32(name + data).to_bytes(4, "big")
