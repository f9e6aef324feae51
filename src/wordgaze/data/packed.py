"""Photos that are no files of their own: members of tar archives, cells of Parquet files.

:func:`wordgaze.data.photos.open_photo` takes them as it takes any object with ``read``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wordgaze.errors import PhotoError


@dataclass(frozen=True)
class TarPhoto:
    """A photo in a tar archive that is not compressed: ``size`` bytes from ``start``.

    The file is opened for each photo, so that threads and processes share nothing.
    """

    file: str
    start: int
    size: int

    def read(self) -> bytes:
        """Return the photo's bytes; raises PhotoError, whose message leaves it to the caller to name the photo."""
        return self._parts((0, self.size))[0]

    def ends(self, first: int, last: int) -> tuple[bytes, bytes]:
        """Return the first and the last bytes of the photo."""
        first, last = min(first, self.size), min(last, self.size)
        beginning, end = self._parts((0, first), (self.size - last, last))
        return beginning, end

    def _parts(self, *parts: tuple[int, int]) -> list[bytes]:
        """Return the bytes of each part, given as where it begins and its size."""
        contents = []
        try:
            with open(self.file, "rb") as archive:
                for start, size in parts:
                    archive.seek(self.start + start)
                    contents.append(archive.read(size))
        except OSError as error:
            raise PhotoError(f"can't be read ({error.strerror}); check the archive and its permissions") from None
        if any(len(content) < size for content, (_, size) in zip(contents, parts, strict=True)):
            raise PhotoError("is cut off: its archive is shorter than it was; get that again")
        return contents


@dataclass(frozen=True)
class ParquetPhoto:
    """A photo in a Parquet file: the bytes of ``column`` in a row of a row group."""

    file: str
    column: str
    group: int
    row: int

    def read(self) -> bytes:
        """Return the photo's bytes; raises PhotoError, whose message leaves it to the caller to name the photo."""
        from wordgaze.data.parquet_file import read_cell

        return read_cell(Path(self.file), self.column, self.group, self.row)

    def ends(self, first: int, last: int) -> tuple[bytes, bytes]:
        """Return the first and the last bytes of the photo."""
        content = self.read()
        return content[:first], content[-last:]


PackedPhoto = TarPhoto | ParquetPhoto
