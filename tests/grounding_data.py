"""Photos with captions and boxes: four, of which one has no box."""

from __future__ import annotations

import json
from pathlib import Path

from tests.model_folder import draw_photo

CAPTIONS = {
    2: ["a red dog on the grass", "two men and a dog"],
    3: ["the cat's tail", "a dog sits"],
    7: ["a man and a dog", "grass"],
    8: ["a bench"],
}
BOXES = {
    2: [("dog", (10, 10, 40, 30)), ("person", (0, 0, 50, 90))],
    3: [("dog", (0, 0, 90, 60))],
    7: [("dog", (3, 3, 9, 9))],
}
SIZES = {2: (120, 90), 3: (90, 120), 7: (200, 40), 8: (96, 64)}


def write_data(folder: Path, captions=CAPTIONS, boxes=BOXES) -> None:
    """Write the photos, their captions and their boxes to ``folder``, in COCO's format."""
    (folder / "photos").mkdir()
    images = [
        {"id": number, "file_name": f"{number}.png", "width": SIZES[number][0], "height": SIZES[number][1]}
        for number in captions
    ]
    for number in captions:
        draw_photo(folder / "photos" / f"{number}.png", number, SIZES[number])
    texts = [{"image_id": number, "caption": text} for number, some in captions.items() for text in some]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": texts}))
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    numbers = {"person": 1, "dog": 18}
    found = [
        {"id": index, "image_id": number, "category_id": numbers[category], "bbox": list(box)}
        for index, (number, category, box) in enumerate(
            (number, *one) for number, some in boxes.items() for one in some
        )
    ]
    values = {"images": images, "annotations": found, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(values))
