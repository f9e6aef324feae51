"""What a reader gets, and what it gives."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from wordgaze.data.json_file import PhotoId, read_object
from wordgaze.errors import DataError


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo's file and what people said about it."""

    photo_id: PhotoId
    path: Path
    captions: tuple[str, ...]


class CaptionFile:
    """What a reader gets: the file or folder, where its photos start, and the wanted split (all if None)."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        split: str | None = None,
    ) -> None:
        self.path, self.split = Path(path), split
        if not self.path.exists():
            raise DataError(f"{path}: no such file or folder; check the path of the captions")
        if root is not None:
            self.root = Path(root)
        elif self.path.is_dir():
            self.root = self.path
        else:
            beside = self.path.parent / "photos"
            self.root = beside if beside.is_dir() else self.path.parent
        if not self.root.is_dir():
            raise DataError(f"{root}: no such folder; set root to where the photos of {path} are")

    @cached_property
    def json(self) -> dict[str, Any]:
        return read_object(self.path)


class Reader(NamedTuple):
    """One format: whether a file is of it, and its photos with their captions as they stand in the file."""

    recognizes: Callable[[CaptionFile], bool]
    read: Callable[[CaptionFile], list[CaptionedPhoto]]
    has_splits: bool = False
