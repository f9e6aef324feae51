"""What is captioned shard by shard: tars, or a list of photos cut into shards of 10,000."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wordgaze.captioning.shards.photo import ShardPhoto, SourcedPhotos, source_of_file
from wordgaze.captioning.shards.tars import TAR_SUFFIXES, tar_photos, tar_stem
from wordgaze.data.listing import STDIN, Photo
from wordgaze.data.streams import reason_of
from wordgaze.errors import ConfigError
from wordgaze.files import AnyPath, one_line

PHOTOS_PER_SHARD = 10_000
"""As img2dataset has it."""


class Shard(Protocol):
    """A part of the input that gets files of its own in the output folder, of this ``name``."""

    @property
    def name(self) -> str: ...

    def identity(self) -> dict[str, Any]:
        """Return what tells this input from a changed one, without reading it."""

    def photos(self, start: int = 0, wanted: Callable[[int], bool] | None = None) -> SourcedPhotos:
        """Yield the photos from that of index ``start`` on, and of those the ``wanted``."""


@dataclass(frozen=True)
class TarShard:
    """A tar as a shard. ``modified``: in whole seconds, since not all file systems know parts of them."""

    name: str
    path: Path
    bytes: int
    modified: int

    def identity(self) -> dict[str, Any]:
        return {"bytes": self.bytes, "modified": self.modified}

    def photos(self, start: int = 0, wanted: Callable[[int], bool] | None = None) -> SourcedPhotos:
        return tar_photos(self.path, start, wanted)


@dataclass(frozen=True)
class ListShard:
    """A part of a list of photos as a shard; a photo's key is the shard's name with its number in the shard."""

    name: str
    files: Sequence[Photo]

    def identity(self) -> dict[str, Any]:
        return {"photos": len(self.files), "first": str(self.files[0]), "last": str(self.files[-1])}

    def photos(self, start: int = 0, wanted: Callable[[int], bool] | None = None) -> SourcedPhotos:
        for index in range(start, len(self.files)):
            if wanted is None or wanted(index):
                photo = ShardPhoto(f"{self.name}{index:04}", str(self.files[index]))
                yield photo, source_of_file(photo, self.files[index])


def digest_of_names(files: Sequence[Photo]) -> str:
    """Return what tells a list of photos from another one."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file) + b"\0")
    return digest.hexdigest()


def tar_shards(paths: Sequence[AnyPath]) -> list[TarShard]:
    """Return tars as shards; raise ConfigError for two of one name, and for what is no tar or can't be looked at."""
    shards: dict[str, TarShard] = {}
    for path in paths:
        name = tar_stem(path)
        if name is None:
            raise ConfigError(
                f"{one_line(path)} is not a tar ({', '.join(TAR_SUFFIXES)}), but other arguments are; name either tars "
                "or photos."
            )
        if name in shards:
            raise ConfigError(
                f"{one_line(shards[name].path)} and {one_line(path)} would both be written as {one_line(name)}; rename "
                "one of them, or give them output folders of their own."
            )
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"The tar {one_line(path)} can't be read ({reason_of(error)}); check the path.") from None
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"The tar {one_line(path)} is not a file; name a tar.")
        shards[name] = TarShard(name, Path(path), status.st_size, int(status.st_mtime))
    return list(shards.values())


def list_shards(files: Sequence[Photo], size: int = PHOTOS_PER_SHARD) -> list[ListShard]:
    """Return photos as shards of ``size``: 00000, 00001, ...; raise ConfigError for stdin."""
    if STDIN in files:
        raise ConfigError("A photo on stdin has no name to write into a shard; save it in a file first.")
    starts = range(0, len(files), size)
    return [ListShard(f"{number:05}", files[start : start + size]) for number, start in enumerate(starts)]


def dealt(shards: Sequence[Shard], index: int, count: int) -> list[Shard]:
    """Return the shards of the machine ``index`` of ``count``: whole shards, dealt in turn."""
    return list(shards[index::count])
