"""WebDataset's tar shards: the files of a photo have one name up to its first dot, as ``0001.jpg`` and ``0001.txt``.

Archives are read once for their list of members; a photo is then read from where it lies. So the order of training, and
where it resumes, are those of a folder of the same photos; and archives that are compressed, where nothing can be read
from the middle, are refused.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wordgaze.data.json_file import json_of
from wordgaze.data.listing import COMPANIONS, PHOTO_SUFFIXES
from wordgaze.data.packed import TarPhoto
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader
from wordgaze.data.readers.rows import columns_of, texts_of
from wordgaze.data.text_file import decode
from wordgaze.errors import DataError, first_line

_KEY = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<extension>[^/]+)", re.DOTALL)
_SHARD = re.compile(r"(.+?)[-_.]?\d*(?:-of-\d+)?\.(?:tar|parquet)", re.DOTALL)
_SPLITS = frozenset("train training val valid validation dev test testing".split())
_MOST_TEXT = 1024**2
_BLOCK = 512
# fmt: off
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"), b"BZh": ("bzip2", "bunzip2"), b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
# fmt: on


@dataclass
class _Sample:
    """The files of one photo."""

    photo: str = ""
    packed: TarPhoto | None = None
    captions: tuple[str, ...] | None = None  # of a .txt
    described: tuple[str, ...] = ()  # by a .json, where there is no .txt


def shards_of(file: CaptionFile) -> list[Path]:
    """Return the shards of the split that is asked for; all where their names are no splits."""
    if file.split is None or not splits_of_shards(file):
        return list(file.files)
    return [shard for shard in file.files if _split_of(shard) == file.split]


def splits_of_shards(file: CaptionFile) -> tuple[str, ...]:
    """Return the splits that the names of shards begin with, as ``train-00000-of-00009.parquet``."""
    splits = {_split_of(shard) for shard in file.files}
    return tuple(sorted(splits)) if len(splits) > 1 and splits & _SPLITS else ()


def _split_of(shard: Path) -> str:
    match = _SHARD.fullmatch(shard.name)
    return match[1] if match else shard.stem


def _read(file: CaptionFile) -> Iterator[CaptionedPhoto]:
    keys: set[str] = set()
    for shard in shards_of(file):
        for key, sample in _samples(file, shard).items():
            if sample.packed is None:  # a text alone, as a README beside the photos
                continue
            photo_id = f"{shard.name}/{key}" if key in keys else key
            keys.add(photo_id)
            captions = sample.described if sample.captions is None else sample.captions
            yield CaptionedPhoto(photo_id, shard / sample.photo, captions, sample.packed)


def _samples(file: CaptionFile, shard: Path) -> dict[str, _Sample]:
    """Return the samples of a shard by their keys, in the order of their first files."""
    samples: dict[str, _Sample] = {}
    try:
        with shard.open("rb") as stream:
            _check_compressed(shard, stream.read(8))
            stream.seek(0)
            for member in _members(shard, stream):
                _add(samples, file, shard, stream, member)
    except OSError as error:
        raise DataError(f"{shard}: can't be read ({error.strerror or error}); check path and permissions.") from None
    return samples


def _check_compressed(shard: Path, beginning: bytes) -> None:
    for magic, (kind, tool) in _COMPRESSED.items():
        if beginning.startswith(magic):
            raise DataError(
                f"{shard}: packed with {kind}, so that no photo can be read from its middle; unpack it with {tool} "
                "(photos hardly shrink)."
            )


def _members(shard: Path, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive; raise DataError where it is damaged, cut off, or two in one."""
    try:
        archive = tarfile.TarFile(fileobj=stream)
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
            yield member
    except (tarfile.TarError, ValueError, OverflowError, EOFError, UnicodeError) as error:
        where = f"{first_line(error)}, near byte {stream.tell():,}"
        raise DataError(f"{shard}: not a whole tar archive ({where}); get it again.") from None
    end = archive.offset
    stream.seek(end)
    # tarfile takes a damaged header for the end, and does not miss the mark of it: blocks of zeros.
    block = stream.read(_BLOCK)
    if block.strip(b"\0"):
        raise DataError(f"{shard}: its header at byte {end:,} is damaged; get the archive again.")
    if not block:
        raise DataError(f"{shard}: has no mark of its end, as where it was cut short; get it again, or pack it again.")
    while block := stream.read(1024**2):
        if block.strip(b"\0"):
            raise DataError(
                f"{shard}: more follows its end at byte {end:,}, as where archives were put together with cat; name "
                "them one by one, or pack them again."
            )


def _add(
    samples: dict[str, _Sample], file: CaptionFile, shard: Path, stream: BinaryIO, member: tarfile.TarInfo
) -> None:
    """Add a member to its sample; raise DataError where it makes no sense."""
    name = member.name.removeprefix("./")
    match = _KEY.fullmatch(name)
    if member.isdir() or match is None or _is_companion(name):
        return
    key, extension = match["key"], match["extension"].lower()
    is_photo = os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES
    if not is_photo and extension not in ("txt", "json"):
        return
    if not member.isreg() or member.issparse():
        raise DataError(
            f"{shard}: {name} is a link or has holes; pack it again with tar --dereference --hard-dereference."
        )
    sample = samples.setdefault(key, _Sample())
    if is_photo:
        if sample.packed is not None:
            raise DataError(
                f"{shard}: {sample.photo} and {name} are both photos of {key!r}, the name up to its first dot; give "
                "each a name of its own."
            )
        sample.photo, sample.packed = name, TarPhoto(str(shard), member.offset_data, member.size)
        return
    if member.size > _MOST_TEXT:
        raise DataError(f"{shard}: {name} has {member.size:,} bytes, too many for captions; leave it out.")
    stream.seek(member.offset_data)
    text = decode(shard / name, stream.read(member.size), "save it as UTF-8")
    if extension == "txt":
        sample.captions = tuple(text.splitlines())
    else:
        sample.described = _described(file, shard / name, text)


def _described(file: CaptionFile, path: Path, text: str) -> tuple[str, ...]:
    """Return the captions in a sample's JSON; an empty tuple where it holds none."""
    values = json_of(path, text) if text.strip() else {}
    if not isinstance(values, dict):
        return ()
    if file.columns:
        caption = file.columns[1]
    else:
        columns = columns_of(file, ["image", *values])
        caption = "caption" if columns is None else columns.caption
    return tuple(texts_of(path, "its object", values.get(caption), caption))


def _is_companion(name: str) -> bool:
    """Return whether a member is what systems keep beside people's files, as macOS's ``._0001.jpg``."""
    parts = name.split("/")
    return parts[-1].startswith(".") or any(part.lower() in COMPANIONS for part in parts[:-1])


def _recognizes(file: CaptionFile) -> bool:
    if file.path.is_dir() and file.is_folder:
        return False
    beginning = file.head
    named = re.search(r"\.tar(\.(gz|bz2|xz|zst))?$|\.tgz$", file.files[0].name, re.IGNORECASE) is not None
    return beginning[257:262] == b"ustar" or (named and bool(beginning))


READER = Reader(_recognizes, _read, splits_of_shards, "tar shards (WebDataset)")
