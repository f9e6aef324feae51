"""XMP in a WebP: a chunk of the extended form, which a simple file becomes."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

from wordgaze.captioning.xmp.merge import SEVERAL, Xmp
from wordgaze.captioning.xmp.packet import MAX_PACKET
from wordgaze.captioning.xmp.splice import Splice, read_exactly
from wordgaze.errors import PhotoError

_HEADER = 12  # RIFF, size, WEBP
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10
_BEFORE_XMP = (b"VP8 ", b"VP8L", b"ALPH", b"ANMF", b"EXIF")


class _Chunk(NamedTuple):
    name: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + 8 + self.size + self.size % 2


class WebpXmp:
    """The XMP of a WebP, and where it lies. Raises PhotoError for what can't be added to."""

    def __init__(self, file: BinaryIO) -> None:
        size = file.seek(0, os.SEEK_END)
        file.seek(4)
        self._riff_size = int.from_bytes(read_exactly(file, 4), "little")
        end = 8 + self._riff_size
        if end > size:
            raise PhotoError("is cut short, so no alt text is written into it; get the file again")
        chunks = list(_chunks(file, end))
        self._end = chunks[-1].end if chunks else _HEADER
        if (
            not chunks
            or chunks[0].name not in (b"VP8X", b"VP8 ", b"VP8L")
            or self._end not in (end, end + 1)
            or self._end > size
        ):
            raise PhotoError("has damaged chunks, so no alt text is written into it")
        file.seek(chunks[0].start + 8)
        self._first, self._first_data = chunks[0], read_exactly(file, min(10, chunks[0].size))
        if len(self._first_data) < (5 if self._first.name == b"VP8L" else 10):
            raise PhotoError("has damaged chunks, so no alt text is written into it")
        found = [chunk for chunk in chunks if chunk.name == b"XMP "]
        if len(found) > 1:
            raise PhotoError(SEVERAL)
        last = max(chunk.end for chunk in chunks if chunk.name in _BEFORE_XMP or chunk is self._first)
        self._old = Splice(found[0].start, found[0].end, b"") if found else Splice(last, last, b"")
        self.xmp = Xmp()
        if found:
            if found[0].size > MAX_PACKET:
                raise PhotoError(f"holds XMP of {found[0].size:,} bytes, and at most {MAX_PACKET:,} are read")
            file.seek(found[0].start + 8)
            self.xmp = Xmp(read_exactly(file, found[0].size))

    def splices(self, merged: Xmp) -> list[Splice]:
        """Return the edits of the file for its merged XMP."""
        assert merged.standard is not None
        packet = merged.standard + b"\n" * (len(merged.standard) % 2)
        edits = [self._with_flag(), self._old._replace(data=b"XMP " + struct.pack("<I", len(packet)) + packet)]
        grown = sum(len(edit.data) - (edit.end - edit.start) for edit in edits)
        size = self._end - 8 + grown
        if size >= 2**32 - 10:
            raise PhotoError("is as large as a WebP can be, so no alt text is written into it; write a sidecar")
        return [Splice(4, 8, struct.pack("<I", size)), *edits]

    def _with_flag(self) -> Splice:
        """Return the edit that says that there is XMP: of the header's flags, or a header for a simple file."""
        start, data = self._first.start, self._first_data
        if self._first.name == b"VP8X":
            return Splice(start + 8, start + 9, bytes([data[0] | _XMP_FLAG]))
        if self._first.name == b"VP8L":
            # After a signature, 14 bits each of width and height less one, then whether there is transparency.
            bits = int.from_bytes(data[1:5], "little")
            width, height, flags = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bits >> 28 & 1 and _ALPHA_FLAG
        else:
            # A key frame: three bytes of tag, three of start code, then 14 bits of width and of height.
            width, height = (value & 0x3FFF for value in struct.unpack("<HH", data[6:10]))
            flags = 0
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return Splice(start, start, b"VP8X" + struct.pack("<II", 10, flags | _XMP_FLAG) + canvas)


def _chunks(file: BinaryIO, end: int) -> list[_Chunk]:
    position, chunks = _HEADER, []
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack("<4sI", read_exactly(file, 8))
        chunks.append(_Chunk(name, position, size))
        position = chunks[-1].end
    return chunks
