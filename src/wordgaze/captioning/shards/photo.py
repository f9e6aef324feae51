"""A photo of a shard, and how its bytes are read: in a reader's thread, with their SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from wordgaze.data.streams import open_file, reason_of
from wordgaze.errors import PhotoError

# Larger files are not held in memory besides their pixels.
_MAX_HELD_BYTES = 64 * 1024**2


@dataclass
class ShardPhoto:
    """What a row says of a photo besides its caption. Reading the photo fills in the fields after ``path``.

    ``failed``: the photo could not be read for a reason that is not its own. ``size``: width and height, upright.
    """

    key: str
    path: str
    sha256: str | None = None
    failed: bool = False
    size: tuple[int, int] | None = None


SourcedPhotos: TypeAlias = "Generator[tuple[ShardPhoto, Any]]"
"""Photos, each with what ``read_photos`` takes, or a PhotoError."""


def source_of_file(photo: ShardPhoto, file: Path | str) -> Callable[[], Any]:
    """Return a function that reads a file, and fills in ``photo.sha256``; it raises PhotoError."""
    return partial(_read_file, photo, file)


def source_of_bytes(photo: ShardPhoto, data: bytes) -> Callable[[], bytes]:
    """Return a function that returns ``data``, and fills in ``photo.sha256``."""
    return partial(_hash_bytes, photo, data)


def digest_of(file: BinaryIO) -> str:
    """Return the SHA-256 of a file from its position on."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _hash_bytes(photo: ShardPhoto, data: bytes) -> bytes:
    photo.sha256 = hashlib.sha256(data).hexdigest()
    return data


def _read_file(photo: ShardPhoto, path: Path | str) -> Any:
    photo.failed = True
    try:
        with open_file(path) as file:
            data = file.read(_MAX_HELD_BYTES + 1)
            if len(data) > _MAX_HELD_BYTES:
                file.seek(0)
                photo.sha256 = digest_of(file)
                photo.failed = False
                return os.fspath(path)
    except OSError as error:
        raise PhotoError(f"can't be read ({reason_of(error)}); try again, or get the file again") from None
    photo.failed = False
    return _hash_bytes(photo, data)
