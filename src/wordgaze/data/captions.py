"""Photos with their captions, and training sets made of several sources of them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wordgaze.data.instances import read_instances
from wordgaze.data.json_file import PhotoId
from wordgaze.data.readers import READERS
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader
from wordgaze.errors import ConfigError, DataError


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
