"""COCO's captions JSON."""

from __future__ import annotations

from wordgaze.data.json_file import PhotoId, items_of, known_id, new_id, value_of
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader
from wordgaze.errors import DataError


def _read(file: CaptionFile) -> list[CaptionedPhoto]:
    path, content = file.path, file.json
    names: dict[PhotoId, str] = {}
    for index, image in enumerate(items_of(path, content, "images")):
        place = f"images[{index}]"
        photo_id = new_id(path, place, image, names)
        names[photo_id] = value_of(path, place, image, "file_name", str)
    captions: dict[PhotoId, list[str]] = {photo_id: [] for photo_id in names}
    for index, annotation in enumerate(items_of(path, content, "annotations")):
        place = f"annotations[{index}]"
        if "bbox" in annotation and "caption" not in annotation:
            raise DataError(f"{path}: {place} is a box, not a caption; name the captions file instead")
        photo_id = known_id(path, place, annotation, "image_id", captions, "images")
        captions[photo_id].append(value_of(path, place, annotation, "caption", str))
    return [
        CaptionedPhoto(photo_id, file.root / name, tuple(captions[photo_id]))
        for photo_id, name in names.items()
    ]


READER = Reader(lambda file: "images" in file.json or "annotations" in file.json, _read)
