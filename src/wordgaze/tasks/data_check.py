"""What `wordgaze data check` does: opens every photo, reads every caption, and returns what is wrong."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wordgaze.captioning.pipeline import THREADS, read_photos
from wordgaze.data.check.captions import check_captions
from wordgaze.data.check.contents import TRAINING, Contents, read_contents
from wordgaze.data.check.findings import KINDS, Finding
from wordgaze.data.check.fingerprint import fingerprint, max_reduction
from wordgaze.data.check.near_duplicates import NONE, FingerprintTable, near_duplicates
from wordgaze.data.packed import PackedPhoto
from wordgaze.data.photo_table import PhotoTable
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import DataError
from wordgaze.files import one_line

_AHEAD = 8 * THREADS


@dataclass(frozen=True)
class CheckOptions:
    """As of a Source: ``root``, ``format``, ``split`` and ``columns`` of the set, ``against_root`` of the other one."""

    against: str | None = None
    root: str | None = None
    against_root: str | None = None
    format: str = "auto"
    split: str | None = None
    columns: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataCheck:
    """A checked set, the set that it was compared with, and the findings by kind, in the order of KINDS."""

    contents: Contents
    against: Contents | None
    findings: dict[str, list[Finding]]

    @property
    def captions(self) -> int:
        return sum(len(photo.captions) for photo in self.contents.photos)

    def count(self, *, wrong: bool) -> int:
        """Return how many findings are wrong, or else doubtful."""
        return sum(len(findings) for kind, findings in self.findings.items() if KINDS[kind].wrong == wrong)

    def to_dict(self) -> dict[str, object]:
        """Return the check for JSON."""
        return {
            "path": str(self.contents.path),
            "against": None if self.against is None else str(self.against.path),
            "format": self.contents.format,
            "photos": len(self.contents.photos),
            "captions": self.captions,
            "wrong": self.count(wrong=True),
            "doubtful": self.count(wrong=False),
            "counts": {kind: len(findings) for kind, findings in self.findings.items()},
            "findings": [finding.to_dict() for findings in self.findings.values() for finding in findings],
        }


class _Row(NamedTuple):
    """A photo to compare; ``split``: the other set's file if it is of that one, and so not ``is_checked``."""

    photos: PhotoTable
    number: int
    split: str
    is_checked: bool

    @property
    def photo(self) -> CaptionedPhoto:
        return self.photos[self.number]


class DataChecker:
    """Reads the annotations when it is made; ``paths`` are the photos that ``check`` will open."""

    def __init__(self, path: str, options: CheckOptions) -> None:
        self.options = options
        self.contents = read_contents(path, options.root, options.format, options.split, options.columns)
        if not self.contents.photos and not self.contents.findings:
            raise DataError(f"{one_line(path)} holds no captioned photos; name a file or folder of captions.")
        self.against = None if options.against is None else read_contents(options.against, options.against_root)
        self._rows = list(_rows(self.contents, self.against))
        # A set may list a photo more than once, under several ids.
        self._first: dict[str, int] = {}
        self._again: defaultdict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(self._rows):
            first = self._first.setdefault(str(row.photo.path), number)
            if first != number:
                self._again[first].append(number)

    @property
    def paths(self) -> Sequence[str]:
        return list(self._first)

    @property
    def inputs(self) -> list[Path]:
        """Return the files that hold the annotations, and photos that are no files of their own."""
        return [file for each in (self.contents, self.against) if each is not None for file in each.file.files]

    def check(self, on_photo: Callable[[], None] = lambda: None) -> DataCheck:
        """Return what is wrong; ``on_photo`` is called after each photo."""
        findings: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in self._all_findings(on_photo):
            if finding.kind not in self.options.ignore:
                findings[finding.kind].append(finding)
        return DataCheck(self.contents, self.against, {kind: findings[kind] for kind in KINDS if kind in findings})

    def _all_findings(self, on_photo: Callable[[], None]) -> Iterator[Finding]:
        yield from self.contents.findings
        if self.against is not None:
            yield from self.against.findings
        yield from check_captions(self.contents.photos)
        table = FingerprintTable(len(self._rows))
        yield from self._open_photos(table, on_photo)
        yield from self._duplicates(table)

    def _open_photos(self, table: FingerprintTable, on_photo: Callable[[], None]) -> Iterator[Finding]:
        splits = {split: number for number, split in enumerate(dict.fromkeys(row.split for row in self._rows))}
        sources = ((number, self._rows[number].photo.source) for number in self._first.values())
        with closing(read_photos(sources, fingerprint, ahead=_AHEAD, max_reduction=max_reduction)) as photos:
            for photo in photos:
                captioned = self._rows[photo.label].photo
                kind, messages = "odd-photo", list(photo.warnings)
                if photo.error is not None:
                    kind = "unreadable-photo" if captioned.is_there() else "missing-photo"
                    messages = [str(photo.error)]
                for number in (photo.label, *self._again.get(photo.label, ())):
                    row = self._rows[number]
                    if photo.content is not None:
                        table.set(number, photo.content, splits[row.split])
                    index = row.number if row.is_checked else None
                    yield from (Finding(kind, str(captioned.path), message, index) for message in messages)
                on_photo()

    def _duplicates(self, table: FingerprintTable) -> Iterator[Finding]:
        near, digests = near_duplicates(table), self._digests(table)
        first_of: dict[tuple[str, bytes], int] = {}
        for number, row in enumerate(self._rows):
            digest = digests.get(number)
            first = number if digest is None else first_of.setdefault((row.split, digest), number)
            across, within = int(near.across[number]), int(near.within[number])
            if not row.is_checked:
                continue
            # Of two the later is the one to leave out: held-out photos come first.
            if NONE != across < number:
                yield self._pair("across-splits", number, across, table, digests)
            if first != number:
                yield self._pair("same-photo", number, first, table, digests)
            elif within != NONE:
                yield self._pair("near-duplicate", number, within, table, digests)

    def _pair(self, kind: str, number: int, other: int, table: FingerprintTable, digests: dict[int, bytes]) -> Finding:
        row, first = self._rows[number], self._rows[other]
        photo, earlier = row.photo, first.photo
        name, where = str(earlier.path), "" if first.split == row.split else f" of {first.split}"
        bits, mirrored = table.difference(number, other)
        if photo.path == earlier.path:
            message = f"is listed twice (ids {earlier.photo_id!r}{where} and {photo.photo_id!r})"
        elif number in digests and digests[number] == digests.get(other):
            message = f"is the same file as {name}{where}"
        else:
            message = (
                f"is nearly the same as {name}{where} ({'mirrored; ' if mirrored else ''}{bits} of 64 bits differ)"
            )
        return Finding(kind, str(photo.path), message, row.number, other=name)

    def _digests(self, table: FingerprintTable) -> dict[int, bytes]:
        """Return a digest of the file of each photo whose fingerprint another has, too; others can't be the same."""
        counts = Counter(table.bits[table.known].tolist())
        of_paths: dict[str, bytes] = {}
        digests = {}
        for number in np.flatnonzero(table.known).tolist():
            if counts[int(table.bits[number])] > 1:
                photo = self._rows[number].photo
                path = str(photo.path)
                digests[number] = of_paths[path] = of_paths.get(path) or _digest(photo.source)
        return digests


def _rows(contents: Contents, against: Contents | None) -> Iterator[_Row]:
    """Yield the photos of both sets: first the other set's, then those that are held out, then those to train on."""
    if against is not None:
        name = str(against.path)
        yield from (_Row(against.photos, index, name, False) for index in range(len(against.photos)))
    splits = ["train" if split in TRAINING else split for split in contents.splits]
    rows = (_Row(contents.photos, index, split, True) for index, split in enumerate(splits))
    yield from sorted(rows, key=lambda row: row.split in TRAINING)


def _digest(source: Path | PackedPhoto) -> bytes:
    if not isinstance(source, Path):
        return hashlib.sha256(source.read()).digest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
