"""Converted models against transformers' own, weights moved at random: the same logits, captions, maps and pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scripts.experiments import checkpoint_parity
from scripts.experiments import tiny_checkpoints as tiny
from scripts.experiments.checkpoint_parity import Reference, compare_captions, compare_forced, compare_pixels

from wordgaze.convert.convert import convert
from wordgaze.data.transform import PhotoTransform
from wordgaze.folder import ModelParts
from wordgaze.generation.options import GenerationOptions

pytest.importorskip("transformers")

Write = Callable[[Path], Any]

# For each family: its own defaults, and sizes, depths, heads and flags that are not.
MODELS: dict[str, list[Write]] = {
    "blip": [
        tiny.blip,
        partial(tiny.blip, seed=1, hidden_size=32, image_size=32, num_hidden_layers=1, num_attention_heads=2),
        partial(tiny.blip, seed=2, text={"hidden_size": 48, "num_attention_heads": 12, "num_hidden_layers": 3}),
        partial(
            tiny.blip,
            seed=3,
            text={"hidden_act": "relu", "layer_norm_eps": 1e-5, "vocab_size": 101},
            **{"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "patch_size": 16},
        ),
    ],
    "vit-gpt2": [
        tiny.vision_encoder_decoder,
        partial(tiny.vision_encoder_decoder, seed=1, text={"n_inner": 72, "n_layer": 3}, hidden_size=32),
        partial(
            tiny.vision_encoder_decoder,
            seed=2,
            text={"scale_attn_weights": False, "n_head": 16},
            qkv_bias=False,
        ),
        partial(
            tiny.vision_encoder_decoder,
            seed=3,
            text={"n_embd": 64, "activation_function": "relu", "layer_norm_epsilon": 1e-3, "vocab_size": 401},
            **{"image_size": 32, "num_hidden_layers": 3, "layer_norm_eps": 1e-2},
        ),
    ],
    "vit-bert": [
        partial(tiny.vision_encoder_decoder, decoder="bert", seed=seed, text=text, **vision)
        for seed, text, vision in (
            (0, {}, {}),
            (1, {"num_hidden_layers": 1, "type_vocab_size": 3}, {"hidden_size": 32}),
            (2, {"hidden_size": 64, "hidden_act": "gelu_new"}, {"image_size": 32, "intermediate_size": 99}),
            (3, {"layer_norm_eps": 1e-3, "vocab_size": 67, "hidden_act": "silu"}, {"hidden_act": "relu"}),
        )
    ],
    "deit-bert": [
        partial(tiny.vision_encoder_decoder, encoder="deit", decoder="bert", seed=seed, text=text, **vision)
        for seed, text, vision in (
            (0, {}, {}),
            (1, {"num_attention_heads": 2}, {"hidden_size": 32}),
            (2, {"hidden_size": 64}, {"patch_size": 16}),
            (3, {"num_hidden_layers": 3}, {"num_hidden_layers": 3, "qkv_bias": False}),
        )
    ],
    "vit-roberta": [
        partial(tiny.vision_encoder_decoder, decoder="roberta", seed=seed, text=text, **vision)
        for seed, text, vision in (
            (0, {}, {}),
            (1, {"num_hidden_layers": 1, "hidden_act": "relu"}, {"hidden_size": 32}),
            (2, {"hidden_size": 64, "max_position_embeddings": 30}, {"image_size": 32}),
            (3, {"layer_norm_eps": 1e-3, "vocab_size": 353}, {"num_attention_heads": 2}),
        )
    ],
    "deit-gpt2": [
        partial(tiny.vision_encoder_decoder, encoder="deit", seed=seed, text=text, **vision)
        for seed, text, vision in (
            (0, {}, {}),
            (1, {"n_head": 2}, {"hidden_size": 32}),
            (2, {"n_embd": 64}, {"image_size": 32}),
            (3, {"n_layer": 3, "n_inner": 17}, {"layer_norm_eps": 1e-3}),
        )
    ],
}
# Of each family the first in every run, all with `-m slow`.
EACH = [
    pytest.param(write, id=f"{family}-{number}", marks=[pytest.mark.slow] if number else [])
    for family, models in MODELS.items()
    for number, write in enumerate(models)
]


@pytest.fixture(scope="module", params=EACH)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reference, ModelParts]:
    """A model of transformers, and ours of the folder that it was saved in."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model = request.param(folder)
    model.set_attn_implementation("eager")  # the only one that returns its weights
    return Reference(model), convert(folder, str(folder)).parts


def pixels_of(parts: ModelParts, count: int) -> torch.Tensor:
    torch.manual_seed(7)
    return torch.randn(count, 3, *parts.preprocessing.size)


def test_logits_and_maps_are_transformers(pair: tuple[Reference, ModelParts]) -> None:
    reference, parts = pair
    pixel_values = pixels_of(parts, 4)
    ids = parts.tokenizer
    words = torch.randint(0, parts.model.config.decoder.vocab_size, (4, 11))
    # RoBERTa gives the padding no position; in a caption it never is.
    words[words == ids.pad_id] = 5
    input_ids = torch.cat((torch.full((4, 1), ids.bos_id), words), dim=1)
    logits, maps = compare_forced(reference, parts, pixel_values, input_ids)
    assert logits < 1e-4 and maps < 1e-5
    expected, rows = reference.forced(pixel_values, input_ids)
    assert expected.std() > 0.5 and (expected[0] - expected[1]).abs().max() > 0.1
    assert len(rows) == parts.model.config.decoder.layers and all(row.std() > 0.01 for row in rows)
    down, across = parts.model.grid
    assert rows[0].shape[-1] == parts.model.num_prefix + down * across


def check_same_captions(pair: tuple[Reference, ModelParts], count: int, options: GenerationOptions) -> None:
    reference, parts = pair
    pixel_values = pixels_of(parts, count)
    result = compare_captions(reference, parts, pixel_values, options)
    assert result.fine, result
    assert result.same >= count - count // 16
    assert len(set(reference.captions(parts, pixel_values, options))) > count // 8  # the shortest ones recur


def test_greedy_captions_are_transformers(pair: tuple[Reference, ModelParts]) -> None:
    check_same_captions(pair, 16, GenerationOptions(num_beams=1, max_length=12, no_repeat_ngram_size=0))


def test_beams_are_transformers(pair: tuple[Reference, ModelParts]) -> None:
    for penalty in (0.6, 2.0):
        options = GenerationOptions(num_beams=3, max_length=12, no_repeat_ngram_size=0, length_penalty=penalty)
        check_same_captions(pair, 16, options)


SEARCHES = [
    *((1, 1.0, ngram) for ngram in (0, 2)),
    *((num_beams, penalty, 0) for num_beams in (2, 3, 5) for penalty in (0.6, 1.0, 2.0)),
    (3, 1.0, 2),
]


@pytest.mark.slow
@pytest.mark.parametrize(("num_beams", "length_penalty", "no_repeat_ngram_size"), SEARCHES)
def test_all_searches_are_transformers(
    pair: tuple[Reference, ModelParts], num_beams: int, length_penalty: float, no_repeat_ngram_size: int
) -> None:
    options = GenerationOptions(
        num_beams=num_beams,
        length_penalty=length_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
        max_length=10,
    )
    check_same_captions(pair, 64, options)


@pytest.mark.parametrize("write", [models[0] for models in MODELS.values()], ids=list(MODELS))
def test_pixels_are_those_of_the_processor(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    parts = convert(tmp_path, "checkpoint").parts
    for size in ((31, 90), (300, 77), (48, 48)):
        photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))
        assert compare_pixels(tmp_path, parts, photo) <= 1.001
        assert PhotoTransform(parts.preprocessing)(photo)[0].std() > 0.1


def test_the_script_compares_a_folder_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.vision_encoder_decoder(tmp_path, decoder="roberta", readable=True)
    monkeypatch.setattr("sys.argv", ["checkpoint_parity", str(tmp_path), "--photos", "2"])
    with pytest.raises(SystemExit) as done:
        checkpoint_parity.main()
    out = capsys.readouterr().out
    assert done.value.code == 0, out
    assert out.startswith(f"{tmp_path}: ViT and RoBERTa, 0.1 M parameters")
    for search in ("greedy", "3 beams", "its own search"):
        assert f"| captions, {search} | 2 of 2 the same |" in out
