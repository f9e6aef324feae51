"""Which photo is meant, however a file spells its id: as a number, as text, with zeros before it, by file name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from wordgaze.data.json_file import PhotoId, whole
from wordgaze.data.listing import PHOTO_SUFFIXES


class Spelled(NamedTuple):
    """A photo as a file names it; ``is_name``: what should be a file's name rather than an id."""

    value: PhotoId | float
    is_name: bool = False


class Match(NamedTuple):
    """For each spelled photo the one that is meant, or None; ``reading``: how that was found."""

    photos: list[PhotoId | None]
    reading: str


Photos: TypeAlias = Mapping[PhotoId, str]  # id → the photo's file, "" where it is not known


def match_photos(photos: Photos, spelled: Sequence[Spelled]) -> Match | str:
    """Return which of ``photos`` each of ``spelled`` means, or a clause that says what makes that ambiguous.

    All are read in the same way: the one that finds the most photos, of equals the strictest.
    """
    readings = {name: read(photos, spelled) for name, read in _READINGS.items()}
    best = Match(*max(((meant, name) for name, meant in readings.items()), key=lambda pair: _count(pair[0])))
    if best.reading == _ID:
        names = readings[_STEM]
        for item, photo, other in zip(spelled, best.photos, names, strict=True):
            if item.is_name and None not in (photo, other) and photo != other:
                return f"{item.value!r} is the id of one photo and the file name of another, {photos[other or '']}"
    # A few ids are numbers of other photos' names by chance; most of them are not.
    elif 2 * _count(readings[_ID]) > len(photos):
        for item, photo, other in zip(spelled, best.photos, readings[_ID], strict=True):
            if None not in (photo, other) and photo != other:
                return (
                    f"{_count(readings[_ID])} of the {len(photos)} photos match by id and {_count(best.photos)} by "
                    f"file name, but {item.value!r} is another photo by its name"
                )
    return best


def _count(photos: Iterable[PhotoId | None]) -> int:
    return len(set(photos) - {None})


def spellings(values: Iterable[object]) -> str:
    """Return the first few ids, for a sentence, as a file would spell them."""
    ids = list(values)
    return ", ".join(f"{photo_id!r:.60}" for photo_id in ids[:3]) + (", ..." if len(ids) > 3 else "")


def _by_key(of_photo: Callable[[PhotoId, str], Hashable], of_value: Callable[[Spelled], Hashable]) -> _Read:
    """Return a reading: a photo is the one whose key is the value's, where no other has it."""

    def read(photos: Photos, spelled: Sequence[Spelled]) -> list[PhotoId | None]:
        index: dict[Hashable, PhotoId | None] = {}
        for photo_id, file in photos.items():
            key = of_photo(photo_id, file)
            index[key] = None if key in index else photo_id
        index.pop(None, None)
        return [index.get(of_value(item)) for item in spelled]

    return read


def _by_id(photos: Photos, spelled: Sequence[Spelled]) -> list[PhotoId | None]:
    """Return the photos by their ids, as they stand, else as numbers."""
    exact = _by_key(lambda photo_id, _: str(photo_id), lambda item: str(item.value).strip())
    number = _by_key(lambda photo_id, _: whole(photo_id), lambda item: whole(item.value))
    return [
        other if photo is None else photo
        for photo, other in zip(exact(photos, spelled), number(photos, spelled), strict=True)
    ]


def _by_name(photos: Photos, spelled: Sequence[Spelled]) -> list[PhotoId | None]:
    """Return the photos by their files' names; the folders decide where several have the same one."""
    index: dict[str, list[tuple[PhotoId, list[str]]]] = {}
    for photo_id, file in photos.items():
        parts = _parts(file or photo_id)
        index.setdefault(parts[-1], []).append((photo_id, parts))
    matches: list[PhotoId | None] = []
    shared: list[int] = []
    best: dict[PhotoId, int] = {}
    for item in spelled:
        parts = _parts(item.value) if isinstance(item.value, str) else [""]
        common = sorted(
            ((_common(parts, others), photo_id) for photo_id, others in index.get(parts[-1], ())),
            key=lambda pair: -pair[0],
        )
        unique = common and (len(common) == 1 or common[0][0] > common[1][0])
        photo = common[0][1] if unique else None
        matches.append(photo)
        shared.append(common[0][0] if unique else 0)
        if photo is not None:
            best[photo] = max(best.get(photo, 0), shared[-1])
    # "train/1.jpg" is another photo than "val/1.jpg", where both are there.
    return [
        photo if photo is not None and count == best[photo] else None
        for photo, count in zip(matches, shared, strict=True)
    ]


def _parts(value: PhotoId) -> list[str]:
    """Return folders and name, of an address or of Windows, too."""
    text = unicodedata.normalize("NFC", str(value)).strip()
    if "://" in text:
        text = re.split(r"[?#]", text)[0]
    return re.split(r"[/\\]+", text)


def _common(first: list[str], second: list[str]) -> int:
    count = 0
    for left, right in zip(reversed(first), reversed(second), strict=False):
        if left != right:
            break
        count += 1
    return count


def _stem(value: PhotoId | float) -> str | None:
    if not isinstance(value, str):
        return None
    name = _parts(value)[-1]
    before, dot, suffix = name.rpartition(".")
    return before if f"{dot}{suffix.lower()}" in PHOTO_SUFFIXES else name or None


def _number(value: PhotoId | float) -> int | None:
    """Return the number that ends a name, as COCO's do: 391895 of "COCO_val2014_000000391895.jpg"."""
    number = whole(value)
    ending = re.search(r"(?:^|[^0-9A-Za-z])(\d{1,18})$", _stem(value) or "", re.ASCII)
    return number if number is not None or not ending else int(ending[1])


_Read: TypeAlias = Callable[[Photos, Sequence[Spelled]], list["PhotoId | None"]]
_ID, _STEM, BY_ENDING = "id", "stem", "number at the end"
_READINGS: dict[str, _Read] = {
    _ID: _by_id,
    "name": _by_name,
    _STEM: _by_key(lambda photo_id, file: _stem(file or str(photo_id)), lambda item: _stem(item.value)),
    BY_ENDING: _by_key(lambda photo_id, file: _number(file or photo_id), lambda item: _number(item.value)),
}
