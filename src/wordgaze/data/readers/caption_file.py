"""A reader's input and output."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from wordgaze.data.json_file import PhotoId, read_object
from wordgaze.errors import DataError

CAPTIONS = (
    "name captions in COCO's format, a JSON object with images and annotations, or in Karpathy's, or a folder of "
    "photos with a .txt beside each"
)
"""What to do about a file of another kind."""

NO_FILE = Path()
"""The path of a photo whose file is not named."""


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo's file, and captions that people wrote for it."""

    photo_id: PhotoId
    path: Path
    captions: tuple[str, ...]


class CaptionFile:
    """A reader's input: the file or folder, the folder of its photos, and the split to read (None: all).

    ``needs_files``: whether a photo must have a file name; references need none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        split: str | None = None,
        needs_files: bool = True,
    ) -> None:
        self.path, self.split, self.needs_files = Path(path), split, needs_files
        if not self.path.exists():
            raise DataError(f"{path}: no such file or folder; check the path of the captions.")
        if root is not None:
            self.root = Path(root)
        elif self.path.is_dir():
            self.root = self.path
        else:
            photos = self.path.parent / "photos"
            self.root = photos if photos.is_dir() else self.path.parent
        if not self.root.is_dir():
            raise DataError(f"{root}: no such folder; name the one with the photos of {path}.")

    @cached_property
    def json(self) -> dict[str, Any]:
        return read_object(self.path, CAPTIONS)


def _no_splits(file: CaptionFile) -> tuple[str, ...]:
    return ()


class Reader(NamedTuple):
    """One format: whether a file is of it, its photos with their captions as they stand, and its splits."""

    recognizes: Callable[[CaptionFile], bool]
    read: Callable[[CaptionFile], list[CaptionedPhoto]]
    splits: Callable[[CaptionFile], tuple[str, ...]] = _no_splits
