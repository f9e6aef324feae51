"""XMP in a JPEG: an APP1 segment before the picture, and further ones for an extended packet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from wordgaze.captioning.xmp import extended
from wordgaze.captioning.xmp.merge import SEVERAL, Xmp
from wordgaze.captioning.xmp.packet import Packet, is_blank
from wordgaze.captioning.xmp.splice import Splice, read_exactly
from wordgaze.errors import PhotoError

SIGNATURE = b"\xff\xd8\xff"

_STANDARD = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_APP0, _APP1, _APP2 = 0xE0, 0xE1, 0xE2
_START_OF_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


class _Segment(NamedTuple):
    """A segment from its marker to its end; ``head`` is the beginning of its payload."""

    marker: int
    start: int
    payload: int
    end: int
    head: bytes

    def read(self, file: BinaryIO) -> bytes:
        file.seek(self.payload)
        return read_exactly(file, self.end - self.payload)


class JpegXmp:
    """The XMP of a JPEG, and where it lies. Raises PhotoError for what can't be added to."""

    def __init__(self, file: BinaryIO) -> None:
        self._segments = list(_segments(file))
        found = [segment for segment in self._segments if segment.head.startswith(_STANDARD)]
        if len(found) > 1:
            raise PhotoError(SEVERAL)
        self._standard = found[0] if found else None
        standard = None if self._standard is None else self._standard.read(file)[len(_STANDARD) :]
        self._extended: list[_Segment] = []
        parts = []
        if standard is not None and not is_blank(standard) and (guid := extended.named_guid(Packet(standard))):
            for segment in self._segments:
                if segment.head.startswith(_EXTENDED + guid):
                    self._extended.append(segment)
                    parts.append(extended.Part.read(segment.read(file)[len(_EXTENDED) :]))
        self.xmp = Xmp(standard, extended.joined(parts))

    def splices(self, merged: Xmp) -> list[Splice]:
        """Return the edits of the file for its merged XMP."""
        new = extended.fitted(self.xmp, merged)
        assert new.standard is not None
        written, old = [_segment(_STANDARD + new.standard)], [] if self._standard is None else [self._standard]
        if new.extended is not None and new.extended != self.xmp.extended:
            written += [_segment(_EXTENDED + part.write()) for part in extended.split(new.extended)]
            old += self._extended
        place = self._place() if self._standard is None else self._standard.start
        self._keep_offsets(max([place, *(segment.start for segment in old)]))
        data = b"".join(written)
        if self._standard is None:
            return [Splice(place, place, data)]
        first = Splice(place, self._standard.end, data)
        return [first, *(Splice(segment.start, segment.end, b"") for segment in old[1:])]

    def _place(self) -> int:
        """Return where a first packet goes: behind JFIF and Exif, which must come first, and before all else."""
        place = len(SIGNATURE) - 1
        for segment in self._segments:
            if segment.marker != _APP0 and not segment.head.startswith(b"Exif\0"):
                break
            place = segment.end
        return place

    def _keep_offsets(self, last_change: int) -> None:
        """Raise PhotoError where photos behind the first one would no longer be where the multi-picture index says.

        Its offsets count from itself (CIPA DC-007, 5.2.3.3): what changes before it moves it with the photos.
        """
        for segment in self._segments:
            if segment.marker == _APP2 and segment.head.startswith(b"MPF\0") and segment.start < last_change:
                raise PhotoError(
                    "has its XMP behind the index of its further pictures, which would no longer be found; "
                    "write a sidecar"
                )


def _segment(payload: bytes) -> bytes:
    return bytes([0xFF, _APP1]) + (len(payload) + 2).to_bytes(2, "big") + payload


def _segments(file: BinaryIO) -> Iterator[_Segment]:
    """Yield the segments before the picture."""
    size = file.seek(0, os.SEEK_END)
    position = file.seek(len(SIGNATURE) - 1)
    while True:
        start = position
        if read_exactly(file, 1) != b"\xff":
            raise PhotoError(f"has damaged segments (at byte {start:,}), so no alt text is written into it")
        while (marker := read_exactly(file, 1)[0]) == 0xFF:
            pass  # markers may be filled up with these
        if marker in (_START_OF_SCAN, _END):
            return
        payload = file.tell()
        if marker in _WITHOUT_LENGTH:
            position = payload
            continue
        length = int.from_bytes(read_exactly(file, 2), "big")
        position = payload + length
        if length < 2 or position > size:
            raise PhotoError(f"has damaged segments (at byte {start:,}), so no alt text is written into it")
        head = file.read(min(length - 2, len(_EXTENDED) + 32))
        yield _Segment(marker, start, payload + 2, position, head)
        file.seek(position)
