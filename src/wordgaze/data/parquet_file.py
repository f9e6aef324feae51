"""Parquet: pyarrow, if it is there; and files of other people, read a row group at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordgaze.errors import ConfigError, DataError, PhotoError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_GROUP = 1024**3
"""Bytes of photos in a row group, which has to be held whole for any of them."""
MEMORY = 512 * 1024**2
"""Bytes of photos that a process keeps, of the row groups that it has read last; of the last one, whatever it has."""


def parquet() -> Any:
    """Return pyarrow's module; raise DataError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            "Parquet files need pyarrow, which is not installed: pip install 'wordgaze[parquet]'."
        ) from None
    return pyarrow.parquet


def parquet_to_write() -> Any:
    """Return pyarrow's module; raise ConfigError, which knows another way, where it is not installed."""
    try:
        return parquet()
    except DataError:
        raise ConfigError(
            "Parquet needs pyarrow, which can't be imported; pip install 'wordgaze[parquet]', or choose another format."
        ) from None


def open_table(path: Path) -> Any:
    """Return the open ``ParquetFile``; raises DataError."""
    module = parquet()
    try:
        return module.ParquetFile(path)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or first_line(error)}); check the file.") from None
    except Exception as error:  # of damage pyarrow raises nearly anything
        raise _damaged(path, error) from None


def rows_of(path: Path, columns: list[str]) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    """Yield row group, row in it and values of each row, of ``columns`` alone; raises DataError."""
    with open_table(path) as file:
        for group in range(file.num_row_groups):
            try:
                values = file.read_row_group(group, columns=columns, use_threads=False).to_pylist()
            except Exception as error:
                raise _damaged(path, error, f" in row group {group}") from None
            for row, value in enumerate(values):
                yield group, row, value


def _damaged(path: Path, error: Exception, where: str = "") -> DataError:
    return DataError(f"{path}: a Parquet file that can't be read{where} ({first_line(error):.200}); get it again.")


class _Groups:
    """The photos of the row groups that were read last, of one process."""

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[Path, str, int], pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path, column: str, group: int) -> pa.ChunkedArray:
        key = path, column, group
        with self._lock:
            if key not in self._groups:
                self._groups[key] = _photos_of(path, column, group)
                while len(self._groups) > 1 and sum(array.nbytes for array in self._groups.values()) > MEMORY:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(key)
            return self._groups[key]


_GROUPS = _Groups()


def _photos_of(path: Path, column: str, group: int) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        with open_table(path) as file:
            # Its threads would not be there in a forked worker process.
            values = file.read_row_group(group, columns=[column], use_threads=False).column(0)
            return values.combine_chunks().flatten()[0] if pa.types.is_struct(values.type) else values
    except DataError as error:
        raise PhotoError(f"can't be read: {str(error).rstrip('.')}") from None
    except Exception as error:
        raise PhotoError(f"can't be read ({first_line(error):.200}); get the Parquet file again") from None


def read_cell(path: Path, column: str, group: int, row: int) -> bytes:
    """Return a photo's bytes; raises PhotoError."""
    value = _GROUPS.read(path, column, group)[row].as_py()
    if not isinstance(value, bytes) or not value:
        raise PhotoError("is empty (0 bytes); get the file again from its source")
    return value
