"""The photos that a user names: files, folders without what is hidden or excluded, lists of files, stdin."""

from __future__ import annotations

import codecs
import fnmatch
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from wordgaze.errors import ConfigError
from wordgaze.files import AnyPath, one_line

# fmt: off
PHOTO_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".gif",
    ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".pbm", ".pgm", ".ppm", ".pnm",
))

# Folders that systems keep for themselves beside people's photos, without a dot before their names: thumbnails,
# snapshots and bins of a NAS (Synology's @eaDir, QNAP's @Recycle), of Windows, and what macOS puts into archives.
COMPANIONS = frozenset((
    "__macosx", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "~snapshot",
    "$recycle.bin", "recycler", "system volume information", "lost+found", "found.000", "lost.dir",
))
# fmt: on

STDIN = "-"

Photo: TypeAlias = "Path | str"
"""A file; or a text: ``-`` for stdin, or an address, which would lose a slash as a path."""

_Kind: TypeAlias = Literal["file", "folder", "link to a folder", "pipe, socket or device"]
_FOLDERS = ("folder", "link to a folder")

SHOWN_SUFFIXES = 8
"""How many of the suffixes that were left out are named, the most frequent first."""

# A Path of "https://a/b" is "https:/a/b". One letter before the colon is a drive of Windows.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)
_SUFFIX = re.compile(r"\.[a-z0-9_+-]{1,12}")  # what follows the last dot of a sentence is a part of the name
_OTHER = "of other kinds"
_PLURALS = {
    "hidden photo": "hidden photos",
    "hidden folder": "hidden folders",
    "excluded photo": "excluded photos",
    "excluded folder": "excluded folders",
    "link to a folder": "links to folders",
    "pipe, socket or device": "pipes, sockets or devices",
}


def is_address(path: AnyPath) -> bool:
    """Return whether ``path`` looks like ``https://...``, ``s3://...`` or ``data:...`` rather than a file's name."""
    return _ADDRESS.match(os.fspath(path)) is not None


def why_missing(path: AnyPath) -> str:
    """Return what is wrong with a ``path`` that is missing, and what to do."""
    if is_address(path):
        return "is an address, and addresses are not fetched; download it first, and name the file"
    if os.path.islink(path):
        return "is a link that leads nowhere; check what it points to"
    return "no such file; check the path"


def as_photo(name: AnyPath) -> Photo:
    """Return what a ``name`` stands for: ``-`` and addresses stay texts, all else is a path."""
    return name if isinstance(name, str) and (name == STDIN or is_address(name)) else Path(name)


class Exclusion:
    """The patterns of ``--exclude``.

    A pattern is a glob, compared with a file's or folder's name, or, if it holds a slash, with the path inside the
    folder that was named and with the path as it is shown, where ``*`` matches slashes, too; case counts. ``raw/`` is
    for folders only, ``/raw`` for the upper level, ``**/raw/*.jpg`` for all.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        globs: dict[tuple[bool, bool], list[str]] = {}
        for pattern in patterns:
            glob = pattern.removeprefix(".") if pattern.startswith("./") else pattern
            glob, is_path, folders_only = glob.strip("/"), "/" in glob.rstrip("/"), glob.endswith("/")
            if not glob:
                raise ConfigError(f"--exclude {pattern!r} matches nothing; give a name or a glob, like '*.gif'.")
            deep = "(?:.*/)?" if glob.startswith("**/") else ""
            for folder in (True,) if folders_only else (True, False):
                globs.setdefault((folder, is_path), []).append(deep + fnmatch.translate(glob.removeprefix("**/")))
        self._globs = {key: re.compile("|".join(group), re.DOTALL) for key, group in globs.items()}

    def __bool__(self) -> bool:
        return bool(self._globs)

    def __call__(self, name: str, *paths: str, folder: bool = False) -> bool:
        """Return whether a file or ``folder`` of this ``name``, and of these ``paths``, is excluded."""
        by_name, by_path = self._globs.get((folder, False)), self._globs.get((folder, True))
        if by_name is not None and by_name.match(name):
            return True
        slashed = (path.replace(os.sep, "/").lstrip("/") for path in paths)
        return by_path is not None and any(map(by_path.match, slashed))

    def of_any_part(self, photo: Path) -> bool:
        """Return whether a photo that was named is excluded, itself or by one of the folders in its path."""
        folders = (part for part in photo.parents if part.name)
        return self(photo.name, str(photo)) or any(self(part.name, str(part), folder=True) for part in folders)


@dataclass
class Listing:
    """The photos that were named, in their order, and what else their folders hold.

    ``left_out``: how many files of each suffix, or of each kind in ``_PLURALS``. ``spared``: the photos among them, of
    folders that were searched. ``empty``: how many of ``photos`` are folders without any, and so failures.
    """

    photos: list[Photo] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    spared: list[Path] = field(default_factory=list)
    empty: int = 0

    def describe_left_out(self) -> str:
        """Return "7 .dng, 1 hidden photo": counts, no names; empty where nothing was left out."""
        suffixes = [(key, count) for key, count in self.left_out.items() if key not in (*_PLURALS, _OTHER)]
        suffixes.sort(key=lambda item: (-item[1], item[0]))
        parts = [f"{count:,} {key}" for key, count in suffixes[:SHOWN_SUFFIXES]]
        if others := self.left_out[_OTHER] + sum(count for _, count in suffixes[SHOWN_SUFFIXES:]):
            parts.append(f"{others:,} {_OTHER}")
        for key, plural in _PLURALS.items():
            if count := self.left_out[key]:
                parts.append(f"{count:,} {key if count == 1 else plural}")
        return ", ".join(parts)


def find_photos(folder: AnyPath) -> list[Path]:
    """Return the photos in ``folder``, recursively, by code point; hidden ones are left out.

    A folder inside it that can't be listed is among them: opening it fails with a sentence.
    """
    return [Path(photo) for photo in sorted(_search(str(Path(folder)), Listing(), Exclusion(), hidden=False))]


def holds_photos(folder: AnyPath) -> bool:
    """Return whether :func:`find_photos` finds any."""
    return next(_search(str(Path(folder)), Listing(), Exclusion(), hidden=False), None) is not None


def photos_in(
    paths: Sequence[AnyPath],
    lists: Sequence[AnyPath] = (),
    *,
    hidden: bool = False,
    exclude: Iterable[str] = (),
) -> Listing:
    """Return the photos that a command's arguments name, in their order; raise ConfigError when there are none.

    ``paths``: photos, folders, ``-``; ``lists``: files that name photos and folders (:func:`read_list`), after
    ``paths``. In folders, hidden and companion files and folders are left out, unless ``hidden``, and what ``exclude``
    matches (:class:`Exclusion`), which also leaves out photos that were named, by any part of their path, though not a
    folder that was named. Links to folders inside a folder are not followed. A path that does not exist stays in the
    list, and so does a folder without photos: opening it fails with a sentence.
    """
    names, list_names = [os.fspath(path) for path in paths], [os.fspath(file) for file in lists]
    if [*names, *list_names].count(STDIN) > 1:
        raise ConfigError("stdin can be read only once; give - or --files-from -, and give it once.")
    exclusion, listing = Exclusion(exclude), Listing()
    listed = [name for file in lists for name in read_list(file)]
    for index, name in enumerate([*names, *listed]):
        if name == STDIN and index < len(names):  # in a list it is a file of that name
            listing.photos.append(STDIN)
        else:
            _add(name, listing, exclusion, hidden=hidden)
    if len(listing.photos) == listing.empty:
        raise ConfigError(_no_photos([*names, *list_names], listing))
    return listing


def read_list(file: AnyPath) -> list[str]:
    """Return the names in a file (``-``: stdin), one a line, or separated by NULs if it holds one; raises ConfigError.

    Names start from the current folder. Blank lines are skipped; line ends may be those of Windows.
    """
    data = _read_stdin_list() if file == STDIN else _read_list_file(file)
    if encoding := _utf_16(data):
        data = data.decode(encoding, errors="replace").encode("utf-8", errors="surrogateescape")
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        raise ConfigError(f"{one_line(file)} is a photo, not a list of photos; leave out --files-from.")
    data = data.removeprefix(codecs.BOM_UTF8)
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    names = [os.fsdecode(line) for line in lines if line.strip()]
    if not names:
        named = "stdin" if file == STDIN else one_line(file)
        raise ConfigError(f"The list {named} is empty; write one photo's path in each line.")
    return names


def _utf_16(data: bytes) -> str:
    """Return the encoding of a list in UTF-16, empty for others."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # PowerShell's `>`
        return "utf-16"
    # Without a mark each of its letters would be a name, `/` among them; no list of names has a name of a dot.
    for encoding, zeros, letters in (
        ("utf-16-le", data[1::2], data[::2]),
        ("utf-16-be", data[::2], data[1::2]),
    ):
        if len(data) % 2 == 0 and b"." in letters and zeros and not zeros.strip(b"\0"):
            return encoding
    return ""


def _read_list_file(file: AnyPath) -> bytes:
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"The list {one_line(file)} does not exist; check the path.") from None
    except OSError as error:
        raise ConfigError(f"The list {one_line(file)} can't be read ({error.strerror}); name a file.") from None


def _read_stdin_list() -> bytes:
    if sys.stdin is None:
        raise ConfigError("stdin is closed; pipe a list of photos into it.")
    return sys.stdin.buffer.read()


def _no_photos(names: Sequence[str], listing: Listing) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    named = ", ".join(one_line(name) for name in names[:3]) + more
    left_out = listing.describe_left_out()
    but = f" (left out: {left_out})" if left_out else ""
    hidden = ", or include hidden ones (--hidden)" if "hidden" in left_out else ""
    return f"There are no photos in {named}{but}; name photos, or a folder that holds some{hidden}."


def _add(name: str, listing: Listing, exclusion: Exclusion, *, hidden: bool) -> None:
    """Add to ``listing`` the photos that the path ``name`` stands for."""
    if not name:
        raise ConfigError("A path is empty; name a photo, or . for the current folder.")
    photo = name if is_address(name) else Path(name)
    if os.path.isdir(name):
        before = listing.left_out.copy()
        photos = sorted(_search(str(photo), listing, exclusion, hidden=hidden))
        listing.photos += map(Path, photos)
        if not photos and not _explained(listing.left_out - before):
            listing.photos.append(photo)
            listing.empty += 1
    elif exclusion and exclusion.of_any_part(Path(photo)):
        listing.left_out["excluded photo"] += 1
        listing.spared.append(Path(photo))
    else:
        listing.photos.append(photo)


def _explained(left_out: Counter[str]) -> bool:
    """Return whether a folder without photos was meant to give none: they were hidden, or excluded."""
    return any(key.startswith(("hidden", "excluded")) for key in left_out)


def _search(top: str, listing: Listing, exclusion: Exclusion, *, hidden: bool) -> Iterator[str]:
    """Yield the photos below ``top``, and the folders that can't be listed; count in ``listing`` what is left out."""
    start = "" if top == os.curdir else os.path.join(top, "")
    folders = [""]
    while folders:
        inside = folders.pop()
        try:
            with os.scandir(start + inside or os.curdir) as entries:
                for entry in entries:
                    path, kind = inside + entry.name, _kind(entry)
                    excluded = bool(exclusion) and exclusion(entry.name, path, start + path, folder=kind in _FOLDERS)
                    reason = _reason(entry.name, kind, excluded=excluded, hidden=hidden)
                    if reason is None and kind == "folder":
                        folders.append(path + os.sep)
                    elif reason is None:
                        yield start + path
                    elif reason:
                        listing.left_out[reason] += 1
                        if kind == "file" and reason in _PLURALS:
                            listing.spared.append(Path(start + path))
        except OSError:
            yield (start + inside).rstrip(os.sep) or top


def _reason(name: str, kind: _Kind, *, excluded: bool, hidden: bool) -> str | None:
    """Return why an entry of a folder is left out, empty where nobody would miss it; None if it is taken."""
    folder = kind in _FOLDERS
    suffix = os.path.splitext(name)[1].lower()
    is_photo = suffix in PHOTO_SUFFIXES
    what = "folder" if folder else "photo" if is_photo else ""
    if excluded:
        return what and f"excluded {what}"
    if not hidden and (name.startswith(".") or (folder and name.lower() in COMPANIONS)):
        return what and f"hidden {what}"
    if kind == "folder" or (kind == "file" and is_photo):
        return None
    if kind != "file" and (folder or is_photo):
        return kind
    if not suffix:
        return "without a suffix"
    return suffix if _SUFFIX.fullmatch(suffix) else _OTHER


def _kind(entry: os.DirEntry[str]) -> _Kind:
    """Return what an entry is; a link that leads nowhere is a file, so that opening it says so."""
    try:
        if entry.is_dir():
            return "link to a folder" if entry.is_symlink() else "folder"
        if entry.is_file() or not os.path.exists(entry.path):
            return "file"
    except OSError:  # a link that can't be followed
        return "file"
    return "pipe, socket or device"
