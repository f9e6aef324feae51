"""Which photos a user means: files, folders without what is hidden or excluded, lists of files, stdin."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

# fmt: off
PHOTO_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".gif",
    ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".pbm", ".pgm", ".ppm", ".pnm",
))
# fmt: on

# A Path of "https://a/b" is "https:/a/b". One letter before the colon is a drive of Windows.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)


def is_address(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` looks like ``https://...``, ``s3://...`` or ``data:...`` rather than a file's name."""
    return _ADDRESS.match(os.fspath(path)) is not None


def why_missing(path: str | os.PathLike[str]) -> str:
    """Return what is wrong with a ``path`` that is not there, and what to do."""
    if is_address(path):
        return "is an address, and addresses are not fetched; download it first, and name the file"
    if os.path.islink(path):
        return "is a link that leads nowhere; check what it points to"
    return "no such file; check the path"


def find_photos(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The photos that ``paths`` mean: files in their order, a folder's photos recursively by code point.

    A path that does not exist stays in the list, and so does a folder that can't be listed: opening it says
    so. Links to folders inside a folder are not followed.
    """
    photos: list[Path] = []
    for path in paths:
        if not os.path.isdir(path):
            photos.append(Path(path))
            continue
        unreadable: list[OSError] = []
        found = [
            Path(folder, name)
            for folder, _, names in os.walk(path, onerror=unreadable.append)
            for name in names
            if os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES
        ]
        found += [Path(error.filename) for error in unreadable]
        photos += sorted(found, key=str)
    return photos
