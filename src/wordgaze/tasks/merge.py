"""The rows of all shards in one file, as ``wordgaze merge`` writes it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from wordgaze.captioning.shards.marker import Marker
from wordgaze.captioning.shards.out_folder import OutFolder, Plan
from wordgaze.captioning.shards.rows import COLUMNS, Row, as_text, read_rows, write_parquet
from wordgaze.data.parquet_file import parquet_to_write
from wordgaze.errors import ConfigError, DataError
from wordgaze.files import AnyPath, check_outputs, one_line, write_whole
from wordgaze.tasks.status import planned

_CHUNK = 1024**2


@dataclass(frozen=True)
class Merged:
    """How many rows of how many shards were written, and how many shards are missing."""

    rows: int
    shards: int
    missing: int


def merge(folder: AnyPath, out: AnyPath, *, partial: bool = False) -> Merged:
    """Write the rows of a folder's shards, sorted by shard, into a ``.jsonl``, ``.csv`` or ``.parquet`` file.

    Memory does not grow with the rows. Raises ConfigError where shards are missing, unless ``partial``, and where they
    are of several models; DataError for a shard with more or fewer rows than its marker says.
    """
    source, target = OutFolder(folder), Path(out)
    write = _WRITERS.get(target.suffix.lower())
    if write is None:
        raise ConfigError(f"{one_line(target)} is no {' or '.join(_WRITERS)} file; name one, by its suffix.")
    check_outputs([target])
    contents = source.contents()
    plans = source.plans(contents)
    names = planned(source, plans)
    if os.path.samefile(target.parent, source.path):
        raise ConfigError(f"{one_line(target)} would lie among the shards; choose another folder.")
    done = [name for name in names if name in contents.done]
    missing = sorted(set(names) - set(done))
    if missing and not partial:
        raise ConfigError(
            f"{len(missing):,} of {len(names):,} shards are missing ({one_line(missing[0])} is the first); finish the "
            "run, or merge what is there with --partial."
        )
    shards = _Shards(source, plans[0], done)
    if target.suffix.lower() == ".parquet" or plans[0].rows == "parquet":
        parquet_to_write()
    write_whole(target, lambda file: write(shards, file))
    return Merged(shards.rows, len(done), len(missing))


class _Shards:
    """The files of shards that are done, each checked against its marker as it is read."""

    def __init__(self, source: OutFolder, plan: Plan, names: list[str]) -> None:
        self.source, self.plan, self.names = source, plan, names
        self.rows = 0

    def markers(self) -> Iterator[tuple[Path, Marker]]:
        """Yield each data file with its marker; count the rows."""
        self.rows = 0
        for name in self.names:
            marker = self.source.read_marker(name)
            if marker is None or marker.identity != self.plan.identity:
                raise ConfigError(
                    f"{one_line(self.source.marker(name))} is of another model or other options than the plan; rows of "
                    "both are not mixed."
                )
            yield self.source.data(name, self.plan.rows), marker
            self.rows += marker.rows

    def all_rows(self) -> Iterator[Row]:
        for path, marker in self.markers():
            number = 0
            for row in read_rows(path):
                number += 1
                yield row
            check_count(path, number, marker)


def check_count(path: Path, rows: int, marker: Marker) -> None:
    """Raise DataError where a shard's file is not what its marker says."""
    if rows != marker.rows:
        raise DataError(
            f"{one_line(path)} has {rows:,} rows, but {marker.rows:,} were written; remove its _stats.json, and "
            "caption the shard again."
        )


def _write_jsonl(shards: _Shards, file: BinaryIO) -> None:
    if shards.plan.rows != "jsonl":
        for row in shards.all_rows():
            file.write(row.to_json().encode("ascii") + b"\n")
        return
    for path, marker in shards.markers():
        lines = 0
        with path.open("rb") as rows:
            while chunk := rows.read(_CHUNK):
                lines += chunk.count(b"\n")
                file.write(chunk)
        check_count(path, lines, marker)


def _write_csv(shards: _Shards, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for row in shards.all_rows():
            writer.writerow(as_text(row).values())
        text.flush()
    finally:
        text.detach()


def _write_parquet(shards: _Shards, file: BinaryIO) -> None:
    write_parquet(shards.all_rows(), file)


_WRITERS: dict[str, Callable[[_Shards, Any], None]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
