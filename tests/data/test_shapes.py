"""The drawn truth: captions, boxes and pixels of a scene say the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from wordgaze.data.captions import read_captions
from wordgaze.data.instances import Box, read_instances
from wordgaze.data.photos import open_photo
from wordgaze.data.shapes import COLORS, SHAPES, Scene, draw_scene, write_shapes
from wordgaze.errors import ConfigError, DataError
from wordgaze.text.left_right import swap_left_right

SCENES = range(150)
NAME = rf"({'|'.join(COLORS)}) ({'|'.join(SHAPES)})"


def seen(scene: Scene) -> dict[str, tuple[str, Box]]:
    """What the pixels show, apart from what the scene says: kind -> (color, box)."""
    image = np.asarray(scene.image, int)
    islands, _ = ndimage.label(np.abs(image - image[0, 0]).sum(axis=-1) > 60)
    shapes = {}
    for number, (rows, columns) in enumerate(ndimage.find_objects(islands), start=1):
        island = islands[rows, columns] == number
        middle = np.median(image[rows, columns][island], axis=0)
        color = min(COLORS, key=lambda name: np.abs(middle - COLORS[name]).sum())
        height, width = island.shape
        # Of its box a square fills all, a circle 0.79, a cross 0.56 and a triangle 0.5, with a narrow top.
        if island.mean() > 0.92:
            kind = "square"
        elif island.mean() > 0.7:
            kind = "circle"
        else:
            kind = "triangle" if island[1].mean() < 0.25 else "cross"
        shapes[kind] = (color, Box(kind, columns.start, rows.start, width, height))
    return shapes


def is_true(caption: str, shapes: dict[str, tuple[str, Box]]) -> bool:
    """Whether a caption holds, by where the shapes are."""
    if single := re.fullmatch(rf"a (?:(small|big|single) )?{NAME}", caption):
        length, color, kind = single.groups()
        width = shapes[kind][1].width
        right = {"small": width < 30, "big": width > 36}.get(length, True)
        return len(shapes) == 1 and shapes[kind][0] == color and right
    pair = re.fullmatch(rf"a {NAME} (above|below|left of|right of|and) a {NAME}", caption)
    assert pair, caption
    color, kind, relation, other_color, other_kind = pair.groups()
    (_, box), (_, other) = shapes[kind], shapes[other_kind]
    related = {
        "above": box.y + box.height < other.y,
        "below": other.y + other.height < box.y,
        "left of": box.x + box.width < other.x,
        "right of": other.x + other.width < box.x,
        "and": True,
    }[relation]
    return len(shapes) == 2 and shapes[kind][0] == color and shapes[other_kind][0] == other_color and related


@pytest.mark.parametrize("size", [96, 64])
def test_captions_and_boxes_are_what_the_pixels_show(size: int) -> None:
    for seed in SCENES:
        scene = draw_scene(seed, size)
        assert scene.image.size == (size, size) and scene.image.mode == "RGB"
        shapes = seen(scene)
        assert sorted(shapes) == sorted(box.category for box in scene.boxes)
        for box in scene.boxes:
            color, drawn = shapes[box.category]
            assert scene.words[color] == scene.words[box.category] == box
            for side in ("x", "y", "width", "height"):
                assert abs(getattr(drawn, side) - getattr(box, side)) <= 1.5
        if size == 96:
            assert all(is_true(caption, shapes) for caption in scene.captions)


def test_a_mirrored_scene_has_the_swapped_captions() -> None:
    for seed in SCENES:
        scene = draw_scene(seed)
        mirrored = Scene(scene.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (), (), {})
        assert all(is_true(swap_left_right(caption), seen(mirrored)) for caption in scene.captions)


def test_every_word_with_a_box_is_in_a_caption_and_all_words_occur() -> None:
    vocabulary = set()
    for seed in SCENES:
        scene = draw_scene(seed)
        words = {word for caption in scene.captions for word in caption.split()}
        assert set(scene.words) == words - {"a", "and", "above", "below", "left", "right", "of", "single"}
        assert len(set(scene.captions)) == len(scene.captions) >= 3
        vocabulary |= words
    assert len(vocabulary) == 20
    assert vocabulary > {*COLORS, *SHAPES, "small", "big", "above", "left"}


def test_a_seed_stands_for_a_scene() -> None:
    first, again, other = draw_scene(5), draw_scene(5), draw_scene(6)
    assert (first.captions, first.boxes) == (again.captions, again.boxes)
    assert first.image.tobytes() == again.image.tobytes() != other.image.tobytes()
    assert len({draw_scene(seed).image.tobytes() for seed in SCENES}) == len(SCENES)


def test_written_scenes_are_read_back(tmp_path: Path) -> None:
    path = write_shapes(tmp_path / "new" / "folder", 12, seed=3, size=48)
    captions = read_captions(path, check_files=True)
    instances = read_instances(path.parent / "instances.json")
    assert len(captions) == len(instances.boxes) == 12
    for number, photo in enumerate(captions):
        scene = draw_scene(3_000_000 + number, 48)
        assert photo.captions == scene.captions
        assert instances.boxes[photo.photo_id] == scene.boxes
        assert instances.sizes[photo.photo_id] == (48, 48)
        assert open_photo(photo.path).tobytes() == scene.image.tobytes()


def test_written_scenes_are_the_same_each_time_and_differ_by_seed(tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_shapes(tmp_path / folder, 5, seed=seed, size=32)
    files = {folder: {path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*.*")} for folder in "abc"}
    assert files["a"] == files["b"]
    assert all(files["a"][name] != files["c"][name] for name in files["a"])


def test_senseless_orders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="size is 8"):
        draw_scene(0, 8)
    for count, seed in ((0, 0), (1_000_001, 0), (1, -1)):
        with pytest.raises(ConfigError, match="give 1 to 1,000,000 scenes"):
            write_shapes(tmp_path, count, seed)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: can't be written"):
        write_shapes(tmp_path / "file", 1)
