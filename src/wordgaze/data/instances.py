"""Boxes on disk: COCO's instances JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wordgaze.data.json_file import PhotoId, items_of, known_id, new_id, read_object, value_of
from wordgaze.data.photo_ids import Spelled, match_photos
from wordgaze.errors import DataError


@dataclass(frozen=True)
class Box:
    """Where a thing is, in photo pixels from the top left corner; ``crowd``: many of it under one box."""

    category: str
    x: float
    y: float
    width: float
    height: float
    crowd: bool = False


@dataclass(frozen=True)
class Instances:
    """A COCO instances file by photo: ``boxes``, empty for a photo that has none, and ``sizes`` (w, h).

    ``files``: the photos' file names, where it has them.
    """

    categories: dict[int, str]
    boxes: dict[PhotoId, tuple[Box, ...]]
    sizes: dict[PhotoId, tuple[int, int]]
    files: dict[PhotoId, str] = field(default_factory=dict)

    def ids_of(self, photos: Mapping[PhotoId, str], path: str | os.PathLike[str]) -> dict[PhotoId, PhotoId]:
        """Return the id here of each of ``photos`` (id → file) that the file ``path`` lists, however it is spelled.

        Raises DataError where ids and file names contradict each other.
        """
        by_id = match_photos(photos, [Spelled(photo_id) for photo_id in self.sizes])
        named = [photo_id for photo_id, name in self.files.items() if name]
        by_name = match_photos(photos, [Spelled(self.files[photo_id], is_name=True) for photo_id in named])
        if isinstance(by_id, str) or isinstance(by_name, str):  # a name that is also an id
            raise DataError(f"{path}: {by_id if isinstance(by_id, str) else by_name}; give the photos one numbering.")
        ids = {photo: own for own, photo in zip(self.sizes, by_id.photos, strict=True) if photo is not None}
        names = {photo: own for own, photo in zip(named, by_name.photos, strict=True) if photo is not None}
        for photo, own in ids.items():
            if names.get(photo, own) != own:
                raise DataError(
                    f"{path}: photo {photo!r} is {self.files.get(own) or own!r} by its id, but {names[photo]!r} by its "
                    f"file name; give captions and boxes the same ids."
                )
        return ids if len(ids) >= len(names) else names


BOXES = "name boxes in COCO's format, a JSON object with images, annotations and categories"
"""What to do about a file of another kind."""


def read_instances(path: str | os.PathLike[str]) -> Instances:
    """Return the boxes of a COCO instances JSON, crowds included and flagged. Raises DataError."""
    path = Path(path)
    content = read_object(path, BOXES)
    categories: dict[int, str] = {}
    for index, item in enumerate(items_of(path, content, "categories")):
        location = f"categories[{index}]"
        categories[value_of(path, location, item, "id", int)] = value_of(path, location, item, "name", str)
    sizes: dict[PhotoId, tuple[int, int]] = {}
    files: dict[PhotoId, str] = {}
    for index, item in enumerate(items_of(path, content, "images")):
        location = f"images[{index}]"
        width, height = (value_of(path, location, item, key, int) for key in ("width", "height"))
        if min(width, height) < 1:
            raise DataError(f"{path}: {location} is {width} x {height} pixels; give the photo's size.")
        photo_id = new_id(path, location, item, sizes)
        sizes[photo_id] = (width, height)
        name = item.get("file_name")
        files[photo_id] = name if isinstance(name, str) else ""
    boxes: dict[PhotoId, list[Box]] = {photo_id: [] for photo_id in sizes}
    for index, item in enumerate(items_of(path, content, "annotations")):
        location = f"annotations[{index}]"
        photo_id = known_id(path, location, item, "image_id", boxes, "images")
        category = categories[known_id(path, location, item, "category_id", categories, "categories")]
        bbox = value_of(path, location, item, "bbox", list)
        if len(bbox) != 4 or not all(map(_is_number, bbox)) or min(bbox[2:]) < 0:
            raise DataError(f"{path}: {location} has bbox {bbox!r:.60}; give x, y, width, height in photo pixels.")
        x, y, width, height = map(float, bbox)
        boxes[photo_id].append(Box(category, x, y, width, height, crowd=bool(item.get("iscrowd"))))
    return Instances(categories, {photo_id: tuple(group) for photo_id, group in boxes.items()}, sizes, files)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
