"""The photos of a WebDataset tar, one after another, whatever the tar holds. Nothing is unpacked on the disk."""

from __future__ import annotations

import gzip
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

from wordgaze.captioning.shards.photo import ShardPhoto, SourcedPhotos, digest_of, source_of_bytes
from wordgaze.data.listing import COMPANIONS, PHOTO_SUFFIXES
from wordgaze.data.streams import reason_of
from wordgaze.errors import PhotoError
from wordgaze.files import one_line

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")

# As WebDataset splits a name: the key ends at the first dot of the last part.
_KEY = re.compile(r"((?:.*/)?[^./]+)\.[^/]*", re.DOTALL)
# No header of a photo is larger, but a lying one is read into memory at once.
_MAX_HEADER_BYTES = 256 * 1024
# Larger photos are decoded when they come, so that few wait in memory.
_MAX_WAITING_BYTES = 4 * 1024**2


def tar_stem(path: str | os.PathLike[str]) -> str | None:
    """Return a tar's name without its suffix; None for a name that is not a tar's."""
    name = os.path.basename(os.fspath(path))
    for suffix in TAR_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return None


def tar_photos(path: Path, start: int = 0, wanted: Callable[[int], bool] | None = None) -> SourcedPhotos:
    """Yield the photos of a tar, from that of index ``start`` on, and of those the ``wanted``.

    A photo is a member with a photo's suffix, not hidden. One that is not a regular file (a link, a device) comes with
    a PhotoError. What is wrong with the tar itself comes last, as a photo without a key's suffix: its key is the tar's
    stem, its path the tar's name. A photo's source must be read before the next photo is asked for, unless it is a
    function.
    """
    index = 0
    try:
        with closing(_open(path)) as tar:
            for info in _members(tar):
                if not _is_photo(info.name):
                    continue
                if index >= start and (wanted is None or wanted(index)):
                    photo = ShardPhoto(_key(info.name), f"{path.name}/{info.name}")
                    yield photo, _source(tar, info, photo)
                index += 1
        return
    except _Damaged as error:
        photo, error_of_tar = _tar_itself(path), PhotoError(str(error))
    except OSError as error:
        photo = _tar_itself(path)
        # gzip's own complaint has no number, unlike those of the system.
        photo.failed = error.errno is not None
        problem = reason_of(error) if photo.failed else "damaged or cut short"
        error_of_tar = PhotoError(f"can't be read to its end ({problem}); get the tar again, or try again")
    if index >= start and (wanted is None or wanted(index)):
        yield photo, error_of_tar


def is_of_tar(path_in_row: str) -> bool:
    """Return whether a row of a tar's shard tells of the tar itself, not of a photo in it."""
    return "/" not in path_in_row


def _tar_itself(path: Path) -> ShardPhoto:
    return ShardPhoto(tar_stem(path) or path.name, path.name)


class _Damaged(Exception):
    """A tar can't be read on; the text says why."""


class _BoundedFile:
    """A tar's file. While ``in_header``, no more is read at a time than a header may hold."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.in_header = True

    def read(self, size: int = -1) -> bytes:
        if self.in_header and not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header claims far more than there is")
        return self.file.read(size)

    def seek(self, *position: int) -> int:
        return self.file.seek(*position)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()


class _Tar:
    """An open tar and its file."""

    def __init__(self, file: _BoundedFile) -> None:
        self.file = file
        raw = cast(BinaryIO, file)
        self.tar = _guarded(lambda: tarfile.TarFile(fileobj=raw, mode="r", encoding="utf-8", errors="surrogateescape"))

    def close(self) -> None:
        self.file.close()


def _open(path: Path) -> _Tar:
    is_plain = path.name.lower().endswith(".tar")
    file = path.open("rb") if is_plain else cast(BinaryIO, gzip.GzipFile(path, "rb"))
    try:
        return _Tar(_BoundedFile(file))
    except BaseException:
        file.close()
        raise


def _guarded(step: Callable[[], Any]) -> Any:
    """Return a step's result; damage makes tarfile raise nearly anything."""
    try:
        return step()
    except OSError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _Damaged(f"is no tar, damaged or cut short ({reason[:100]}); get the tar again from its source") from None


def _members(opened: _Tar) -> Iterator[tarfile.TarInfo]:
    tar, file, offset = opened.tar, opened.file, -1
    while True:
        file.in_header = True
        info = _guarded(tar.next)
        file.in_header = False
        if info is None:
            break
        # A negative size leads back to a member that has been.
        if info.offset <= offset or info.size < 0:
            raise _Damaged("is damaged (its members overlap); get the tar again from its source")
        offset = info.offset
        yield info
        # tarfile keeps all members, however many there are.
        tar.members.clear()
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _Damaged("is damaged or cut short (it has no end mark); get the tar again from its source")


def _is_photo(name: str) -> bool:
    *folders, last = name.split("/")
    hidden = any(part.lower() in COMPANIONS or (part.startswith(".") and part not in (".", "..")) for part in folders)
    return os.path.splitext(last)[1].lower() in PHOTO_SUFFIXES and not hidden and not last.startswith(".")


def _key(name: str) -> str:
    match = _KEY.fullmatch(name)
    return name if match is None else match[1]


def _source(opened: _Tar, info: tarfile.TarInfo, photo: ShardPhoto) -> Any:
    """Return a photo's source; raise _Damaged where the tar ends within it."""
    if not info.isreg():
        kind = "a link" if info.issym() or info.islnk() else "a folder" if info.isdir() else "a device or a pipe"
        return PhotoError(f"is {kind} in the tar; store the photo itself")
    file = opened.tar.extractfile(info)
    try:
        if info.size <= _MAX_WAITING_BYTES:
            data = _guarded(file.read)
            if len(data) < info.size:
                return _cut(photo)
            return source_of_bytes(photo, data)
        photo.sha256 = _guarded(lambda: digest_of(file))
        file.seek(0)
        return file
    except _Damaged:
        return _cut(photo)


def _cut(photo: ShardPhoto) -> PhotoError:
    return PhotoError(f"is cut short by the end of the tar {one_line(photo.path.partition('/')[0])}; get the tar again")
