"""The self-check of configs/shapes.yaml does what it says: its model tells the truth about scenes it has not seen."""

from pathlib import Path

import pytest

from wordgaze.captioner import Captioner
from wordgaze.data.shapes import draw_scene
from wordgaze.tasks.train import parse_config, train

CONFIG = Path(__file__).parents[2] / "configs" / "shapes.yaml"


@pytest.mark.slow
def test_captions_and_maps_of_drawn_scenes_are_true(tmp_path: Path) -> None:
    captioner = Captioner.from_pretrained(train(parse_config(CONFIG), tmp_path / "run").folder)
    scenes = [draw_scene(2_000_000 + number) for number in range(100)]
    captions = captioner.caption([scene.image for scene in scenes])
    assert sum(caption.text in scene.captions for caption, scene in zip(captions, scenes, strict=True)) >= 90
    inside, area = [], []
    for scene in scenes[:40]:
        for word in captioner.explain(scene.image, text=scene.captions[0], method="mean").words:
            if box := scene.words.get(word.text):
                x, y = word.peak
                inside.append(box.x - 4 <= x <= box.x + box.width + 4 and box.y - 4 <= y <= box.y + box.height + 4)
                area.append((box.width + 8) * (box.height + 8) / 96**2)
    assert sum(inside) / len(inside) > 2 * sum(area) / len(area)  # twice what chance would give
