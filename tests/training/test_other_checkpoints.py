"""Training that starts from another library's checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wordgaze.convert.load import load_model
from wordgaze.folder import load_folder
from wordgaze.tasks.train import train
from wordgaze.training.config import DecoderOptions, EncoderOptions, TokenizerOptions, TrainingConfig


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a BLIP, as transformers saves it."""
    pytest.importorskip("transformers")
    from scripts.experiments import tiny_checkpoints

    folder = tmp_path_factory.mktemp("checkpoint") / "blip"
    tiny_checkpoints.blip(folder)
    return folder


@pytest.mark.filterwarnings("ignore::wordgaze.errors.ModelWarning")
@pytest.mark.parametrize("objective", ["cross_entropy", "scst"])
def test_a_checkpoint_is_fine_tuned(
    tmp_path: Path, small_config: Callable[..., TrainingConfig], blip: Path, objective: str
) -> None:
    config = replace(
        small_config(
            train={"initial_model": str(blip), "objective": objective, "max_steps": 2, "ema_decay": 0.0},
            data={"validation": {}},  # the last weights are kept, not the best
        ),
        tokenizer=TokenizerOptions(),
        encoder=EncoderOptions(freeze=1, layer_decay=0.8, learning_rate=1e-3),
        decoder=DecoderOptions(),
    )
    result = load_folder(train(config, tmp_path / "run").folder)
    before = load_model(blip)
    assert result.model.config == before.model.config
    assert result.tokenizer.special_ids == before.tokenizer.special_ids
    assert result.preprocessing == before.preprocessing
    assert result.generation == before.generation
    states = before.model.state_dict(), result.model.state_dict()
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert not any("encoder.network.blocks.0." in name or "patch_embed" in name for name in changed)
    for part in (
        "encoder.network.blocks.1.",
        "decoder.blocks.0.cross_attention.key",
        "decoder.head",
        "logits_bias",
    ):
        assert any(part in name for name in changed), part
