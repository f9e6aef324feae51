"""Drawn scenes of colored shapes whose captions and boxes are known, to hold a model's captions and maps to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from wordgaze.data.instances import Box
from wordgaze.errors import ConfigError, DataError

COLORS = {
    "red": (215, 40, 40),
    "green": (40, 165, 60),
    "blue": (45, 75, 220),
    "yellow": (240, 205, 40),
    "purple": (140, 50, 170),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle", "cross")
_FINENESS = 4  # drawn larger by this factor, then averaged: smooth edges, and boxes in quarters of a pixel


@dataclass(frozen=True)
class Scene:
    """One or two shapes on gray, every caption that is true of them, and the box of each word that has one."""

    image: Image.Image
    captions: tuple[str, ...]
    boxes: tuple[Box, ...]
    words: dict[str, Box]


@dataclass(frozen=True)
class _Shape:
    color: str
    kind: str
    x: int
    y: int
    width: int

    @property
    def name(self) -> str:
        return f"{self.color} {self.kind}"

    @property
    def box(self) -> Box:
        return Box(self.kind, self.x / _FINENESS, self.y / _FINENESS, self.width / _FINENESS, self.width / _FINENESS)


def draw_scene(seed: int, size: int = 96) -> Scene:
    """Return the scene of this seed, ``size`` pixels wide and high.

    Two shapes differ in color and kind, so that no word stands for both, and lie clearly above, below, left or right of
    each other.
    """
    if size < 32:
        raise ConfigError(f"shapes: size is {size}; give 32 or more, or the shapes can't be told apart.")
    rng = np.random.default_rng(seed)
    shapes, captions, words = (_one if rng.random() < 0.4 else _two)(rng, size * _FINENESS)
    image = Image.new("RGB", (size * _FINENESS, size * _FINENESS), (int(rng.integers(195, 246)),) * 3)
    for shape in shapes:
        color = np.clip(np.add(COLORS[shape.color], rng.integers(-15, 16, 3)), 0, 255)
        _draw(ImageDraw.Draw(image), shape, (int(color[0]), int(color[1]), int(color[2])))
        words |= {shape.color: shape.box, shape.kind: shape.box}
    return Scene(image.reduce(_FINENESS), captions, tuple(shape.box for shape in shapes), words)


def write_shapes(folder: str | os.PathLike[str], count: int, seed: int = 0, size: int = 96) -> Path:
    """Write scenes as ``photos/*.png``, ``captions.json`` and ``instances.json`` (COCO); return the captions' path.

    The same arguments give the same scenes, and different seeds different ones.
    """
    if not 1 <= count <= 1_000_000 or seed < 0:
        raise ConfigError(f"shapes: count {count}, seed {seed}; give 1 to 1,000,000 scenes and a seed from 0.")
    folder = Path(folder)
    images: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    try:
        (folder / "photos").mkdir(parents=True, exist_ok=True)
        for number in range(count):
            scene = draw_scene(seed * 1_000_000 + number, size)
            image_id, name = number + 1, f"{number:06}.png"
            scene.image.save(folder / "photos" / name)
            images.append({"id": image_id, "file_name": name, "width": size, "height": size})
            for caption in scene.captions:
                captions.append({"id": len(captions) + 1, "image_id": image_id, "caption": caption})
            for box in scene.boxes:
                bbox = [box.x, box.y, box.width, box.height]
                category_id = SHAPES.index(box.category) + 1
                boxes.append(
                    {"id": len(boxes) + 1, "image_id": image_id, "category_id": category_id, "bbox": bbox}
                    | {"area": box.width * box.height, "iscrowd": 0}
                )
        categories = [{"id": number, "name": kind} for number, kind in enumerate(SHAPES, start=1)]
        instances = {"images": images, "annotations": boxes, "categories": categories}
        (folder / "instances.json").write_text(json.dumps(instances))
        (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))
    except OSError as error:
        raise DataError(f"{folder}: can't be written ({error.strerror}); name a folder that can be.") from None
    return folder / "captions.json"


def _one(rng: np.random.Generator, side: int) -> tuple[list[_Shape], tuple[str, ...], dict[str, Box]]:
    color, kind = str(rng.choice(list(COLORS))), str(rng.choice(SHAPES))
    length, (low, high) = (("small", (0.18, 0.26)), ("big", (0.42, 0.55)))[int(rng.integers(2))]
    width = round(rng.uniform(low, high) * side)
    x, y = (int(value) for value in rng.integers(side // 20, side - side // 20 - width, 2))
    shape = _Shape(color, kind, x, y, width)
    captions = (f"a {shape.name}", f"a {length} {shape.name}", f"a single {shape.name}")
    return [shape], captions, {length: shape.box}


def _two(rng: np.random.Generator, side: int) -> tuple[list[_Shape], tuple[str, ...], dict[str, Box]]:
    colors, kinds = rng.permutation(list(COLORS))[:2], rng.permutation(SHAPES)[:2]
    widths = [round(share * side) for share in rng.uniform(0.24, 0.36, 2)]
    margin = side // 20
    room = side - 2 * margin - sum(widths)
    gap = int(rng.integers(side // 16, room + 1))
    start = margin + int(rng.integers(0, room - gap + 1))
    along = [start, start + widths[0] + gap]
    middle = rng.integers(side // 4, side - side // 4 + 1)  # of both, but for a little
    across = [int(middle + rng.integers(-side // 20, side // 20 + 1) - width // 2) for width in widths]
    vertical = rng.random() < 0.5
    corners = zip(across, along, strict=True) if vertical else zip(along, across, strict=True)
    first, second = (
        _Shape(str(color), str(kind), x, y, width)
        for color, kind, (x, y), width in zip(colors, kinds, corners, widths, strict=True)
    )
    relation, inverse = ("above", "below") if vertical else ("left of", "right of")
    captions = (
        f"a {first.name} {relation} a {second.name}",
        f"a {second.name} {inverse} a {first.name}",
        f"a {first.name} and a {second.name}",
        f"a {second.name} and a {first.name}",
    )
    return [first, second], captions, {}


def _draw(draw: ImageDraw.ImageDraw, shape: _Shape, color: tuple[int, int, int]) -> None:
    left, top = shape.x, shape.y
    right, bottom = left + shape.width - 1, top + shape.width - 1  # Pillow draws the last pixel too
    third = shape.width // 3
    if shape.kind == "circle":
        draw.ellipse((left, top, right, bottom), color)
    elif shape.kind == "square":
        draw.rectangle((left, top, right, bottom), color)
    elif shape.kind == "triangle":
        draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], color)
    else:
        draw.rectangle((left + third, top, right - third, bottom), color)
        draw.rectangle((left, top + third, right, bottom - third), color)
