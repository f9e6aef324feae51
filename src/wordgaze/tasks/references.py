"""What captions and maps are measured against: the reference captions and boxes of the same photos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wordgaze.data.captions import CaptionSet, find_reader, read_captions
from wordgaze.data.instances import Instances, read_instances
from wordgaze.data.json_file import PhotoId
from wordgaze.data.listing import PHOTO_SUFFIXES
from wordgaze.data.photo_ids import spellings
from wordgaze.data.readers import parquet, webdataset
from wordgaze.data.readers.caption_file import NO_FILE, CaptionedPhoto, CaptionFile
from wordgaze.errors import ConfigError, DataError
from wordgaze.evaluation.categories import CATEGORIES
from wordgaze.evaluation.score import first_few
from wordgaze.files import one_line

TEST_SPLIT, ALL_SPLITS = "test", "all"
"""The default split of references, and the name that asks for all."""


def holds_photos(captions: str | os.PathLike[str]) -> bool:
    """Return whether a file, or a folder of shards, is of a format that holds photos themselves: tar or Parquet."""
    try:
        return find_reader(CaptionFile(captions), "auto") in (webdataset.READER, parquet.READER)
    except (ConfigError, DataError):  # said when it is read
        return False


def reference_photos(
    captions: str | os.PathLike[str], split: str | None = None, columns: Sequence[str] = ()
) -> CaptionSet:
    """Return the photos of a captions file, which need not name files, as published references often don't.

    ``split``: one of the file's, or ``all``; by default the test set of a file with several. ``columns``: as of
    :func:`~wordgaze.data.captions.read_captions`. Raises DataError.
    """
    default = None if split == ALL_SPLITS else TEST_SPLIT
    photos = read_captions(captions, split=_split(split), needs_files=False, default_split=default, columns=columns)
    if split is None and photos.split is not None:
        others = ", ".join(name for name in photos.splits if name != photos.split)
        return _noted(photos, f"{captions}: the split {photos.split} is taken; --split names another ({others})")
    return photos


def photos_to_caption(
    captions: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    split: str | None = None,
    columns: Sequence[str] = (),
) -> CaptionSet:
    """Return the photos that the file ``captions`` names; raise DataError where one is not in the folder ``images``.

    ``images``: by default the file's own folder; photos that the file holds need none. ``split``: one of the file's, by
    default all. ``columns``: as of :func:`~wordgaze.data.captions.read_captions`.
    """
    photos = read_captions(captions, images, split=_split(split), columns=columns)
    missing = [_below(photo.path, images) for photo in photos if not photo.is_there()]
    if missing:
        splits = f" (in its splits {', '.join(photos.splits)}; --split takes one)" if _of_all_splits(photos) else ""
        where = "beside it" if images is None else f"in {images}"
        are = "is" if len(missing) == 1 else "are"
        raise DataError(
            f"{len(missing)} of the {len(photos)} photos that {captions} names{splits} {are} not {where} "
            f"({first_few(missing)}); name the folder that holds them all."
        )
    if split is None and len(photos.splits) > 1:
        splits = ", ".join(photos.splits)
        return _noted(photos, f"{captions}: all splits are taken ({splits}); --split test takes the test set alone")
    return photos


def check_scores_path(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise ConfigError where scores would be written under a photo's name; not every photo is a file already."""
    for path in paths:
        if Path(path).suffix.lower() in PHOTO_SUFFIXES:
            raise ConfigError(
                f"{one_line(path)} has the suffix of a photo, but the output is text; end its name in .json or .html."
            )


def reference_files(captions: str | os.PathLike[str], photos: CaptionSet) -> list[Path]:
    """Return the photos' files, and the files that their captions were read from, to check outputs against."""
    files = [photo.path for photo in photos if photo.packed is None and photo.path != NO_FILE]
    file = CaptionFile(captions)
    if file.is_folder:  # ids are names in it
        return [*files, *((file.path / str(photo.photo_id)).with_suffix(".txt") for photo in photos)]
    return [*files, *file.files]


def _noted(captions: CaptionSet, note: str) -> CaptionSet:
    return replace(captions, notes=(note, *captions.notes))


def _below(file: Path, folder: str | os.PathLike[str] | None) -> str:
    return str(file.relative_to(folder) if folder is not None and file.is_relative_to(folder) else file)


def _split(split: str | None) -> str | None:
    return None if split == ALL_SPLITS else split


def _of_all_splits(captions: CaptionSet) -> bool:
    return captions.split is None and len(captions.splits) > 1


def categories_seen(path: Path, photos: Mapping[PhotoId, CaptionedPhoto]) -> dict[PhotoId, set[str]]:
    """Return the categories in the boxes of those of the photos that the file lists."""
    instances = read_instances(path)
    check_categories(instances, path, "CHAIR")
    ids = instances.ids_of(files_of(photos), path)
    if not ids:
        raise DataError(
            f"{path} lists none of the {len(photos)} photos (image_id {first_few(list(photos))}), but "
            f"{spellings(instances.sizes) or 'no photo'}; name the instances file that belongs to the captions."
        )
    return {
        photo_id: {box.category for box in instances.boxes[ids[photo_id]]} for photo_id in photos if photo_id in ids
    }


def check_categories(instances: Instances, path: str | os.PathLike[str], measure: str) -> None:
    """Raise DataError where the file has none of COCO's categories, which ``measure`` knows by name."""
    known = instances.categories.values()
    if not set(CATEGORIES) & set(known):
        raise DataError(
            f"{os.fspath(path)} has none of COCO's 80 categories, which {measure} knows (the file has: "
            f"{first_few(list(known)) or 'none'}); name a COCO instances file."
        )


def files_of(photos: Mapping[PhotoId, CaptionedPhoto]) -> dict[PhotoId, str]:
    """Return each photo's file, "" where none is named."""
    return {photo_id: "" if photo.path == NO_FILE else str(photo.path) for photo_id, photo in photos.items()}
