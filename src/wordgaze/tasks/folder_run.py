"""Captions of many photos into files: what is done is found and left, and what can't be done stops nothing else."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wordgaze.captioner import Captioner
from wordgaze.captioning.identity import RunIdentity
from wordgaze.captioning.sinks.lines import CsvLines, JsonLines
from wordgaze.captioning.sinks.parquet import ParquetFile, partial_file
from wordgaze.captioning.sinks.row_file import RowFile
from wordgaze.captioning.sinks.sink import CaptionedFile, Outcome, Sink
from wordgaze.data.listing import Photo, as_photo
from wordgaze.data.parquet_file import parquet_to_write
from wordgaze.errors import ConfigError
from wordgaze.files import AnyPath, check_outputs, one_line
from wordgaze.generation.options import GenerationOptions
from wordgaze.tasks.caption_files import caption_files

ROW_FORMATS = (".jsonl", ".csv", ".parquet")
SHOWN_REASONS = 8
"""How many reasons of failures a summary names, the most frequent first."""


def check_row_file(path: AnyPath, inputs: Iterable[AnyPath] = ()) -> None:
    """Raise ConfigError where rows can't be written to ``path``, before a model is loaded for them."""
    file = Path(path)
    if file.suffix.lower() not in ROW_FORMATS:
        raise ConfigError(
            f"-o is {one_line(file)}; its name tells the format, so end it in {' or '.join(ROW_FORMATS)}."
        )
    if file.suffix.lower() == ".parquet":
        parquet_to_write()
        check_outputs([file, partial_file(file)], inputs)
    else:
        check_outputs([file], inputs)


def row_sink(path: AnyPath, identity: RunIdentity, *, retry: bool = False) -> Sink:
    """Return the sink of rows in the format that a file's name tells; ``retry``: caption again what failed before."""
    file = Path(path)
    if file.suffix.lower() == ".parquet":
        return ParquetFile(file, identity, retry=retry)
    return RowFile(file, CsvLines() if file.suffix.lower() == ".csv" else JsonLines(), identity, retry=retry)


@dataclass
class Tally:
    """How many photos became what in each sink, and why photos failed."""

    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, sinks: Sequence[Sink], outcomes: Sequence[Outcome]) -> None:
        """Count a photo, which has an outcome in each sink."""
        for sink, outcome in zip(sinks, outcomes, strict=True):
            self.statuses.setdefault(sink.name, Counter())[outcome.status] += 1
        if (failed := next((o for o in outcomes if o.status == "failed"), None)) is not None:
            self.reasons[_kind_of(failed.reason or "failed")] += 1

    @property
    def failed(self) -> int:
        """Return how many photos failed, in whatever sink."""
        return self.reasons.total()

    def describe_failed(self) -> str:
        """Return "no such file (2), is empty (1)", the most frequent first; empty where none failed."""
        ordered = sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{reason} ({count:,})" for reason, count in ordered[:SHOWN_REASONS]]
        if others := sum(count for _, count in ordered[SHOWN_REASONS:]):
            parts.append(f"for other reasons ({others:,})")
        return ", ".join(parts)


@dataclass(frozen=True)
class FolderRun:
    """A run that has been prepared: the photos to caption, and those that need no caption.

    ``tally``: of the photos that need none, and of each photo that :meth:`captions` yields. ``settled``: those of the
    former with something to say.
    """

    sinks: Sequence[Sink]
    photos: Sequence[Photo]
    settled: Sequence[tuple[Photo, tuple[str, ...]]]
    tally: Tally
    folders: frozenset[Path]

    @classmethod
    def prepare(cls, files: Iterable[AnyPath], sinks: Sequence[Sink]) -> FolderRun:
        """Check the sinks, and find what was done before; raise ConfigError before anything is written.

        A photo that is named twice by one path is taken once; links to it are photos of their own.
        """
        photos = list(dict.fromkeys(map(as_photo, files)))
        try:
            for sink in sinks:
                sink.prepare(photos)
        except BaseException:
            for sink in sinks:
                sink.close()
            raise
        wanted, settled, tally = [], [], Tally()
        for photo in photos:
            outcomes = [outcome for sink in sinks if (outcome := sink.check(photo)) is not None]
            if len(outcomes) < len(sinks):
                wanted.append(photo)
                continue
            tally.add(sinks, outcomes)
            if messages := _messages(outcomes):
                settled.append((photo, messages))
        folders = {Path(photo).parent for photo in wanted}
        return cls(sinks, wanted, settled, tally, frozenset(filter(Path.is_dir, folders)))

    def captions(
        self, captioner: Captioner, options: GenerationOptions, **others: Any
    ) -> Iterator[tuple[Photo, tuple[str, ...]]]:
        """Caption the photos into the sinks; yield each with what a person should know of it.

        ``others``: as of :func:`caption_files`. Raises ConfigError where a folder of photos has vanished meanwhile, and
        OSError where no photo could be written any more; the same run then resumes.
        """
        for captioned in caption_files(captioner, self.photos, options, **others):
            self._check_folder(captioned)
            outcomes = [sink.write(captioned) for sink in self.sinks]
            self.tally.add(self.sinks, outcomes)
            said = (*captioned.warnings, *(() if captioned.error is None else (captioned.error,)), *_messages(outcomes))
            yield captioned.file, tuple(dict.fromkeys(said))

    def finish(self, *, complete: bool) -> None:
        """Finish the files; ``complete``: not stopped. Raises OSError where one can't be written."""
        for sink in self.sinks:
            sink.finish(complete=complete)

    def close(self) -> None:
        """Close the files, also after an error; a second time does nothing."""
        for sink in self.sinks:
            sink.close()

    def _check_folder(self, captioned: CaptionedFile) -> None:
        """Raise ConfigError rather than note a failure for each photo of a drive that is gone."""
        folder = Path(captioned.file).parent
        if captioned.error is not None and folder in self.folders and not os.path.isdir(folder):
            raise ConfigError(
                f"The folder {one_line(folder)} has vanished while its photos were captioned; the same command resumes "
                "when it is back."
            )


def _messages(outcomes: Iterable[Outcome]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(message for outcome in outcomes for message in outcome.messages))


def _kind_of(reason: str) -> str:
    """Return a failure's reason without what differs from photo to photo: details, advice and numbers."""
    kind = re.split(r"\s*[;(:]", reason, maxsplit=1)[0]
    return re.sub(r"\d[\d,.]*", "N", kind)
