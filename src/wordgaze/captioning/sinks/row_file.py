"""Rows in a file of lines, which a rerun of the same command continues: ``-o FILE.jsonl`` and ``-o FILE.csv``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wordgaze.captioning.identity import RunIdentity
from wordgaze.captioning.sinks.lines import JsonLines, LineFormat, Row
from wordgaze.captioning.sinks.sink import CaptionedFile, Outcome
from wordgaze.data.listing import STDIN, Photo
from wordgaze.errors import ConfigError, first_line
from wordgaze.files import lock_file, one_line, remove_leftovers, write_whole

_ANOTHER = "remove it, or choose another output"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an error of the system name the file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), os.fspath(path)) from error


class LineFile:
    """A file of rows that only ever grows by whole lines; what a killed process wrote of one more is cut off.

    ``on_row`` gets each row that is there. Raises ConfigError for rows of others, before anything is changed.
    """

    def __init__(self, path: Path, lines: LineFormat, identity: RunIdentity, on_row: Callable[[Row], object]) -> None:
        self.path, self._lines = path, lines
        if path.exists() and not path.is_file():
            raise ConfigError(f"{one_line(path)} is no regular file, so no run could resume it; choose another output.")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if not lock_file(self._file):
                raise ConfigError(f"{one_line(path)} is being written by another run; wait for its end.")
            self._size = self._read(identity, on_row)
            os.ftruncate(self._file, self._size)
            if self._size == 0 and lines.header:
                self._append(lines.header)
        except BaseException:
            self.close()
            raise

    def append(self, row: Row) -> None:
        """Add a row, which no later death of this process can take back; raise OSError where that is not possible."""
        self._append(self._lines.encode(row))

    def close(self) -> None:
        """Close the file; another run may then write it."""
        os.close(self._file)

    def sync(self) -> None:
        """Let the system write all rows to the disk; raise OSError where it can't."""
        with _named(self.path):
            os.fsync(self._file)

    def _append(self, data: bytes) -> None:
        with _named(self.path):
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError:
                # Of a full disk: readers should find no half a row.
                with suppress(OSError):
                    os.ftruncate(self._file, self._size)
                raise
            status = os.fstat(self._file)
        # What is written into a file that has no name any more would be lost without a word.
        if not status.st_nlink or not self.path.exists() or not os.path.samestat(status, os.stat(self.path)):
            raise ConfigError(
                f"{one_line(self.path)} was removed or replaced while it was written; give the command again."
            )
        self._size = status.st_size

    def _read(self, identity: RunIdentity, on_row: Callable[[Row], object]) -> int:
        """Return the size of all whole rows."""
        size = 0
        for number, (line, row) in enumerate(self._parsed(), start=1):
            if row is not None:
                difference = identity.difference(row)
                if difference is not None:
                    raise ConfigError(f"{one_line(self.path)} can't be resumed: {difference}; {_ANOTHER}.")
                on_row(row)
            elif not line.endswith(b"\n") and not (number > 1 or self._lines.may_begin(line)):
                raise ConfigError(f"{one_line(self.path)} holds no rows of captions; {_ANOTHER}.")
            size += len(line) if line.endswith(b"\n") else 0
        return size

    def _parsed(self) -> Iterator[tuple[bytes, Row | None]]:
        """Yield each line with its row, if it has one: not the header, nor a last line without its end."""
        with open(os.dup(self._file), "rb") as file:
            file.seek(0)
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n") or (number == 1 and line == self._lines.header):
                    yield line, None
                    continue
                try:
                    if number == 1 and self._lines.header:
                        raise ValueError("the names of the columns are missing")
                    yield line, self._lines.decode(line)
                except ValueError as error:
                    why = f"line {number} is no row of captions: {first_line(error)}"
                    raise ConfigError(f"{one_line(self.path)} can't be resumed ({why}); {_ANOTHER}.") from None


class RowFile:
    """A sink of rows: those of ``--json``, and beside them what they were made with.

    ``retry``: caption again what failed before. Their new rows are kept in ``FILE.retry.jsonl`` until the end of the
    run, and then replace the old ones at once, so that there is one row a photo at any time.
    """

    def __init__(self, path: Path, lines: LineFormat, identity: RunIdentity, *, retry: bool = False) -> None:
        self.path, self._lines, self._identity, self._retry = path, lines, identity, retry
        self.name = one_line(path)
        self._done: set[str] = set()
        self._failed: dict[str, str] = {}
        self._rows: LineFile | None = None
        self._retried: LineFile | None = None
        self._journal = path.with_name(f"{path.name}.retry.jsonl")

    def prepare(self, photos: Sequence[Photo]) -> None:
        """Read what is there; raise ConfigError where it is not of this model and these options."""
        if STDIN in photos:
            raise ConfigError("A photo on stdin has no name to resume by; save it in a file, or leave out -o.")
        remove_leftovers([os.path.realpath(self.path.parent)])
        self._rows = LineFile(self.path, self._lines, self._identity, self._note)
        if self._journal.exists():
            self._open_journal()
            self._merge()

    def check(self, photo: Photo) -> Outcome | None:
        """Return what the row of a photo says; None where there is none, or one to be made again."""
        name = str(photo)
        if name in self._done:
            return Outcome("skipped")
        return None if self._retry or name not in self._failed else Outcome("failed", self._failed[name])

    def write(self, captioned: CaptionedFile) -> Outcome:
        """Write the row of a photo that has none; also the error of one that can't be captioned.

        A caption replaces an error even if nobody asked to retry: another sink may have.
        """
        outcome = self.check(captioned.file)
        if outcome is not None and not (outcome.status == "failed" and captioned.error is None):
            return outcome
        row = {**captioned.to_dict(), **self._identity.to_dict()}
        file = self._open_journal() if row["file"] in self._failed else self._rows
        assert file is not None
        file.append(row)
        self._note(row)
        return Outcome("written") if captioned.error is None else Outcome("failed", captioned.error)

    def finish(self, *, complete: bool) -> None:
        """Put the new rows of photos that failed before in their place."""
        if self._rows is None:
            return
        self._rows.sync()
        if self._retried is not None:
            self._merge()

    def close(self) -> None:
        """Close the file; another run may then write it."""
        for file in (self._rows, self._retried):
            if file is not None:
                file.close()
        self._rows = self._retried = None

    def _note(self, row: Row) -> None:
        """Remember that a photo has a row."""
        if "error" in row:
            self._failed[row["file"]] = str(row["error"])
        else:
            self._failed.pop(row["file"], None)
            self._done.add(row["file"])

    def _open_journal(self) -> LineFile:
        if self._retried is None:
            self._retried = LineFile(self._journal, JsonLines(), self._identity, self._note)
        return self._retried

    def _merge(self) -> None:
        """Replace the rows that the journal has anew."""
        assert self._rows is not None and self._retried is not None
        self._retried.close()
        self._retried = None
        new = {}
        for line in self._journal.read_bytes().splitlines():
            row = JsonLines().decode(line)
            new[row["file"]] = self._lines.encode(row)

        def write(out: BinaryIO) -> None:
            left = dict(new)
            with self.path.open("rb") as file:
                for number, line in enumerate(file):
                    is_header = number == 0 and self._lines.header
                    out.write(line if is_header else left.pop(self._lines.decode(line)["file"], line))
            out.writelines(left.values())

        write_whole(self.path, write)
        self._journal.unlink()
        self._rows.close()
        self._rows = LineFile(self.path, self._lines, self._identity, self._note)
