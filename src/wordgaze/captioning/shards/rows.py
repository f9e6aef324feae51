"""A photo's row in a shard's file, as JSON in a line or in Parquet's columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from wordgaze.captioning.pipeline import CaptionResult
from wordgaze.captioning.shards.photo import ShardPhoto
from wordgaze.data.parquet_file import parquet_to_write
from wordgaze.errors import DataError
from wordgaze.files import one_line

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["jsonl", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "parquet")
Status = Literal["success", "refused", "failed"]
STATUSES: tuple[Status, ...] = ("success", "refused", "failed")

EMPTY = "got an empty caption"
# As reading a photo says it.
_OUT_OF_MEMORY = "needs more memory than there is"
_ROWS_PER_GROUP = 10_000


@dataclass(frozen=True)
class Row:
    """What is known of a photo. ``status``: ``refused`` is the photo's fault, ``failed`` ours or the machine's.

    ``error``: why there is no caption. ``width``, ``height``: of the photo upright. ``sha256``: of the file's bytes.
    """

    key: str
    path: str
    caption: str | None
    log_probability: float | None
    confidence: float | None
    status: Status
    error: str | None
    width: int | None
    height: int | None
    sha256: str | None

    def to_json(self) -> str:
        """Return the row as JSON in ASCII, without a line break; bytes of a name that are no text as ``\\udcff``."""
        return json.dumps(self.__dict__)


COLUMNS = tuple(Row.__annotations__)


def row_of(result: CaptionResult[ShardPhoto]) -> Row:
    """Return the row of a captioned photo, or of one that could not be."""
    photo, caption = result.label, result.caption
    width, height = photo.size or (None, None)
    error = None if result.error is None else str(result.error)
    status: Status = "success"
    if caption is None:
        status = "failed" if photo.failed or str(error).startswith(_OUT_OF_MEMORY) else "refused"
    elif not str(caption).strip():
        caption, error, status = None, EMPTY, "failed"
    text, log_probability, confidence = None, None, None
    if caption is not None:
        text, log_probability, confidence = str(caption), caption.log_probability, caption.confidence
    values = (text, log_probability, confidence, status, error, width, height, photo.sha256)
    return Row(photo.key, photo.path, *values)


def row_from(values: Any) -> Row:
    """Return the row of what JSON or Parquet held; raises ValueError for anything but a row."""
    if not isinstance(values, dict) or set(values) != set(COLUMNS) or values["status"] not in STATUSES:
        raise ValueError("is not a row of a shard")
    return Row(**values)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a shard's file; raise DataError for one that is damaged, and OSError."""
    try:
        yield from map(row_from, _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path))
    except ValueError as error:
        raise DataError(
            f"{one_line(path)} is damaged ({str(error)[:100]}); remove its _stats.json, and caption the shard again."
        ) from None


def _read_jsonl(path: Path) -> Iterator[Any]:
    with path.open(encoding="ascii") as file:
        yield from map(json.loads, file)


def _read_parquet(path: Path) -> Iterator[Any]:
    pq = parquet_to_write()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP):
            yield from batch.to_pylist()


def schema() -> pa.Schema:
    """Return the columns' types in Parquet."""
    import pyarrow as pa

    types = {"log_probability": pa.float64(), "confidence": pa.float64(), "width": pa.int32(), "height": pa.int32()}
    return pa.schema([pa.field(name, types.get(name, pa.string())) for name in COLUMNS])


def write_parquet(rows: Iterable[Row], file: BinaryIO) -> None:
    """Write rows, a group at a time, so that memory does not grow with them."""
    import pyarrow as pa

    columns, rows = schema(), iter(rows)
    with parquet_to_write().ParquetWriter(file, columns) as writer:
        while group := list(islice(rows, _ROWS_PER_GROUP)):
            writer.write_batch(pa.RecordBatch.from_pylist(list(map(as_text, group)), columns))


def as_text(row: Row) -> dict[str, Any]:
    """Return a row's values, bytes of a name that are no text as text like ``\\udcff``."""
    values = row.__dict__
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in values.items()
    }
