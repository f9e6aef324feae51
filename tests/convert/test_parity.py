"""Converted models against transformers' own, weights moved at random: the same logits, captions, maps and pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scripts.experiments import tiny_checkpoints as tiny

from wordgaze.captioning.captions import generate_captions
from wordgaze.convert.convert import convert
from wordgaze.data.transform import PhotoTransform
from wordgaze.folder import ModelParts
from wordgaze.generation.options import GenerationOptions

transformers = pytest.importorskip("transformers")

Write = Callable[[Path], Any]

# For each family: its own defaults, and sizes, depths, heads and flags that are not.
MODELS: dict[str, list[Write]] = {
    "blip": [
        tiny.blip,
        partial(tiny.blip, seed=1, hidden_size=32, image_size=32, num_hidden_layers=1, num_attention_heads=2),
        partial(
            tiny.blip, seed=2, text={"hidden_size": 48, "num_attention_heads": 12, "num_hidden_layers": 3}
        ),
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
        partial(tiny.vision_encoder_decoder, seed=2, text={"scale_attn_weights": False}, qkv_bias=False),
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
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ModelParts]:
    """A model of transformers, and ours of the folder that it was saved in."""
    folder = tmp_path_factory.mktemp("checkpoint")
    reference = request.param(folder)
    reference.set_attn_implementation("eager")  # the only one that returns its weights
    return reference, convert(folder, str(folder)).parts


def pixels_of(parts: ModelParts, count: int) -> torch.Tensor:
    torch.manual_seed(7)
    return torch.randn(count, 3, *parts.preprocessing.size)


def forced(
    reference: Any, pixel_values: torch.Tensor, input_ids: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Logits and cross-attentions of transformers' own model."""
    with torch.no_grad():
        if hasattr(reference, "text_decoder"):
            states = reference.vision_model(pixel_values).last_hidden_state
            found = reference.text_decoder(input_ids, encoder_hidden_states=states, output_attentions=True)
        else:
            found = reference(pixel_values, decoder_input_ids=input_ids, output_attentions=True)
    return found.logits, found.cross_attentions


def test_logits_and_maps_are_transformers(pair: tuple[Any, ModelParts]) -> None:
    reference, parts = pair
    pixel_values = pixels_of(parts, 4)
    ids = parts.tokenizer
    words = torch.randint(0, parts.model.config.decoder.vocab_size, (4, 11))
    words[words == ids.pad_id] = ids.eos_id  # which RoBERTa would give no position
    if ids.pad_id == ids.eos_id:
        words[words == ids.pad_id] = 1
    input_ids = torch.cat((torch.full((4, 1), ids.bos_id), words), dim=1)
    expected, maps = forced(reference, pixel_values, input_ids)
    with torch.no_grad():
        found = parts.model(input_ids, parts.model.encode(pixel_values), output_attentions=True)
    assert expected.std() > 0.5 and (expected[0] - expected[1]).abs().max() > 0.1
    torch.testing.assert_close(found.logits, expected, atol=1e-4, rtol=0)
    assert len(maps) == len(found.cross_attentions) == parts.model.config.decoder.layers
    for ours, theirs in zip(found.cross_attentions, maps, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
        assert ours.std() > 0.01
    down, across = parts.model.grid
    assert maps[0].shape[-1] == parts.model.num_prefix + down * across


def generated(
    reference: Any, parts: ModelParts, pixel_values: torch.Tensor, options: GenerationOptions
) -> list[tuple[int, ...]]:
    """What transformers writes, from the start to the end token."""
    ids = parts.tokenizer
    suppressed = sorted({ids.bos_id, ids.pad_id} - {ids.eos_id})
    rows = reference.generate(
        pixel_values=pixel_values,
        max_new_tokens=options.max_length,
        num_beams=options.num_beams,
        length_penalty=options.length_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        do_sample=False,
        **({"suppress_tokens": suppressed} if suppressed else {}),
    ).tolist()
    ends = [row.index(ids.eos_id, 1) + 1 if ids.eos_id in row[1:] else len(row) for row in rows]
    return [tuple(row[:end]) for row, end in zip(rows, ends, strict=True)]


def scores(
    reference: Any, pixel_values: torch.Tensor, ids: tuple[int, ...], options: GenerationOptions
) -> torch.Tensor:
    """The log-probabilities of a caption's ids by transformers' model, and what a search ranks it by."""
    logits, _ = forced(reference, pixel_values, torch.tensor([ids[:-1]]))
    log_probs = logits.double().log_softmax(-1)[0].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return log_probs.sum() / len(log_probs) ** options.length_penalty


def check_same_captions(pair: tuple[Any, ModelParts], count: int, options: GenerationOptions) -> None:
    reference, parts = pair
    pixel_values = pixels_of(parts, count)
    expected = generated(reference, parts, pixel_values, options)
    with torch.no_grad():
        found = generate_captions(parts, parts.model.encode(pixel_values), options)
    assert len(set(expected)) > count // 4
    differ = [number for number, ids in enumerate(expected) if ids != found[number][0].token_ids]
    for number in differ:  # only where both are as good
        pixels = pixel_values[number : number + 1]
        ours, theirs = (
            scores(reference, pixels, ids, options) for ids in (found[number][0].token_ids, expected[number])
        )
        assert abs(ours - theirs) < 1e-5, (number, found[number][0].token_ids, expected[number])
    assert len(differ) <= count // 16


def test_greedy_captions_are_transformers(pair: tuple[Any, ModelParts]) -> None:
    check_same_captions(pair, 16, GenerationOptions(num_beams=1, max_length=12, no_repeat_ngram_size=0))


def test_beams_are_transformers(pair: tuple[Any, ModelParts]) -> None:
    for penalty in (0.6, 2.0):
        options = GenerationOptions(
            num_beams=3, max_length=12, no_repeat_ngram_size=0, length_penalty=penalty
        )
        check_same_captions(pair, 16, options)


@pytest.mark.slow
@pytest.mark.parametrize("num_beams", [1, 2, 3, 5])
@pytest.mark.parametrize("length_penalty", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("no_repeat_ngram_size", [0, 2])
def test_all_searches_are_transformers(
    pair: tuple[Any, ModelParts], num_beams: int, length_penalty: float, no_repeat_ngram_size: int
) -> None:
    options = GenerationOptions(
        num_beams=num_beams,
        length_penalty=length_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
        max_length=20,
    )
    check_same_captions(pair, 64, options)


@pytest.mark.parametrize("write", [models[0] for models in MODELS.values()], ids=list(MODELS))
def test_pixels_are_those_of_the_processor(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    parts = convert(tmp_path, "checkpoint").parts
    name = json.loads((tmp_path / "preprocessor_config.json").read_text())["image_processor_type"]
    processor = getattr(transformers, f"{name}Pil").from_pretrained(tmp_path)
    level = 1 / (255 * torch.tensor(parts.preprocessing.std)[:, None, None])
    for size in ((31, 90), (300, 77), (48, 48)):
        photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))
        expected = torch.from_numpy(np.asarray(processor(photo)["pixel_values"][0]))
        found = PhotoTransform(parts.preprocessing)(photo)[0]
        assert ((found - expected).abs() <= 1.001 * level).all() and found.std() > 0.1
