"""Captions as text files beside their photos, as trainers of image models read them: ``--sidecar .txt``."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wordgaze.captioning.sinks.sink import EMPTY, CaptionedFile, Outcome
from wordgaze.data.listing import PHOTO_SUFFIXES, STDIN, Photo, is_address
from wordgaze.errors import ConfigError
from wordgaze.files import one_line, remove_leftovers, write_text

FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of the system that no later photo could be written after."""

_NOT_OURS = (*PHOTO_SUFFIXES, ".xmp")


def check_suffix(suffix: str) -> str:
    """Return the suffix of sidecars; raise ConfigError for what is none, or is that of other files."""
    if not re.fullmatch(r"\.[A-Za-z0-9_-]{1,20}", suffix):
        raise ConfigError(f"--sidecar is {suffix!r}; give a dot and letters, such as .txt.")
    if suffix.lower() in _NOT_OURS:
        raise ConfigError(f"--sidecar is {suffix!r}, which other files end with; give another one, such as .txt.")
    return suffix


class TextSidecars:
    """A sink of one line of text a photo, in a file of the photo's name with another suffix.

    ``existing``: ``skip`` leaves each sidecar that holds more than spaces, ``overwrite`` replaces them all.
    """

    name = "sidecars"

    def __init__(self, suffix: str, existing: Literal["skip", "overwrite"] = "skip") -> None:
        self._suffix, self._existing = check_suffix(suffix), existing

    def prepare(self, photos: Sequence[Photo]) -> None:
        """Raise ConfigError for photos that can't have a sidecar of their own."""
        owners: dict[str, Photo] = {}
        folders: dict[Path, str] = {}
        for photo in photos:
            if photo == STDIN:
                raise ConfigError("A photo on stdin has no sidecar; save it in a file, or leave out --sidecar.")
            path = Path(photo)
            if is_address(photo) or not path.name:
                continue
            folder = folders.setdefault(path.parent, os.path.realpath(path.parent))
            if path.suffix == self._suffix:
                raise ConfigError(f"{one_line(path)} would be its own sidecar; give another suffix than {path.suffix}.")
            owner = owners.setdefault(os.path.join(folder, self._sidecar(path).name), path)
            if Path(owner).name != path.name and not (os.path.isdir(owner) or path.is_dir()):
                raise ConfigError(
                    f"{one_line(owner)} and {one_line(path)} would share the sidecar {one_line(self._sidecar(path))}; "
                    "rename one of them, or leave it out with --exclude."
                )
        remove_leftovers(folders)

    def check(self, photo: Photo) -> Outcome | None:
        """Return what becomes of a photo whose sidecar is there, or can't be written; None if it needs one."""
        path = Path(photo)
        if is_address(photo) or not path.name:
            return None
        sidecar = self._sidecar(path)
        try:
            if sidecar.exists() and not sidecar.is_file():
                return _failed(sidecar, "is no regular file")
            with sidecar.open("rb") as file:
                has_text = any(line.strip() for line in file)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _failed(sidecar, f"can't be read ({error.strerror})")
        return Outcome("skipped") if has_text and self._existing == "skip" else None

    def write(self, captioned: CaptionedFile) -> Outcome:
        """Write a sidecar, whole or not at all; raise OSError where no later one could be written either."""
        if captioned.caption is None:
            return Outcome("failed", captioned.error)
        outcome = self.check(captioned.file)
        if outcome is not None:
            return outcome
        text = " ".join(str(captioned.caption).split())
        if not text:
            return EMPTY
        sidecar = self._sidecar(Path(captioned.file))
        try:
            write_text(sidecar, f"{text}\n", errors="replace")
        except OSError as error:
            if error.errno in FATAL:
                raise
            return _failed(sidecar, f"can't be written ({error.strerror})")
        return Outcome("written")

    def finish(self, *, complete: bool) -> None:
        """Do nothing: each sidecar is whole."""

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _sidecar(self, photo: Path) -> Path:
        return photo.with_suffix(self._suffix)


def _failed(sidecar: Path, what: str) -> Outcome:
    message = f"has the sidecar {one_line(sidecar)}, which {what}"
    return Outcome("failed", f"has a sidecar that {what}", (message,))
