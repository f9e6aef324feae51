"""All that wordgaze does with a model, on a checkpoint of each family as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.grounding_data import write_data
from tests.model_folder import draw_photo

from wordgaze import demo
from wordgaze import folder as module
from wordgaze.captioner import Captioner
from wordgaze.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore::wordgaze.errors.ModelWarning")

FAMILIES = [
    "blip_folder",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("vit_gpt2_folder", "deit_bert_folder", "vit_roberta_folder")
    ),
]


@pytest.fixture(params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result


def test_all_methods_of_explanation_and_the_pages(checkpoint: Path, tmp_path: Path) -> None:
    captioner = Captioner.from_pretrained(checkpoint, "cpu")
    photo = draw_photo(tmp_path / "photo.png", 2, (150, 70))
    down, across = captioner.model.grid
    assert captioner.model.num_prefix > 0
    for method in captioner.methods:
        explanation = captioner.explain(photo, method=method, min_length=5)
        assert explanation.caption.text and len(explanation.words) == len(explanation.caption.words)
        for word in explanation.words:
            assert word.map.shape == (down, across) and abs(word.map.sum() - 1) < 1e-4
            assert np.isfinite(word.map).all() and word.map.min() >= 0
            assert word.prefix is not None and 0 <= word.prefix <= 1
    for name in ("maps.png", "page.html", "maps.json", "maps.npz"):
        explanation.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 500
    assert [word.text for word in captioner.explain(photo, text="a dog").words] == ["a", "dog"]
    report = demo.explain_upload(captioner, photo.read_bytes(), "photo.png", num_beams=3, max_length=9)
    assert "photo.png" in report


def test_scores_and_maps_on_boxes(checkpoint: Path, tmp_path: Path) -> None:
    write_data(tmp_path)
    data = ("--images", tmp_path / "photos", "--captions", tmp_path / "captions.json", "--model", checkpoint)
    run("evaluate", *data, "--json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["images"] == 4
    run("grounding", *data, "--instances", tmp_path / "instances.json", "--json", tmp_path / "maps.json")
    assert json.loads((tmp_path / "maps.json").read_text())["words"] >= 4


def test_confidence_of_a_converted_folder(checkpoint: Path, tmp_path: Path) -> None:
    run("convert", checkpoint, tmp_path / "model")
    captioner = Captioner.from_pretrained(tmp_path / "model", "cpu")
    photos = []
    for number in range(120):
        noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        photos.append(tmp_path / "photos" / f"{number}.png")
        photos[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(noise).resize((80, 60)).save(photos[-1])
    # Every second caption is right, since the model wrote its reference.
    texts = [caption.text or "zebra" for caption in captioner.caption(photos, min_length=3)]
    images = [{"id": number, "file_name": photo.name} for number, photo in enumerate(photos)]
    annotations = [
        {"image_id": number, "caption": text if number % 2 else f"zebra {number}"} for number, text in enumerate(texts)
    ]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    generation = tmp_path / "model" / module.GENERATION
    generation.write_text(json.dumps(json.loads(generation.read_text()) | {"min_length": 3}))
    data = ("--images", tmp_path / "photos", "--captions", tmp_path / "captions.json")
    run("calibrate", tmp_path / "model", *data)
    result = run("caption", photos[0], "--model", tmp_path / "model", "--confidence")
    assert 0 < float(result.stdout.rstrip().split("\t")[-1]) < 1
