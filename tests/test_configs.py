"""Every shipped config is run: two steps on drawn scenes with a small random encoder, by overrides."""

from pathlib import Path

import pytest

from wordgaze.data.annotations import Source
from wordgaze.data.shapes import write_shapes
from wordgaze.hub import load_folder
from wordgaze.tasks.train import parse_config, train

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_two_steps_of_a_config(config, tmp_path):
    captions = write_shapes(tmp_path / "shapes", 16, size=48)
    source = f"{{captions: {captions}, limit: 8}}"
    overrides = [
        *("--data.train", f"[{source}]", f"--data.validation={{shapes: {source}}}"),
        *("--data.batch_size", "4", "--data.workers", "0"),
        *("--train.max_steps", "2", "--train.accelerator", "cpu", "--train.devices", "1"),
    ]
    plain = parse_config(config)
    size = plain.encoder.image_size or (224, 224)
    if plain.train.initial_model is not None:
        overrides += ["--train.initial_model", "bundled"]
        if plain.encoder.beside is not None:
            overrides += ["--encoder.beside", "test_efficientnet", "--encoder.beside_pretrained", "null"]
        if plain.encoder.cache is not None:
            overrides += ["--encoder.cache", str(tmp_path / "cache")]
    else:
        size = (48, 48)
        overrides += [
            *("--tokenizer.vocab_size", "280", "--tokenizer.extra_text", "[]"),
            *(
                "--encoder.name",
                "test_vit",
                "--encoder.image_size",
                "[48, 48]",
                "--encoder.pretrained",
                "null",
            ),
            *("--encoder.features", "patches", "--encoder.blocks", "0"),
            *("--decoder.width", "32", "--decoder.layers", "1", "--decoder.heads", "4"),
        ]
    parsed = parse_config(config, overrides)
    assert parsed.data.train == [Source(str(captions), limit=8)]
    result = train(parsed, tmp_path / "run")
    assert result.steps == 2
    assert load_folder(result.folder).preprocessing.size == size
