"""Rows with a photo and a caption each, or a list of captions: what tables of all kinds have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wordgaze.data.json_file import keys_of
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile
from wordgaze.errors import DataError

PHOTOS = "image file_name path file filename image_name image_path filepath".split()
CAPTIONS = "caption text captions sentence sentences comment".split()
"""The names of columns, the surest first."""
_PHOTO_FOLDERS = "images Images Flicker8k_Dataset flickr30k_images".split()
_SPLIT = "split"
_SHOWN = 60


class Columns(NamedTuple):
    """The columns of photos and captions, and that of splits where there is one, as the table spells them."""

    photo: str
    caption: str
    split: str | None


def columns_of(file: CaptionFile, names: Iterable[str]) -> Columns | None:
    """Return the columns of a table, from its columns' ``names``; None where it has none for photos or for captions.

    Raises DataError where the columns that the user has named are not there.
    """
    names = list(names)
    spelled = {_plain(name): name for name in reversed(names)}
    split = spelled.get(_SPLIT)
    if file.columns:
        for name in file.columns:
            if name not in names:
                known = keys_of(dict.fromkeys(names))
                raise DataError(f"{file.path}: no column {name!r}; it has {known}: correct the names of the columns.")
        return Columns(file.columns[0], file.columns[1], split)
    photo = next((spelled[name] for name in PHOTOS if name in spelled), None)
    caption = next((spelled[name] for name in CAPTIONS if name in spelled), None)
    return None if photo is None or caption is None else Columns(photo, caption, split)


def _plain(name: str) -> str:
    return name.strip().strip('"').lower()


def unknown_columns(file: CaptionFile, names: Iterable[str]) -> DataError:
    """Return the error of a table whose columns have names of their own."""
    has = keys_of(dict.fromkeys(names))
    return DataError(
        f"{file.path}: no column of photos ({', '.join(PHOTOS[:4])}) and of captions ({', '.join(CAPTIONS[:2])}), but "
        f"{has}; name the two with columns."
    )


class Row(NamedTuple):
    """A row with the place that a sentence names."""

    location: str
    values: Mapping[str, Any]


def photos_of_rows(file: CaptionFile, rows: Iterable[Row], columns: Columns) -> list[CaptionedPhoto]:
    """Return the photos of a table, each once with the captions of all its rows; raise DataError."""
    captions: dict[str, list[str]] = {}
    for location, values in rows:
        if not in_split(file, values, columns):
            continue
        name = _name(file, location, values.get(columns.photo), columns.photo)
        group = captions.setdefault(name, [])
        group += texts_of(file.path, location, values.get(columns.caption), columns.caption)
    root = _root(file, next(iter(captions), ""))
    return [CaptionedPhoto(name, root / name, tuple(group)) for name, group in captions.items()]


def in_split(file: CaptionFile, values: Mapping[str, Any], columns: Columns) -> bool:
    if file.split is None or columns.split is None:
        return True
    return split_of(values, columns) in (file.split, "restval" if file.split == "train" else file.split)


def split_of(values: Mapping[str, Any], columns: Columns) -> str:
    return str(values.get(columns.split or "") or "").strip()


def splits_of_rows(rows: Iterable[Row], columns: Columns | None) -> tuple[str, ...]:
    """Return the splits that a table's column names."""
    if columns is None or columns.split is None:
        return ()
    return tuple(sorted({split_of(row.values, columns) for row in rows} - {""}))


def _name(file: CaptionFile, location: str, value: object, column: str) -> str:
    if isinstance(value, Mapping):  # as Hugging Face's datasets write an image
        value = value.get("path")
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{file.path}: {location} has {column} {value!r:.{_SHOWN}}; give the photo's file name.")
    if "\0" in value:
        raise DataError(f"{file.path}: {location} has a NUL in {column} {value!r:.{_SHOWN}}; write the name again.")
    return value.strip()


def texts_of(path: Path, location: str, value: object, column: str) -> Iterator[str]:
    """Yield the captions of a cell: a text, a list of texts, or objects with a text, as Karpathy's; raise DataError."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return
    if isinstance(value, str):
        if "\0" in value:
            raise DataError(f"{path}: {location} has a NUL in {column} {value!r:.{_SHOWN}}; write the text again.")
        yield value
    elif isinstance(value, Mapping) and isinstance(value.get("raw"), str):
        yield value["raw"]
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for item in value:
            yield from texts_of(path, location, item, column)
    else:
        raise DataError(f"{path}: {location} has {column} {value!r:.{_SHOWN}}; give a text, or a list of texts.")


def _root(file: CaptionFile, name: str) -> Path:
    """Return the folder that the photos' names start from: beside the file, or as well-known sets call it."""
    if file.has_root or not name or (file.root / name).exists():
        return file.root
    beside = file.path.parent
    folders = (beside, *(beside / folder for folder in _PHOTO_FOLDERS))
    return next((folder for folder in folders if (folder / name).exists()), file.root)
