"""Every shipped config is run: two steps on drawn scenes with a small random encoder, by overrides."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from wordgaze import compat  # noqa: F401  (before timm: it imports torchvision)

# isort: split
import timm

from wordgaze.data.annotations import Source
from wordgaze.data.shapes import write_shapes
from wordgaze.folder import load_folder
from wordgaze.tasks.train import parse_config, train

BOTH_NETWORKS = 2 + len(timm.create_model("test_vit").blocks)
VIT_TINY = 12  # the blocks of the configs' own ViT
CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


Run = Callable[[Path], Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a config once, however many begin from it, and gives its folder."""

    @cache
    def run(config: Path) -> Path:
        return two_steps(config, tmp_path_factory.mktemp(config.stem), run)

    return run


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_two_steps_of_a_config(config: Path, run: Run) -> None:
    folder = run(config)
    size = parse_config(config).encoder.image_size
    if size is not None:
        assert load_folder(folder).preprocessing.size == size


def two_steps(config: Path, tmp_path: Path, run: Run) -> Path:
    """The folder of a short run, begun from such a run of the config before it: ``runs/NAME`` is ``NAME.yaml``'s."""
    captions = write_shapes(tmp_path / "shapes", 16, size=48)
    source = f"{{captions: {captions}, limit: 8}}"
    overrides = [
        *("--data.train", f"[{source}]", f"--data.validation={{shapes: {source}}}"),
        *("--data.batch_size", "4", "--data.workers", "0"),
        *("--train.max_steps", "2", "--train.accelerator", "cpu", "--train.devices", "1"),
    ]
    plain = parse_config(config)
    initial = plain.train.initial_model
    if initial is None:
        overrides += [
            *("--tokenizer.vocab_size", "280", "--tokenizer.extra_text", "[]"),
            *("--encoder.name", "test_vit", "--encoder.pretrained", "null"),
            *("--encoder.features", "patches", "--encoder.blocks", "0"),
            *("--decoder.width", "32", "--decoder.layers", "1", "--decoder.heads", "4"),
        ]
        if plain.encoder.image_size is None:
            overrides += ["--encoder.image_size", "[48, 48]"]
    elif initial.startswith("runs/"):
        before = config.with_name(f"{Path(initial).name}.yaml")
        overrides += ["--train.initial_model", str(run(before))]
    if plain.encoder.beside is not None:
        overrides += ["--encoder.beside", "test_efficientnet", "--encoder.beside_pretrained", "null"]
    if isinstance(plain.encoder.freeze, int):
        learning = 2 + VIT_TINY - plain.encoder.freeze
        overrides += ["--encoder.freeze", str(max(1, BOTH_NETWORKS - learning))]
    if plain.encoder.cache is not None:
        overrides += ["--encoder.cache", str(tmp_path / "cache")]
    parsed = parse_config(config, overrides)
    assert parsed.data.train == [Source(str(captions), limit=8)]
    result = train(parsed, tmp_path / "run")
    assert result.steps == 2
    return result.folder
