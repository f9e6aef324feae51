"""Captions in a results file, each matched to its photo."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from wordgaze.data.json_file import PhotoId
from wordgaze.data.photo_ids import BY_ENDING, match_photos, spellings
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.results import Result, read_results
from wordgaze.errors import DataError
from wordgaze.evaluation.score import first_few
from wordgaze.tasks.references import files_of


def results_of(
    results: str | os.PathLike[str], photos: Mapping[PhotoId, CaptionedPhoto]
) -> tuple[dict[PhotoId, str], tuple[str, ...]]:
    """Return the photos' captions in a results file, and warnings on what it has besides.

    Raises DataError where a photo has no caption, or two.
    """
    entries = read_results(results).entries
    match = match_photos(files_of(photos), [entry.photo for entry in entries])
    if isinstance(match, str):
        raise DataError(f"{results}: {match}; name photos by their image_id.")
    captions: dict[PhotoId, str] = {}
    failed: set[PhotoId] = set()
    twice, others = 0, []
    for entry, photo in zip(entries, match.photos, strict=True):
        if photo is None:
            others.append(entry)
        elif entry.caption is None:
            failed.add(photo)
        elif captions.setdefault(photo, entry.caption) != entry.caption:
            raise DataError(
                f"{results}: image_id {photo} has two captions (again in {entry.location}); keep one of them, or, if "
                "these are references, give the file as --captions."
            )
        else:
            twice += 1
    missing = [photo_id for photo_id in photos if photo_id not in captions]
    if missing:
        raise DataError(_missing(results, photos, missing, failed, others))
    twice -= len(captions)
    return captions, tuple(_remarks(results, others, twice, match.reading))


def _missing(
    results: str | os.PathLike[str],
    photos: Mapping[PhotoId, CaptionedPhoto],
    missing: Sequence[PhotoId],
    failed: Container[PhotoId],
    others: Sequence[Result],
) -> str:
    """Return the sentence on photos without a caption; where all lack one, it shows how both files name photos."""
    start = f"{results} has no caption for {len(missing)} of the {len(photos)} photos that have references"
    if others and len(missing) == len(photos):
        files = [Path(name).name for name in files_of(photos).values() if name]
        named = f" (files {spellings(files)})" if files else ""
        its_own = spellings(dict.fromkeys(entry.photo.value for entry in others))
        return (
            f"{start}: their ids are {spellings(photos)}{named}, but those of the results are {its_own}; spell them "
            "alike, or name the captions file that belongs to these results."
        )
    errors = sum(photo in failed for photo in missing)
    failures = f", {errors} of which failed when they were captioned" if errors else ""
    return (
        f"{start} (image_id {first_few(missing)}){failures}; caption them, or name the captions file that belongs to "
        "these results."
    )


def _remarks(results: str | os.PathLike[str], others: Sequence[Result], twice: int, reading: str) -> Iterator[str]:
    more = sum(entry.caption is not None for entry in others)
    if more:
        subject = "1 caption is of a photo" if more == 1 else f"{more:,} captions are of photos"
        yield f"{results}: {subject} without references, and left out"
    if len(others) > more:
        failed = len(others) - more
        photos = "photo" if failed == 1 else "photos"
        yield f"{results}: {failed} more {photos} without references failed when they were captioned"
    if twice:
        entries = "entry has" if twice == 1 else "entries have"
        yield f"{results}: {twice} more {entries} the same photo and caption as another; such entries count once"
    if reading == BY_ENDING:
        yield f"{results}: photos are matched by the numbers that end their names"
