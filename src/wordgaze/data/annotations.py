"""Captions and boxes on disk: one reader for each format, and training sets made of several sources."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from wordgaze.data.photos import find_photos
from wordgaze.errors import ConfigError, DataError

PhotoId: TypeAlias = "int | str"


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo's file and what people said about it."""

    photo_id: PhotoId
    path: Path
    captions: tuple[str, ...]


@dataclass(frozen=True)
class CaptionSet:
    """Captioned photos, with one line that says where they come from and what was left out."""

    photos: tuple[CaptionedPhoto, ...]
    description: str

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[CaptionedPhoto]:
        return iter(self.photos)


@dataclass(frozen=True)
class Source:
    """One source of a training set: a file or folder of captions, and which of its photos to take.

    ``root``: the folder that the file's photo names start from. ``limit``: so many photos, drawn with
    ``seed`` (a smaller limit takes a part of a larger one's). ``categories``: only photos with a box of one
    of these, by the COCO ``instances`` file. ``repeat``: how often an epoch shows each.
    """

    captions: str
    root: str | None = None
    format: str = "auto"
    split: str | None = None
    limit: int | None = None
    categories: tuple[str, ...] = ()
    instances: str | None = None
    seed: int = 0
    repeat: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.categories, str):
            raise ConfigError(f"source {self.captions}: categories is one text; give a list of names")
        object.__setattr__(self, "categories", tuple(self.categories))  # YAML brings lists
        if self.limit is not None and self.limit < 1:
            raise ConfigError(
                f"source {self.captions}: limit is {self.limit}; give 1 or more, or leave it out"
            )
        if self.repeat < 1:
            raise ConfigError(f"source {self.captions}: repeat is {self.repeat}; give 1 or more")
        if self.categories and self.instances is None:
            raise ConfigError(
                f"source {self.captions}: categories need boxes; name a COCO instances file in `instances`"
            )


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
        return _read_object(self.path)


class Reader(NamedTuple):
    """One format: whether a file is of it, and its photos with their captions as they stand in the file."""

    recognizes: Callable[[CaptionFile], bool]
    read: Callable[[CaptionFile], list[CaptionedPhoto]]
    has_splits: bool = False


def read_captions(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    format: str = "auto",
    split: str | None = None,
    check_files: bool = False,
) -> CaptionSet:
    """Reads captions in any format of READERS; ``auto`` recognizes it.

    ``root``: by default the folder ``photos`` beside the file where there is one, else the file's own folder.
    ``split``: for formats that have them; all by default. ``check_files``: look now whether all photos exist.
    Captions lose outer and repeated spaces; empty ones, and photos without any, are dropped and counted in
    the description. Raises DataError.
    """
    file = CaptionFile(path, root, split)
    return _read(file, _reader(file, format), check_files)


def load_sources(sources: Sequence[Source], *, check_files: bool = False) -> CaptionSet:
    """Puts a training set together, source after source.

    Ids are only unique within a source: with several, photo 9 of the second becomes ``"2/9"``.
    """
    if not sources:
        raise ConfigError("no sources: name at least one caption file")
    photos: list[CaptionedPhoto] = []
    descriptions: list[str] = []
    for number, source in enumerate(sources, start=1):
        file = CaptionFile(source.captions, source.root, source.split)
        reader = _reader(file, source.format)
        if reader.has_splits and source.split is None:
            raise DataError(f"{file.path}: holds several splits, among them a test set; name one with split")
        captions = _read(file, reader, check_files)
        chosen, description = list(captions), captions.description
        if source.categories and source.instances is not None:
            chosen = _with_categories(chosen, source.categories, source.instances)
            description += f"; with {', '.join(source.categories)}: {_counts(chosen)}"
            if not chosen:
                raise DataError(
                    f"{file.path}: none of its photos has {', '.join(source.categories)} in "
                    f"{source.instances}; check that both files are of the same photos"
                )
        if source.limit is not None and source.limit < len(chosen):
            order = np.random.default_rng(source.seed).permutation(len(chosen))
            chosen = [chosen[index] for index in sorted(order[: source.limit])]
            description += f"; drawn with seed {source.seed}: {_counts(chosen)}"
        if len(sources) > 1:
            chosen = [replace(photo, photo_id=f"{number}/{photo.photo_id}") for photo in chosen]
        if source.repeat > 1:
            description += f"; {source.repeat} times"
        photos += chosen * source.repeat
        descriptions.append(description)
    return CaptionSet(tuple(photos), "\n".join(descriptions))


def _read(file: CaptionFile, reader: Reader, check_files: bool) -> CaptionSet:
    if file.split is not None and not reader.has_splits:
        raise DataError(f"{file.path}: this format has no splits; leave out split {file.split!r}")
    photos = reader.read(file)
    kept: list[CaptionedPhoto] = []
    ids: set[PhotoId] = set()
    empty = 0
    for photo in photos:
        stripped = [" ".join(caption.split()) for caption in photo.captions]
        captions = tuple(caption for caption in stripped if caption)
        empty += len(stripped) - len(captions)
        if photo.photo_id in ids:
            raise DataError(f"{file.path}: several photos have the id {photo.photo_id!r}; give each its own")
        ids.add(photo.photo_id)
        if captions:
            kept.append(replace(photo, captions=captions))
    if not kept:
        raise DataError(
            f"{file.path}: none of its {len(photos)} photos has a caption; is this the right file?"
        )
    if check_files:
        _check_files(file, kept)

    dropped = {"empty captions": empty, "photos without a caption": len(photos) - len(kept)}
    left_out = " and ".join(f"{count:,} {what}" for what, count in dropped.items() if count)
    description = f"{file.path}{f' ({file.split})' if file.split else ''}: {_counts(kept)}"
    return CaptionSet(tuple(kept), description + (f"; left out {left_out}" if left_out else ""))


def _reader(file: CaptionFile, format: str) -> Reader:
    if format in READERS:
        return READERS[format]
    if format != "auto":
        raise ConfigError(f"{file.path}: format is {format!r}; use auto or one of {', '.join(READERS)}")
    for reader in READERS.values():
        if reader.recognizes(file):
            return reader
    raise DataError(
        f"{file.path}: not in a caption format that is known (at its top: {', '.join(list(file.json)[:5])}); "
        f"known are {', '.join(READERS)}"
    )


def _counts(photos: Sequence[CaptionedPhoto]) -> str:
    return f"{len(photos):,} photos, {sum(len(photo.captions) for photo in photos):,} captions"


def _check_files(file: CaptionFile, photos: Sequence[CaptionedPhoto]) -> None:
    missing = [photo.path for photo in photos if not photo.path.is_file()]
    if missing:
        raise DataError(
            f"{file.path}: {len(missing):,} of {len(photos):,} photos are missing, the first is "
            f"{missing[0]}; set root to the folder of the photos"
        )


def _with_categories(
    photos: Sequence[CaptionedPhoto], categories: Sequence[str], instances_path: str
) -> list[CaptionedPhoto]:
    instances = read_instances(instances_path)
    known = set(instances.categories.values())
    for category in categories:
        if category not in known:
            close = difflib.get_close_matches(category, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(known))}"
            raise DataError(f"{instances_path}: no category {category!r}; {hint}")
    wanted = set(categories)
    return [
        photo
        for photo in photos
        if any(box.category in wanted for box in instances.boxes.get(photo.photo_id, ()))
    ]


def read_json(path: Path) -> Any:
    """The file's content; raises DataError where it can't be read, or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: broken JSON in line {error.lineno}, column {error.colno} ({error.msg}); "
            "mend it there, or get the file again"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); is this the right file?") from None
    except RecursionError:
        raise DataError(f"{path}: JSON nested too deeply; is this the right file?") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check path and permissions") from None


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: a {type(content).__name__} at its top; it must be a JSON object")
    return content


def _items(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = content.get(key)
    if not isinstance(items, list):
        found = ", ".join(list(content)[:5]) or "nothing"
        raise DataError(f"{path}: no list {key!r} at its top, but {found}; is this the right file?")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise DataError(f"{path}: {key}[{index}] is {item!r:.60}; it must be an object")
    return items


def _value(path: Path, place: str, item: object, key: str, *types: type) -> Any:
    if not isinstance(item, dict):
        raise DataError(f"{path}: {place} is {item!r:.60}; it must be an object")
    value = item.get(key)
    if not isinstance(value, types) or isinstance(value, bool):
        found = f"has {key} {value!r:.60}" if key in item else f"has no {key!r}"
        raise DataError(f"{path}: {place} {found}; give {' or '.join(_KINDS[kind] for kind in types)}")
    return value


_KINDS = {int: "a whole number", str: "a text", list: "a list"}


def _new_id(path: Path, place: str, item: dict[str, Any], seen: Container[PhotoId]) -> PhotoId:
    photo_id: PhotoId = _value(path, place, item, "id", int, str)
    if photo_id in seen:
        raise DataError(f"{path}: {place} has the id {photo_id!r} of an earlier one; give each its own")
    return photo_id


def _known_id(
    path: Path, place: str, item: dict[str, Any], key: str, known: Container[PhotoId], where: str
) -> Any:
    value = _value(path, place, item, key, int, str)
    if value not in known:
        raise DataError(f"{path}: {place} has {key} {value!r}, which {where!r} does not list; add or drop it")
    return value


def _read_coco(file: CaptionFile) -> list[CaptionedPhoto]:
    path, content = file.path, file.json
    names: dict[PhotoId, str] = {}
    for index, image in enumerate(_items(path, content, "images")):
        place = f"images[{index}]"
        photo_id = _new_id(path, place, image, names)
        names[photo_id] = _value(path, place, image, "file_name", str)
    captions: dict[PhotoId, list[str]] = {photo_id: [] for photo_id in names}
    for index, annotation in enumerate(_items(path, content, "annotations")):
        place = f"annotations[{index}]"
        if "bbox" in annotation and "caption" not in annotation:
            raise DataError(f"{path}: {place} is a box, not a caption; name the captions file instead")
        photo_id = _known_id(path, place, annotation, "image_id", captions, "images")
        captions[photo_id].append(_value(path, place, annotation, "caption", str))
    return [
        CaptionedPhoto(photo_id, file.root / name, tuple(captions[photo_id]))
        for photo_id, name in names.items()
    ]


def _read_karpathy(file: CaptionFile) -> list[CaptionedPhoto]:
    """Karpathy's ``dataset_*.json``; his ``restval`` counts as ``train``, as in the papers that use it."""
    path, photos, splits = file.path, [], set()
    for index, image in enumerate(_items(path, file.json, "images")):
        place = f"images[{index}]"
        split = _value(path, place, image, "split", str)
        splits.add(split)
        if file.split not in (None, split) and (file.split, split) != ("train", "restval"):
            continue
        folder = image.get("filepath") or ""  # only his COCO file has them
        photo_id = _value(path, place, image, "cocoid" if "cocoid" in image else "imgid", int, str)
        name = _value(path, place, image, "filename", str)
        captions = tuple(
            _value(path, f"{place}.sentences[{number}]", sentence, "raw", str)
            for number, sentence in enumerate(_value(path, place, image, "sentences", list))
        )
        photos.append(CaptionedPhoto(photo_id, file.root / str(folder) / name, captions))
    if splits and not photos:
        raise DataError(f"{path}: no photo in split {file.split!r}; it has {', '.join(sorted(splits))}")
    return photos


def _read_sidecar(file: CaptionFile) -> list[CaptionedPhoto]:
    """A folder of photos; ``name.txt`` holds the captions of ``name.jpg``, one a line."""
    if not file.path.is_dir():
        raise DataError(f"{file.path}: not a folder; name the folder that holds the .txt files")
    photos = []
    for photo in find_photos([file.root]):
        name = photo.relative_to(file.root)
        text = (file.path / name).with_suffix(".txt")
        try:
            captions = text.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            captions = []
        except UnicodeDecodeError as error:
            raise DataError(f"{text}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
        except OSError as error:
            raise DataError(f"{text}: can't be read ({error.strerror}); check its permissions") from None
        photos.append(CaptionedPhoto(name.as_posix(), photo, tuple(captions)))
    return photos


def _has_sentences(file: CaptionFile) -> bool:
    images = file.json.get("images")
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and "sentences" in first


READERS: dict[str, Reader] = {
    "sidecar": Reader(lambda file: file.path.is_dir(), _read_sidecar),
    "karpathy": Reader(_has_sentences, _read_karpathy, has_splits=True),
    "coco": Reader(lambda file: "images" in file.json or "annotations" in file.json, _read_coco),
}
"""The caption formats by name, and the place for more: write a ``read`` that returns the photos with their
captions as they stand. Spaces, empty captions, doubled ids, missing files and the description are seen to for
all of them. They are asked in this order; those that look into the JSON refuse what is not JSON, so put
others before them."""


@dataclass(frozen=True)
class Box:
    """Where a thing is, in photo pixels from the top left corner; ``crowd``: many of it under one box."""

    category: str
    x: float
    y: float
    width: float
    height: float
    crowd: bool = False


@dataclass(frozen=True)
class Instances:
    """A COCO instances file by photo: ``boxes``, empty for a photo that has none, and ``sizes`` (w, h)."""

    categories: dict[int, str]
    boxes: dict[PhotoId, tuple[Box, ...]]
    sizes: dict[PhotoId, tuple[int, int]]


def read_instances(path: str | os.PathLike[str]) -> Instances:
    """Reads boxes from COCO instances JSON; crowds are kept and flagged. Raises DataError."""
    path = Path(path)
    content = _read_object(path)
    categories: dict[int, str] = {}
    for index, item in enumerate(_items(path, content, "categories")):
        place = f"categories[{index}]"
        categories[_value(path, place, item, "id", int)] = _value(path, place, item, "name", str)
    sizes: dict[PhotoId, tuple[int, int]] = {}
    for index, item in enumerate(_items(path, content, "images")):
        place = f"images[{index}]"
        width, height = (_value(path, place, item, key, int) for key in ("width", "height"))
        sizes[_new_id(path, place, item, sizes)] = (width, height)
    boxes: dict[PhotoId, list[Box]] = {photo_id: [] for photo_id in sizes}
    for index, item in enumerate(_items(path, content, "annotations")):
        place = f"annotations[{index}]"
        photo_id = _known_id(path, place, item, "image_id", boxes, "images")
        category = categories[_known_id(path, place, item, "category_id", categories, "categories")]
        bbox = _value(path, place, item, "bbox", list)
        if len(bbox) != 4 or not all(map(_is_number, bbox)) or min(bbox[2:]) < 0:
            raise DataError(
                f"{path}: {place} has bbox {bbox!r:.60}; give x, y, width, height in photo pixels"
            )
        x, y, width, height = map(float, bbox)
        boxes[photo_id].append(Box(category, x, y, width, height, crowd=bool(item.get("iscrowd"))))
    return Instances(categories, {photo_id: tuple(some) for photo_id, some in boxes.items()}, sizes)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
