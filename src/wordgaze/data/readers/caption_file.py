"""A reader's input and output."""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from wordgaze.data.json_file import PhotoId, object_of
from wordgaze.data.packed import PackedPhoto
from wordgaze.data.text_file import beginning_of, read_bytes, text_of
from wordgaze.errors import ConfigError, DataError

CAPTIONS = (
    "name captions in COCO's format, a JSON object with images and annotations, or in Karpathy's, a table whose "
    "columns are known or named, tar shards, or a folder of photos with a .txt beside each"
)
"""What to do about a file of another kind."""

NO_FILE = Path()
"""The path of a photo whose file is not named."""

LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line in a file of rows, and nothing else: a caption may hold U+2028."""

_BEGINNING = 64 * 1024
_METADATA = ("metadata.jsonl", "metadata.csv", "captions.txt")
"""What holds the captions of the folder that it lies in."""
_SHARDS = ("*.tar", "*.parquet", "data/*.parquet")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo's file, and captions that people wrote for it.

    Of a photo that is ``packed`` in a larger file, ``path`` is that file's with the photo's name in it.
    """

    photo_id: PhotoId
    path: Path
    captions: tuple[str, ...]
    packed: PackedPhoto | None = None

    @property
    def source(self) -> Path | PackedPhoto:
        """Return what to open: see :func:`wordgaze.data.photos.open_photo`."""
        return self.path if self.packed is None else self.packed

    def is_there(self) -> bool:
        return self.packed is not None or self.path.is_file()


class CaptionFile:
    """A reader's input: the file or folder, the folder of its photos, and the split to read (None: all).

    ``needs_files``: whether a photo must have a file name; references need none. ``columns``: the names of a table's
    columns of photos and of captions, where they have names of their own. ``files``: the shards of ``path``, which may
    be a folder of them or a pattern such as ``train-*.tar`` or ``train-{0000..0099}.tar``; else ``path`` alone. Of a
    folder with a ``metadata.jsonl`` or ``metadata.csv``, that is the path.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        split: str | None = None,
        needs_files: bool = True,
        columns: Sequence[str] = (),
    ) -> None:
        if len(columns) not in (0, 2):
            raise ConfigError(
                f"{path}: columns are {', '.join(columns)}; give two, that of photos and that of captions."
            )
        self.path, self.split, self.needs_files, self.columns = Path(path), split, needs_files, tuple(columns)
        if self.path.is_dir():
            metadata = (self.path / name for name in _METADATA)
            self.path = next((file for file in metadata if file.is_file() and _is_metadata(file)), self.path)
        self.files = _shards(self.path)
        self.has_root = root is not None
        if root is not None:
            self.root = Path(root)
        elif self.path.is_dir():
            self.root = self.path
        else:
            folder = self.files[0].parent
            photos = folder / "photos"
            self.root = photos if photos.is_dir() else folder
        if not self.root.is_dir():
            raise DataError(f"{root}: no such folder; name the one with the photos of {path}.")

    @property
    def is_folder(self) -> bool:
        """Return whether it is a folder of photos, rather than one of shards."""
        return self.path.is_dir() and self.files == (self.path,)

    @cached_property
    def _piped(self) -> bytes | None:
        """The bytes of a pipe, which can be read only once; None of a file."""
        file = self.files[0]
        return read_bytes(file) if file.exists() and stat.S_ISFIFO(file.stat().st_mode) else None

    @cached_property
    def head(self) -> bytes:
        """The first bytes of the file, of the first shard of several; empty of a folder."""
        if self._piped is not None:
            return self._piped[:_BEGINNING]
        try:
            with self.files[0].open("rb") as file:
                return file.read(_BEGINNING)
        except OSError:  # said when the whole file is read
            return b""

    @cached_property
    def beginning(self) -> str:
        """The first characters of the file, to tell what it is."""
        return beginning_of(self.head).lstrip()

    @cached_property
    def first_object(self) -> dict[str, Any] | None:
        """The object that the first line is, None where it is none."""
        line = LINE_END.split(self.beginning, maxsplit=1)[0]
        try:
            value = json.loads(line) if line.startswith("{") else None
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    @property
    def holds_object(self) -> bool:
        """Return whether it begins as one JSON object, rather than as a line of several."""
        lines = [line for line in LINE_END.split(self.beginning) if line.strip()][:2]
        return self.beginning[:1] == "{" and (self.first_object is None or len(lines) < 2)

    def text(self) -> str:
        """Return the whole text; raises DataError."""
        return text_of(self.path, read_bytes(self.path) if self._piped is None else self._piped)

    @cached_property
    def json(self) -> dict[str, Any]:
        return object_of(self.path, self.text(), CAPTIONS)


def _is_metadata(file: Path) -> bool:
    """Return whether a file holds the captions of its folder, rather than of one photo in it: photo.jpg, photo.txt."""
    if file.suffix != ".txt":
        return True
    with file.open("rb") as opened:
        return re.match(r"\s*image,caption\s", beginning_of(opened.read(200))) is not None


def _shards(path: Path) -> tuple[Path, ...]:
    """Return the files that a path stands for: the shards of a folder, or of a pattern; raise DataError for none."""
    if path.is_dir():
        for pattern in _SHARDS:
            if shards := sorted(path.glob(pattern)):
                return tuple(shards)
        return (path,)
    if path.exists():
        return (path,)
    name = str(path)
    if match := _RANGE.search(name):
        first, last = match.groups()
        if not 0 <= int(last) - int(first) < 1_000_000:
            raise DataError(f"{path}: {match[0]} is no range; write it as {{0000..0099}}.")
        numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
        shards = [Path(name.replace(match[0], number, 1)) for number in numbers]
        missing = [shard for shard in shards if not shard.is_file()]
        if missing:
            raise DataError(f"{path}: {len(missing)} of {len(shards)} files are missing, the first is {missing[0]}.")
        return tuple(shards)
    if glob.has_magic(name):
        shards = sorted(map(Path, glob.glob(name)))
        if shards:
            return tuple(shards)
        raise DataError(f"{path}: no file matches; check the pattern, and the folder it is meant for.")
    raise DataError(f"{path}: no such file or folder; check the path of the captions.")


def _no_splits(file: CaptionFile) -> tuple[str, ...]:
    return ()


class Reader(NamedTuple):
    """One format: whether a file is of it, its photos with their captions as they stand, its splits, and its name."""

    recognizes: Callable[[CaptionFile], bool]
    read: Callable[[CaptionFile], Iterable[CaptionedPhoto]]
    splits: Callable[[CaptionFile], tuple[str, ...]] = _no_splits
    title: str = ""
