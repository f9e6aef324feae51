"""Many captioned photos in little memory."""

from __future__ import annotations

import copy
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from wordgaze.data.packed import PackedPhoto, ParquetPhoto, TarPhoto
from wordgaze.data.readers.caption_file import CaptionedPhoto

_PACKED = (TarPhoto, ParquetPhoto)


class PhotoTable(Sequence[CaptionedPhoto]):
    """Captioned photos as rows of one buffer, made into objects when they are asked for.

    A photo takes the bytes of its name and its captions, and few more. Worker processes that are forked share the
    buffer: objects would be copied to each, as their reference counts change.
    """

    def __init__(self, photos: Iterable[CaptionedPhoto] = ()) -> None:
        self._buffer = bytearray()
        self._texts: dict[str, int] = {}  # folders, archives, columns: each stands in many rows
        ends = array("q", [0])
        for photo in photos:
            self._buffer += self._packed(photo)
            ends.append(len(self._buffer))
        self._ends = np.frombuffer(ends, np.int64)
        self._by_number = list(self._texts)
        self._order: np.ndarray | range = range(len(ends) - 1)

    @classmethod
    def of(cls, photos: Iterable[CaptionedPhoto]) -> PhotoTable:
        """Return ``photos`` as a table, themselves where they are one."""
        return photos if isinstance(photos, PhotoTable) else cls(photos)

    def take(self, indices: Sequence[int] | np.ndarray) -> PhotoTable:
        """Return the photos of ``indices``, in that order, without copying any."""
        table = copy.copy(self)
        table._order = np.asarray(self._order, np.int64)[np.asarray(indices, np.int64)]
        return table

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> CaptionedPhoto: ...

    @overload
    def __getitem__(self, index: slice) -> PhotoTable: ...

    def __getitem__(self, index: int | slice) -> CaptionedPhoto | PhotoTable:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        row = self._order[index]
        return self._unpacked(self._buffer[self._ends[row] : self._ends[row + 1]])

    def __iter__(self) -> Iterator[CaptionedPhoto]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        """Return how much memory the rows take."""
        order = 0 if isinstance(self._order, range) else self._order.nbytes
        return len(self._buffer) + self._ends.nbytes + order

    def _packed(self, photo: CaptionedPhoto) -> bytes:
        number = self._number
        row: list[Any] = [photo.photo_id, number(str(photo.path.parent)), photo.path.name, photo.captions]
        if photo.packed is not None:
            row.append(_PACKED.index(type(photo.packed)))
            row += [number(value) if isinstance(value, str) else value for value in vars(photo.packed).values()]
        # Names of files that are no UTF-8 hold surrogates.
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    def _unpacked(self, row: bytearray) -> CaptionedPhoto:
        photo_id, folder, name, captions, *packed = json.loads(row.decode("utf-8", "surrogatepass"))
        path = Path(self._by_number[folder], name)
        return CaptionedPhoto(photo_id, path, tuple(captions), self._unpacked_photo(*packed) if packed else None)

    def _unpacked_photo(self, kind: int, *values: int) -> PackedPhoto:
        if kind == 0:
            return TarPhoto(self._by_number[values[0]], *values[1:])
        return ParquetPhoto(self._by_number[values[0]], self._by_number[values[1]], *values[2:])

    def _number(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))
