"""A folder with one of every fault that `wordgaze data check` finds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def draw(path: Path, seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Write a photo that is like no other: a few smooth patches of color."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(path)
    return image


def faulty_set(folder: Path) -> Path:
    """Write COCO captions with every fault but a broken file, and return their path; photo 0 to 29 are sound."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []

    def add(name: str, *texts: Any, **more: Any) -> None:
        number = len(images)
        images.append({"id": number, "file_name": name, **more})
        captions.extend({"id": len(captions), "image_id": number, "caption": text} for text in texts)

    for number in range(30):
        draw(photos / f"good-{number}.png", number)
        add(f"good-{number}.png", f"the dog number {number} is standing with a ball of color {number}")
    shutil.copy(photos / "good-0.png", photos / "same.png")
    add("same.png", "the very same photo is here with another caption")
    ImageOps.mirror(Image.open(photos / "good-1.png")).convert("RGB").resize((80, 60)).save(photos / "near.jpg")
    add("near.jpg", "the near photo is here with another caption")
    add("missing.jpg", "the photo is missing from the folder")
    (photos / "page.jpg").write_text("<html>not found</html>")
    add("page.jpg", "the photo is a web page from the server")
    whole = draw(photos / "clear.png", 40).convert("RGBA")
    whole.putalpha(0)
    whole.save(photos / "clear.png")
    add("clear.png", "the photo is transparent from left to right")
    for number, texts in enumerate(FAULTY_CAPTIONS.values(), start=50):
        draw(photos / f"{number}.png", number)
        add(f"{number}.png", *texts)
    for number in range(60, 66):
        draw(photos / f"{number}.png", number)
        add(f"{number}.png", "A photo of a product.")
    images.append({"id": 99})
    captions.append({"id": 1000, "image_id": 777, "caption": "whose?"})
    path = folder / "captions.json"
    path.write_text(json.dumps({"info": {"year": 2026}, "images": images, "annotations": captions}), encoding="utf-8")
    return path


FAULTY_CAPTIONS: dict[str, tuple[Any, ...]] = {
    "no-caption": (),
    "empty-caption": ("the first is good with words", "   "),
    "not-text": ("the first is good with words", "12345", 17),
    "encoding": ("the cafÃ© is at the corner with two chairs", "the b\ufffdd one is lost"),
    "duplicate-caption": ("The cat is on the mat.", "the cat is on  the mat"),
    "long-caption": ("the dog is here and " * 20,),
    "other-language": ("ein Hund sitzt auf der Straße und ist mit einem Ball da",),
}
