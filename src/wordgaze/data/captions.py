"""Photos with their captions, and training sets made of several sources of them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from wordgaze.data.instances import read_instances
from wordgaze.data.json_file import PhotoId, keys_of, kind_of_json, read_json
from wordgaze.data.photo_table import PhotoTable
from wordgaze.data.readers import READERS
from wordgaze.data.readers.caption_file import CAPTIONS, CaptionedPhoto, CaptionFile, Reader
from wordgaze.errors import ConfigError, DataError


@dataclass(frozen=True)
class CaptionSet:
    """Captioned photos, with one line that says where they come from and what was left out.

    ``notes``: sentences for people, as on what was left out. ``splits``: those of the file, and ``split`` the one that
    was read, None for all. ``formats``: what the file is, or each of several sources, a line of ``description`` each.
    """

    photos: Sequence[CaptionedPhoto]
    description: str
    notes: tuple[str, ...] = ()
    split: str | None = None
    splits: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "photos", PhotoTable.of(self.photos))

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[CaptionedPhoto]:
        return iter(self.photos)


@dataclass(frozen=True)
class Source:
    """One source of a training set: a file or folder of captions, and which of its photos to take.

    ``root``: the folder that the file's photo names start from. ``limit``: the number of photos, drawn with ``seed``
    (a smaller limit takes a part of a larger one's). ``categories``: only photos with a box of one of these, by the
    COCO ``instances`` file. ``repeat``: how often an epoch shows each. ``exclude``: a file of ids of photos to leave
    out, a JSON list or one id a line. ``columns``: the names of a table's columns of photos and captions, where they
    are not among those that are known.
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
    exclude: str | None = None
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("categories", "columns"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ConfigError(f"source {self.captions}: {name} is a single text; give a list of names.")
            object.__setattr__(self, name, tuple(value))  # YAML brings lists
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"source {self.captions}: limit is {self.limit}; give 1 or more, or leave it out.")
        if self.repeat < 1:
            raise ConfigError(f"source {self.captions}: repeat is {self.repeat}; give 1 or more.")
        if self.seed < 0:
            raise ConfigError(f"source {self.captions}: seed is {self.seed}; give 0 or more.")
        if self.categories and self.instances is None:
            raise ConfigError(
                f"source {self.captions}: categories need boxes; name a COCO instances file in `instances`."
            )


def read_captions(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    format: str = "auto",
    split: str | None = None,
    check_files: bool = False,
    needs_files: bool = True,
    default_split: str | None = None,
    columns: Sequence[str] = (),
) -> CaptionSet:
    """Return the captions of a file in any format of READERS; ``auto`` recognizes it.

    ``root``: by default the folder ``photos`` beside the file where there is one, else the file's own folder.
    ``split``: for formats that have them; by default ``default_split`` where the file has several, else all.
    ``check_files``: look now whether all photos exist. ``needs_files``: whether a photo must name its file at all.
    ``columns``: a table's columns of photos and captions, where these have names of their own.
    Captions lose outer and repeated spaces; empty ones, and photos without any, are dropped and counted in the
    description. Raises DataError.
    """
    file = CaptionFile(path, root, split, needs_files, columns)
    reader = find_reader(file, format)
    if split is None and len(reader.splits(file)) > 1:
        file.split = default_split
    return _read(file, reader, check_files)


def load_sources(sources: Sequence[Source], *, check_files: bool = False) -> CaptionSet:
    """Return the training set that the sources make up, in their order.

    Ids are only unique within a source: with several, photo 9 of the second becomes ``"2/9"``.
    """
    if not sources:
        raise ConfigError("no sources: name at least one caption file.")
    tables: list[PhotoTable] = []
    descriptions: list[str] = []
    formats: list[str] = []
    for number, source in enumerate(sources, start=1):
        subset, description, format = _load_source(source, check_files)
        if len(sources) > 1:
            subset = PhotoTable(replace(photo, photo_id=f"{number}/{photo.photo_id}") for photo in subset)
        if source.repeat > 1:
            description += f"; {source.repeat} times"
            subset = subset.take(np.tile(np.arange(len(subset)), source.repeat))
        tables.append(subset)
        descriptions.append(description)
        formats.append(format)
    photos = tables[0] if len(tables) == 1 else PhotoTable(chain.from_iterable(tables))
    return CaptionSet(photos, "\n".join(descriptions), formats=tuple(formats))


def _load_source(source: Source, check_files: bool) -> tuple[PhotoTable, str, str]:
    """Return the photos of a source, a line on them, and what its file is."""
    file = CaptionFile(source.captions, source.root, source.split, columns=source.columns)
    reader = find_reader(file, source.format)
    if source.split is None and reader.splits(file):
        raise DataError(f"{file.path}: holds several splits, among them a test set; name one with split.")
    # A missing photo may be excluded for that very reason.
    captions = _read(file, reader, check_files and source.exclude is None)
    subset, description = PhotoTable.of(captions.photos), captions.description
    if source.exclude is not None:
        subset, left_out = _without(subset, Path(source.exclude))
        description += f"; {left_out}: {_counts(subset)}"
        if not subset:
            raise DataError(f"{file.path}: {source.exclude} excludes all of its photos; correct `exclude`.")
        if check_files:
            _check_files(file, subset)
    if source.categories and source.instances is not None:
        subset = _with_categories(subset, source.categories, source.instances)
        description += f"; with {', '.join(source.categories)}: {_counts(subset)}"
        if not subset:
            raise DataError(
                f"{file.path}: none of its photos has {', '.join(source.categories)} in "
                f"{source.instances}; check that both files are of the same photos."
            )
    if source.limit is not None and source.limit < len(subset):
        order = np.random.default_rng(source.seed).permutation(len(subset))
        subset = subset.take(np.sort(order[: source.limit]))
        description += f"; drawn with seed {source.seed}: {_counts(subset)}"
    return subset, description, " ".join(captions.formats)


def _read(file: CaptionFile, reader: Reader, check_files: bool) -> CaptionSet:
    splits = reader.splits(file)
    if file.split is not None and not splits:
        raise DataError(f"{file.path}: this format has no splits; leave out split {file.split!r}.")
    cleaned = _Cleaned(file, reader.read(file))
    captioned = PhotoTable(cleaned)
    if not cleaned.photos:
        raise DataError(f"{file.path}: lists no photos; check that this is the right file.")
    if not captioned:
        raise DataError(
            f"{file.path}: none of its {cleaned.photos} photos has a caption; check that this is the right file."
        )
    if check_files:
        _check_files(file, captioned)

    dropped = {"empty captions": cleaned.empty, "photos without a caption": cleaned.photos - len(captioned)}
    left_out = " and ".join(f"{count:,} {what}" for what, count in dropped.items() if count)
    description = f"{file.path}{f' ({file.split})' if file.split else ''}: {_counts(captioned)}"
    return CaptionSet(
        captioned,
        description + (f"; left out {left_out}" if left_out else ""),
        _notes(file, dropped),
        file.split,
        splits,
        (reader.title + (f", of the splits {', '.join(splits)}" if splits else ""),),
    )


class _Cleaned:
    """Photos as a reader returns them, without those that have no caption; what is left out is counted.

    Captions lose outer and repeated spaces. Raises DataError where an id comes twice.
    """

    def __init__(self, file: CaptionFile, photos: Iterable[CaptionedPhoto]) -> None:
        self.file, self._source = file, photos
        self.photos = self.empty = 0  # how many there were

    def __iter__(self) -> Iterator[CaptionedPhoto]:
        ids: set[PhotoId] = set()
        for photo in self._source:
            self.photos += 1
            stripped = [" ".join(caption.split()) for caption in photo.captions]
            captions = tuple(caption for caption in stripped if caption)
            self.empty += len(stripped) - len(captions)
            if photo.photo_id in ids:
                raise DataError(f"{self.file.path}: several photos have the id {photo.photo_id!r}; give each its own.")
            ids.add(photo.photo_id)
            if captions:
                yield replace(photo, captions=captions)


def find_reader(file: CaptionFile, format: str) -> Reader:
    """Return the reader of ``format``, or with ``auto`` the first that recognizes the file."""
    reader = _known_reader(file, format)
    if file.columns and reader in (READERS.get(name) for name in ("sidecar", "karpathy", "coco", "flickr")):
        raise ConfigError(f"{file.path}: is {reader.title}, which has no columns to name; leave columns out.")
    return reader


def _known_reader(file: CaptionFile, format: str) -> Reader:
    if format in READERS:
        return READERS[format]
    if format != "auto":
        raise ConfigError(f"{file.path}: format is {format!r}; use auto or one of {', '.join(READERS)}.")
    for reader in READERS.values():
        if reader.recognizes(file):
            return reader
    kind = kind_of_json(file.json)
    if kind:
        raise DataError(f"{file.path}: {kind}; {CAPTIONS}.")
    raise DataError(
        f"{file.path}: not in a known caption format (at its top: {keys_of(file.json)}); "
        f"known are {', '.join(READERS)}."
    )


def _notes(file: CaptionFile, dropped: Mapping[str, int]) -> tuple[str, ...]:
    parts = [
        f"{count:,} {what}" if count > 1 else f"1 {what.replace('s', '', 1)}"
        for what, count in dropped.items()
        if count
    ]
    verb = "is" if sum(dropped.values()) == 1 else "are"
    return (f"{file.path}: {' and '.join(parts)} {verb} left out",) if parts else ()


def _counts(photos: Sequence[CaptionedPhoto]) -> str:
    return f"{len(photos):,} photos, {sum(len(photo.captions) for photo in photos):,} captions"


def _check_files(file: CaptionFile, photos: Sequence[CaptionedPhoto]) -> None:
    missing = [photo.path for photo in photos if not photo.is_there()]
    if missing:
        raise DataError(
            f"{file.path}: {len(missing):,} of {len(photos):,} photos are missing, the first is "
            f"{missing[0]}; set root to the folder of the photos."
        )


def _without(photos: PhotoTable, exclude: Path) -> tuple[PhotoTable, str]:
    """Return the photos whose ids the file ``exclude`` does not hold, and a description of what it left out."""
    ids = set(_read_ids(exclude))
    unknown = sorted(ids - {str(photo.photo_id) for photo in photos})
    remaining = photos.take([index for index, photo in enumerate(photos) if str(photo.photo_id) not in ids])
    left_out = f"without {len(photos) - len(remaining):,} that {exclude} names"
    if unknown:
        left_out += f" ({len(unknown):,} of its {len(ids):,} ids are not here, such as {unknown[0]})"
    return remaining, left_out


def _read_ids(path: Path) -> list[str]:
    """Return a file's ids as text: 9 and "9" are the same photo. It is a JSON list, or has one id a line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); check that this is the right file.") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); correct `exclude`.") from None
    if not text.lstrip().startswith(("[", "{")):
        return [line.strip() for line in text.splitlines() if line.strip()]
    ids = read_json(path)
    if not isinstance(ids, list) or not all(type(photo_id) in (int, str) for photo_id in ids):
        raise DataError(f"{path}: not a list of ids; give a JSON list of numbers or texts, or one id a line.")
    return [str(photo_id).strip() for photo_id in ids]


def _with_categories(photos: PhotoTable, categories: Sequence[str], instances_path: str) -> PhotoTable:
    instances = read_instances(instances_path)
    known = set(instances.categories.values())
    for category in categories:
        if category not in known:
            close = difflib.get_close_matches(category, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(known))}."
            raise DataError(f"{instances_path}: no category {category!r}; {hint}")
    wanted = set(categories)
    ids = instances.ids_of({photo.photo_id: str(photo.path) for photo in photos}, instances_path)
    return photos.take(
        [
            index
            for index, photo in enumerate(photos)
            if photo.photo_id in ids and any(box.category in wanted for box in instances.boxes[ids[photo.photo_id]])
        ]
    )
