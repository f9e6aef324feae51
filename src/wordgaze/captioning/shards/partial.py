"""A shard's rows while it is captioned: a line each, so that whoever takes the shard over goes on after the last."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from wordgaze.captioning.shards.claims import Claim
from wordgaze.captioning.shards.out_folder import OutFolder
from wordgaze.captioning.shards.rows import Row, read_rows, row_from, write_parquet


class ClaimLost(Exception):
    """Another worker has taken the shard over."""


class PartialFile:
    """The rows of a claimed shard, as a context. Its name has the claim's token: another owner's file is another."""

    def __init__(self, out: OutFolder, claim: Claim) -> None:
        self.out, self.claim = out, claim
        self.path = self._temporary("partial")
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._file is not None
        # On a full disk what could not be written is lost, and so is captioned again.
        try:
            self._file.close()
        except OSError:
            if error is None:
                raise

    def adopt(self) -> Iterator[Row]:
        """Yield the rows of the owner before us, if it did the same work, now in our file; remove its files."""
        earlier = self.claim.earlier()
        partials = [self._temporary("partial", info.token) for info in earlier if info.work == self.claim.info.work]
        # One that was killed while it copied has less than the one before it.
        if partials := [partial for partial in partials if partial.exists()]:
            yield from self._copy(max(partials, key=lambda partial: partial.stat().st_size))
        for info in earlier:
            self.out.remove(self._temporary(kind, info.token).name for kind in ("partial", "data", "stats"))

    def _copy(self, partial: Path) -> Iterator[Row]:
        assert self._file is not None
        with partial.open("rb") as file:
            for line in file:
                # After a power cut the end may be missing, or be zeros.
                try:
                    if not line.endswith(b"\n"):
                        return
                    row = row_from(json.loads(line))
                except (ValueError, TypeError):
                    return
                self._file.write(line)
                yield row
        self._file.flush()

    def append(self, row: Row) -> None:
        """Add a row, which a killed process leaves to the next owner; raise ClaimLost if there is one already."""
        assert self._file is not None
        if self.claim.is_lost:
            self._lose()
        self._file.write(row.to_json().encode("ascii") + b"\n")
        self._file.flush()

    def become(self, data: Path) -> None:
        """Make the rows the shard's file; raise ClaimLost where the shard has another owner by now."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        whole = self.path
        if data.suffix == ".parquet":
            whole = self._temporary("data")
            with whole.open("wb") as file:
                write_parquet(read_rows(self.path), file)
                file.flush()
                os.fsync(file.fileno())
        # A new owner removes our file before it begins.
        if not self.path.exists():
            whole.unlink(missing_ok=True)
            self._lose()
        try:
            self.out.rename(whole, data)
        except FileNotFoundError:
            self._lose()

    def remove(self) -> None:
        """Remove the file, once the shard's marker is there."""
        self.path.unlink(missing_ok=True)

    def _lose(self) -> None:
        self.path.unlink(missing_ok=True)
        raise ClaimLost

    def _temporary(self, kind: str, token: str | None = None) -> Path:
        return self.out.temporary(self.claim.shard, token or self.claim.info.token, kind)
