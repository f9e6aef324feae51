"""Karpathy's ``dataset_*.json``, with its splits."""

from __future__ import annotations

from wordgaze.data.json_file import caption_of, items_of, value_of
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader
from wordgaze.errors import DataError


def _read(file: CaptionFile) -> list[CaptionedPhoto]:
    """Return the photos of ``dataset_*.json``; ``restval`` counts as ``train``, as in the papers that use it."""
    path, photos = file.path, []
    for index, image in enumerate(items_of(path, file.json, "images")):
        location = f"images[{index}]"
        split = value_of(path, location, image, "split", str)
        if file.split not in (None, split) and (file.split, split) != ("train", "restval"):
            continue
        folder = image.get("filepath") or ""  # only his COCO file has them
        photo_id = value_of(path, location, image, "cocoid" if "cocoid" in image else "imgid", int, str)
        name = value_of(path, location, image, "filename", str)
        captions = tuple(
            caption_of(path, f"{location}.sentences[{number}]", sentence, "raw")
            for number, sentence in enumerate(value_of(path, location, image, "sentences", list))
        )
        photos.append(CaptionedPhoto(photo_id, file.root / str(folder) / name, captions))
    splits = _splits(file)
    if splits and not photos:
        raise DataError(f"{path}: no photo in split {file.split!r}; it has {', '.join(splits)}: choose one of these.")
    return photos


def _splits(file: CaptionFile) -> tuple[str, ...]:
    splits = (image.get("split") for image in items_of(file.path, file.json, "images"))
    return tuple(sorted({split for split in splits if isinstance(split, str)}))


def _has_sentences(file: CaptionFile) -> bool:
    images = file.json.get("images") if file.holds_object else None
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and "sentences" in first


READER = Reader(_has_sentences, _read, _splits, "Karpathy's JSON")
