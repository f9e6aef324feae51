"""A set of captioned photos as it stands: what can be read of it, and what is wrong with the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordgaze.data.captions import find_reader
from wordgaze.data.check.findings import Finding
from wordgaze.data.json_file import PhotoId, id_of, known_id, new_id, value_of
from wordgaze.data.photo_table import PhotoTable
from wordgaze.data.readers import READERS, coco, karpathy
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader
from wordgaze.errors import ConfigError, DataError
from wordgaze.files import one_line

TRAINING = ("train", "restval")
"""Splits that are trained on; Karpathy's restval counts as train."""


@dataclass(frozen=True)
class Contents:
    """The photos of a file or folder, captions as they stand, each with its split, "" where the format has none.

    ``findings``: what could not be read. ``format``: its name in READERS, "" where it was not recognized.
    """

    path: Path
    root: Path
    format: str
    photos: PhotoTable
    splits: tuple[str, ...]
    findings: tuple[Finding, ...]
    file: CaptionFile


def read_contents(
    path: str, root: str | None = None, format: str = "auto", split: str | None = None, columns: tuple[str, ...] = ()
) -> Contents:
    """Return what can be read of a file or folder of captions.

    A DataError is raised only where there is no such file or folder, a ConfigError where it has no such split; what is
    wrong in it is a finding.
    """
    file = CaptionFile(path, root, split, columns=columns)
    findings: list[Finding] = []
    name = ""
    photos, splits = PhotoTable(), list[str]()
    try:
        reader = find_reader(file, format)
        name = next(name for name, known in READERS.items() if known is reader)
        if reader in (coco.READER, karpathy.READER):
            findings += drop_broken_entries(file, reader)
        photos, splits = _photos(file, reader)
    except DataError as error:
        findings.append(Finding("broken-file", str(file.path), _without_path(error, file.path)))
    ids: set[PhotoId] = set()
    kept = []
    for index, photo in enumerate(photos):
        if photo.photo_id in ids:
            message = f"the id {photo.photo_id!r} is that of an earlier photo; give each its own"
            findings.append(Finding("broken-entry", str(photo.path), message))
        else:
            ids.add(photo.photo_id)
            kept.append(index)
    if len(kept) < len(photos):
        photos, splits = photos.take(kept), [splits[index] for index in kept]
    return Contents(file.path, file.root, name, photos, tuple(splits), tuple(findings), file)


def _photos(file: CaptionFile, reader: Reader) -> tuple[PhotoTable, list[str]]:
    """Return the photos of the split that was asked for, or of all, each with its split."""
    names = reader.splits(file)
    if file.split is not None:
        if file.split not in names:
            rest = f"it has {', '.join(names)}: choose one of these" if names else "its format has none: leave it out"
            raise ConfigError(f"{one_line(file.path)}: there is no split {file.split!r}; {rest}.")
        photos = PhotoTable.of(reader.read(file))
        return photos, [file.split] * len(photos)
    if not names:
        photos = PhotoTable.of(reader.read(file))
        return photos, [""] * len(photos)
    splits: dict[PhotoId, str] = {}

    def each_split() -> Iterator[CaptionedPhoto]:
        # Before restval, which train includes.
        for name in sorted(names, key=lambda name: name != "train"):
            file.split = name
            yield from (photo for photo in reader.read(file) if splits.setdefault(photo.photo_id, name) == name)
        file.split = None

    photos = PhotoTable(each_split())
    return photos, [splits[photo.photo_id] for photo in photos]


def drop_broken_entries(file: CaptionFile, reader: Reader) -> list[Finding]:
    """Take out of the file's JSON what the reader would refuse, and return a finding for each.

    A reader stops at the first; a person who mends a file wants to know all.
    """
    content, findings = file.json, []

    def good(items: Any, location: str, check: Callable[[str, Any], None]) -> Any:
        if not isinstance(items, list):
            return items
        whole = []
        for index, item in enumerate(items):
            place = f"{location}[{index}]"
            try:
                check(place, item)
                whole.append(item)
            except _NotText as error:
                findings.append(Finding("not-text", error.file, f"{place} {error} (in {file.path})"))
            except DataError as error:
                findings.append(Finding("broken-entry", str(file.path), _without_path(error, file.path)))
        return whole

    if reader is coco.READER:
        _check_coco(file, content, good)
    else:
        _check_karpathy(file, content, good)
    return findings


class _NotText(DataError):
    """A caption is a number, a list or an object; ``file``: the photo's."""

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message)
        self.file = file


def _check_coco(file: CaptionFile, content: dict[str, Any], good: Callable[..., Any]) -> None:
    images: dict[PhotoId, Any] = {}

    def image(place: str, item: Any) -> None:
        _check_object(file, place, item)
        if images.get(id_of(file.path, place, item, "id")) != item:
            value_of(file.path, place, item, "file_name", str)
            images[new_id(file.path, place, item, images)] = item

    def annotation(place: str, item: Any) -> None:
        _check_object(file, place, item)
        if not ("bbox" in item and "caption" not in item):
            photo_id = known_id(file.path, place, item, "image_id", images, "images")
            _check_caption(str(file.root / images[photo_id]["file_name"]), item, "caption")

    # In this order: captions need their photo.
    for key, check in (("images", image), ("annotations", annotation)):
        if key in content:
            content[key] = good(content[key], key, check)


def _check_karpathy(file: CaptionFile, content: dict[str, Any], good: Callable[..., Any]) -> None:
    def image(place: str, item: Any) -> None:
        _check_object(file, place, item)
        value_of(file.path, place, item, "split", str)
        value_of(file.path, place, item, "cocoid" if "cocoid" in item else "imgid", int, str)
        value_of(file.path, place, item, "filename", str)
        sentences = value_of(file.path, place, item, "sentences", list)
        name = str(file.root / str(item.get("filepath") or "") / item["filename"])

        def sentence(place: str, item: Any) -> None:
            _check_object(file, place, item)
            _check_caption(name, item, "raw")

        item["sentences"] = good(sentences, f"{place}.sentences", sentence)

    content["images"] = good(content.get("images"), "images", image)


def _check_object(file: CaptionFile, place: str, item: Any) -> None:
    if not isinstance(item, dict):
        raise DataError(f"{file.path}: {place} is {item!r:.60}; it must be an object.")


def _check_caption(photo: str, item: dict[str, Any], key: str) -> None:
    value = item.get(key, "")
    is_nothing = value is None or (isinstance(value, float) and math.isnan(value))
    if not is_nothing and not isinstance(value, str):
        raise _NotText(f"has the {key} {value!r:.60}", photo)


def _without_path(error: DataError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ").removesuffix(".")
