"""Which photos and captions a run can learn from: photos that can be read, captions that say something."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from wordgaze.data.captions import CaptionSet
from wordgaze.data.photo_table import PhotoTable
from wordgaze.data.photos import open_photo
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import DataError, PhotoError
from wordgaze.text.tokenizer import CaptionTokenizer

DECODED = 1000
"""Up to this many photos are decoded before a run, no longer than an epoch takes; of more only the ends are read."""
_NAMED = 5
_AT_ONCE = 1024  # photos that wait for a thread
_END = 2048  # bytes, in which a whole file's last mark is
# How JPEG and PNG files begin, and what ends them.
_FORMATS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND"}
_REMEDY = "set data.on_broken to skip"


def find_broken(
    photos: Iterable[CaptionedPhoto], on_message: Callable[[str], None], decoded: int = DECODED
) -> dict[Path, str]:
    """Return the paths of photos that can't be read, each with the reason; tell ``on_message`` which look odd.

    Up to ``decoded`` photos are decoded; of a larger set beginning and end are read, which finds what was cut short,
    is empty or no photo, and only what looks odd there is decoded.
    """
    unique = PhotoTable(_unique(photos))
    odd: dict[Path, str] = {}
    broken: dict[Path, str] = {}

    def reason(photo: CaptionedPhoto) -> str | None:
        if len(unique) > decoded and _has_its_end(photo):
            return None
        try:
            open_photo(photo.source, on_warning=lambda message: odd.update({photo.path: message}))
        except PhotoError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(unique), _AT_ONCE):
            some = list(unique[first : first + _AT_ONCE])
            reasons = zip(some, pool.map(reason, some), strict=True)
            broken |= {photo.path: why for photo, why in reasons if why is not None}
    if odd:
        on_message(f"{len(odd):,} of {len(unique):,} photos are taken as they are: {named(sorted(odd), odd)}")
    return broken


def _unique(photos: Iterable[CaptionedPhoto]) -> Iterator[CaptionedPhoto]:
    """Yield each photo once, without its captions."""
    seen: set[int] = set()
    for photo in photos:
        key = hash(str(photo.path))
        if key not in seen:
            seen.add(key)
            yield replace(photo, captions=())


def _has_its_end(photo: CaptionedPhoto) -> bool:
    try:
        if photo.packed is not None:
            beginning, end = photo.packed.ends(4, _END)
        else:
            with photo.path.open("rb") as file:
                beginning = file.read(4)
                file.seek(max(0, photo.path.stat().st_size - _END))
                end = file.read()
    except (OSError, PhotoError):
        return False
    return any(beginning.startswith(start) and mark in end for start, mark in _FORMATS.items())


def without_broken(
    captions: CaptionSet, broken: Mapping[Path, str], skip: bool, on_message: Callable[[str], None]
) -> CaptionSet:
    """Return the set without its ``broken`` photos; raise DataError, which names them, unless ``skip``."""
    lost = [photo.path for photo in captions if photo.path in broken]
    if not lost:
        return captions
    unique = list(dict.fromkeys(lost))
    count = f"{len(unique):,} of {len({photo.path for photo in captions}):,} photos can't be read"
    if not skip:
        raise DataError(f"{count}: {named(unique, broken)}; or {_REMEDY}, to train without.")
    if len(lost) == len(captions):
        raise DataError(f"None of the {len(unique):,} photos can be read: {named(unique, broken)}.")
    on_message(f"left out, {count}: {named(unique, broken)}")
    return replace(captions, photos=PhotoTable(photo for photo in captions if photo.path not in broken))


def named(paths: Sequence[Path], broken: Mapping[Path, str]) -> str:
    """Return the first of the paths, each with the reason why it is broken, and how many more there are."""
    names = " · ".join(f"{path} {broken[path]}" for path in paths[:_NAMED])
    return names + (f" · and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else "")


def without_empty(captions: CaptionSet, tokenizer: CaptionTokenizer, on_message: Callable[[str], None]) -> CaptionSet:
    """Return the set without the captions of which the tokenizer leaves no word, and photos that then have none.

    An emoji alone is one: it would teach that a photo is to be met with silence. Raise DataError where none is left.
    """
    dropped, example = 0, ""

    def cleaned() -> Iterator[CaptionedPhoto]:
        nonlocal dropped, example
        for photo in captions:
            meaning = tuple(caption for caption in photo.captions if not tokenizer.says_nothing(caption))
            if len(meaning) < len(photo.captions):
                dropped += len(photo.captions) - len(meaning)
                example = example or next(caption for caption in photo.captions if caption not in meaning)
            if meaning:
                yield photo if len(meaning) == len(photo.captions) else replace(photo, captions=meaning)

    photos = PhotoTable(cleaned())
    if not dropped:
        return captions
    what = f"{dropped:,} captions without a word that the tokenizer knows, such as {example!r}"
    if not photos:
        raise DataError(f"No photo has a caption to learn from: left out {what}; correct captions or tokenizer.")
    lost = len(captions) - len(photos)
    on_message(f"left out {what}" + (f", and {lost:,} photos that have no other" if lost else ""))
    return replace(captions, photos=photos)
