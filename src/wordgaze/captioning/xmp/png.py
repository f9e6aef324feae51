"""XMP in a PNG: a chunk iTXt of its own keyword."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from wordgaze.captioning.xmp.merge import SEVERAL, Xmp
from wordgaze.captioning.xmp.packet import MAX_PACKET
from wordgaze.captioning.xmp.splice import Splice, read_exactly
from wordgaze.errors import PhotoError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_KEYWORD = b"XML:com.adobe.xmp\0"
_IHDR_END = len(SIGNATURE) + 25


class PngXmp:
    """The XMP of a PNG, and where it lies. Raises PhotoError for what can't be added to."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        if read_exactly(file, _IHDR_END)[12:16] != b"IHDR":
            raise PhotoError("has no IHDR first, so no alt text is written into it")
        self._old = Splice(_IHDR_END, _IHDR_END, b"")
        self.xmp = Xmp()
        position, name = _IHDR_END, b"IHDR"
        while name != b"IEND" and len(header := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", header)
            end = position + length + 12
            if name == b"iTXt" and file.read(len(_KEYWORD)) == _KEYWORD:
                if self.xmp.standard is not None:
                    raise PhotoError(SEVERAL)
                if length > MAX_PACKET:
                    raise PhotoError(f"holds XMP of {length:,} bytes, and at most {MAX_PACKET:,} are read; remove it")
                rest = read_exactly(file, length - len(_KEYWORD))
                self.xmp = Xmp(_text(rest))
                self._old = Splice(position, end, b"")
            position = file.seek(end)

    def splices(self, merged: Xmp) -> list[Splice]:
        """Return the edits of the file for its merged XMP."""
        assert merged.standard is not None
        # Neither compressed, nor in a language: programs that know no PNG look for the packet's first bytes.
        data = b"iTXt" + _KEYWORD + b"\0\0\0\0" + merged.standard
        chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
        return [self._old._replace(data=chunk)]


def _text(rest: bytes) -> bytes:
    """Return the text of a chunk from its compression on."""
    is_compressed = rest[:1] == b"\1"
    text = rest[2:].split(b"\0", 2)[-1]
    if not is_compressed:
        return text
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(text, MAX_PACKET)
    except zlib.error:
        raise PhotoError("holds compressed XMP that is damaged; remove that XMP") from None
    if inflate.unconsumed_tail or not inflate.eof:
        raise PhotoError(f"holds compressed XMP that is damaged or of more than {MAX_PACKET:,} bytes; remove that XMP")
    return text
