"""Boxes on disk: COCO's instances JSON."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from wordgaze.data.json_file import PhotoId, items_of, known_id, new_id, read_object, value_of
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
    """A COCO instances file by photo: ``boxes``, empty for a photo that has none, and ``sizes`` (w, h)."""

    categories: dict[int, str]
    boxes: dict[PhotoId, tuple[Box, ...]]
    sizes: dict[PhotoId, tuple[int, int]]


def read_instances(path: str | os.PathLike[str]) -> Instances:
    """Reads boxes from COCO instances JSON; crowds are kept and flagged. Raises DataError."""
    path = Path(path)
    content = read_object(path)
    categories: dict[int, str] = {}
    for index, item in enumerate(items_of(path, content, "categories")):
        place = f"categories[{index}]"
        categories[value_of(path, place, item, "id", int)] = value_of(path, place, item, "name", str)
    sizes: dict[PhotoId, tuple[int, int]] = {}
    for index, item in enumerate(items_of(path, content, "images")):
        place = f"images[{index}]"
        width, height = (value_of(path, place, item, key, int) for key in ("width", "height"))
        sizes[new_id(path, place, item, sizes)] = (width, height)
    boxes: dict[PhotoId, list[Box]] = {photo_id: [] for photo_id in sizes}
    for index, item in enumerate(items_of(path, content, "annotations")):
        place = f"annotations[{index}]"
        photo_id = known_id(path, place, item, "image_id", boxes, "images")
        category = categories[known_id(path, place, item, "category_id", categories, "categories")]
        bbox = value_of(path, place, item, "bbox", list)
        if len(bbox) != 4 or not all(map(_is_number, bbox)) or min(bbox[2:]) < 0:
            raise DataError(
                f"{path}: {place} has bbox {bbox!r:.60}; give x, y, width, height in photo pixels"
            )
        x, y, width, height = map(float, bbox)
        boxes[photo_id].append(Box(category, x, y, width, height, crowd=bool(item.get("iscrowd"))))
    return Instances(categories, {photo_id: tuple(some) for photo_id, some in boxes.items()}, sizes)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
