"""COCO's captions JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wordgaze.data.json_file import PhotoId, caption_of, id_of, items_of, known_id, new_id, value_of
from wordgaze.data.readers.caption_file import NO_FILE, CaptionedPhoto, CaptionFile, Reader
from wordgaze.errors import DataError


def _read(file: CaptionFile) -> list[CaptionedPhoto]:
    path, content = file.path, file.json
    files = _files(file)
    captions: dict[PhotoId, list[str]] = {photo_id: [] for photo_id in files}
    for index, annotation in enumerate(items_of(path, content, "annotations")):
        location = f"annotations[{index}]"
        if "bbox" in annotation and "caption" not in annotation:
            raise DataError(f"{path}: {location} is a box, not a caption; name the captions file instead.")
        photo_id = known_id(path, location, annotation, "image_id", captions, "images")
        captions[photo_id].append(caption_of(path, location, annotation, "caption"))
    return [CaptionedPhoto(photo_id, photo_file, tuple(captions[photo_id])) for photo_id, photo_file in files.items()]


def _files(file: CaptionFile) -> dict[PhotoId, Path]:
    """Return every photo's file by its id."""
    path, content = file.path, file.json
    if "images" not in content and not file.needs_files:  # some references are annotations alone
        ids = (
            id_of(path, f"annotations[{index}]", annotation, "image_id")
            for index, annotation in enumerate(items_of(path, content, "annotations"))
        )
        return dict.fromkeys(ids, NO_FILE)
    items: dict[PhotoId, dict[str, Any]] = {}
    files: dict[PhotoId, Path] = {}
    for index, image in enumerate(items_of(path, content, "images")):
        location = f"images[{index}]"
        if items.get(id_of(path, location, image, "id")) == image:  # again, as in merged files
            continue
        photo_id = new_id(path, location, image, items)
        items[photo_id] = image
        named = file.needs_files or image.get("file_name") is not None
        files[photo_id] = file.root / value_of(path, location, image, "file_name", str) if named else NO_FILE
    return files


def _recognizes(file: CaptionFile) -> bool:
    return file.holds_object and ("images" in file.json or "annotations" in file.json)


READER = Reader(_recognizes, _read, title="COCO's JSON")
