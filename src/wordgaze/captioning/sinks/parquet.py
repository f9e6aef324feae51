"""Rows in Parquet, made at the end of a run from the lines that it has written: ``-o FILE.parquet``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from wordgaze.captioning.identity import RunIdentity
from wordgaze.captioning.sinks.lines import COLUMNS, JsonLines, Row, escaped, json_line, unescaped
from wordgaze.captioning.sinks.row_file import RowFile
from wordgaze.captioning.sinks.sink import CaptionedFile, Outcome
from wordgaze.data.listing import Photo
from wordgaze.errors import ConfigError, first_line
from wordgaze.files import AnyPath, one_line, write_whole

ROW_GROUP = 10_000
"""Rows that are held in memory at a time."""


def partial_file(path: Path) -> Path:
    """Return the file of lines that a Parquet file is made from."""
    return path.with_name(f"{path.name}.partial.jsonl")


def write_parquet(path: AnyPath, lines: Path) -> None:
    """Make a Parquet file, whole or not at all, from rows of :class:`JsonLines`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()

    def write(out: BinaryIO) -> None:
        decode = JsonLines().decode
        with pq.ParquetWriter(out, schema) as writer, lines.open("rb") as file:
            while rows := [_plain(decode(line)) for line in islice(file, ROW_GROUP)]:
                writer.write_table(pa.Table.from_pylist(rows, schema))

    write_whole(path, write)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the rows of a Parquet file of ours; raise ConfigError for another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if tuple(file.schema_arrow.names) != COLUMNS:
                raise ConfigError(f"{one_line(path)} holds no rows of captions; remove it, or choose another output.")
            for batch in file.iter_batches(ROW_GROUP, columns=columns):
                yield from map(_row, batch.to_pylist())
    except pa.ArrowInvalid as error:
        raise ConfigError(
            f"{one_line(path)} is no Parquet file that can be read ({first_line(error)}); remove it, or choose another "
            "output."
        ) from None


class ParquetFile:
    """A sink of rows as of :class:`RowFile`, in ``FILE.parquet.partial.jsonl`` until the run is complete."""

    def __init__(self, path: Path, identity: RunIdentity, *, retry: bool = False) -> None:
        self.path, self.name, self._identity = path, one_line(path), identity
        self._partial = partial_file(path)
        self._rows = RowFile(self._partial, JsonLines(), identity, retry=retry)

    def prepare(self, photos: Sequence[Photo]) -> None:
        """Read what is there; raise ConfigError where it is not of this model and these options."""
        if self.path.exists() and not self._partial.exists():
            lines = JsonLines()
            self._check()
            write_whole(self._partial, lambda out: out.writelines(map(lines.encode, read_parquet(self.path))))
        self._rows.prepare(photos)

    def check(self, photo: Photo) -> Outcome | None:
        """Return what the row of a photo says; None where there is none, or one to be made again."""
        return self._rows.check(photo)

    def write(self, captioned: CaptionedFile) -> Outcome:
        """Write a row into the partial file."""
        return self._rows.write(captioned)

    def finish(self, *, complete: bool) -> None:
        """Make the Parquet file of a complete run, and remove the partial one."""
        self._rows.finish(complete=complete)
        if complete:
            write_parquet(self.path, self._partial)
            self._partial.unlink()

    def close(self) -> None:
        """Close the partial file; another run may then write it."""
        self._rows.close()

    def _check(self) -> None:
        for row in read_parquet(self.path, ["fingerprint", "precision", "options"]):
            if (difference := self._identity.difference(row)) is not None:
                raise ConfigError(f"{self.name} can't be resumed: {difference}; remove it, or choose another output.")


def _schema() -> Any:
    import pyarrow as pa

    words = pa.list_(pa.struct({"word": pa.string(), "probability": pa.float64()}))
    caption = {"caption": pa.string(), "log_probability": pa.float64(), "words": words}
    kinds = {
        "warnings": pa.list_(pa.string()),
        "log_probability": pa.float64(),
        "confidence": pa.float64(),
        "words": words,
        "alternatives": pa.list_(pa.struct(caption)),
    }
    return pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])


def _plain(row: Row) -> Row:
    """Return a row as Parquet takes it: names and texts in valid UTF-8, options as JSON."""
    texts: Row = {name: escaped(row[name]) for name in ("file", "error") if name in row}
    warnings = {"warnings": [escaped(text) for text in row["warnings"]]} if "warnings" in row else {}
    return {**row, **texts, **warnings, "options": json_line(row["options"])}


def _row(values: dict[str, Any]) -> Row:
    row = {name: value for name, value in values.items() if value is not None}
    row |= {name: unescaped(row[name]) for name in ("file", "error") if name in row}
    if "warnings" in row:
        row["warnings"] = [unescaped(text) for text in row["warnings"]]
    return {**row, "options": json.loads(row["options"])}
