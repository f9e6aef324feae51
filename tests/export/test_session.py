"""An exported model computes what the model does: states, captions, attention weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wordgaze.explanation.forced_pass import forced_passes
from wordgaze.export.session import OnnxModel
from wordgaze.folder import ModelParts, load_folder
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import search
from wordgaze.generation.stepper import Stepper
from wordgaze.generation.torch_stepper import TorchStepper

SEARCHES = [
    {"num_beams": 1},
    {"num_beams": 1, "prompt": "a red"},
    {"num_beams": 4, "num_captions": 4},
    {"num_beams": 3, "no_repeat_ngram_size": 2, "max_length": 20},
    {"num_beams": 300, "max_length": 3},
    {"sample": True, "num_captions": 3, "temperature": 0.7, "seed": 5},
]


@pytest.fixture(scope="module")
def parts(model_folder: Path) -> ModelParts:
    return load_folder(model_folder)


@pytest.fixture(scope="module")
def onnx(exported_folder: Path) -> OnnxModel:
    return OnnxModel.load(exported_folder)


@pytest.fixture(scope="module")
def pixel_values(parts: ModelParts) -> torch.Tensor:
    return torch.randn(4, 3, *parts.preprocessing.size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def states(parts: ModelParts, pixel_values: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return parts.model.encode(pixel_values)


def searched(stepper: Stepper, parts: ModelParts, options: dict) -> list[list[GeneratedCaption]]:
    tokenizer = parts.tokenizer
    generation = parts.generation.override(**options)
    return search(
        stepper,
        generation,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        prompt_ids=tokenizer.encode_prompt(generation.prompt),
    )


@pytest.mark.parametrize("photos", [1, 4])
def test_states(parts: ModelParts, onnx: OnnxModel, pixel_values: torch.Tensor, photos: int) -> None:
    pixel_values = pixel_values[:photos]
    with torch.no_grad():
        plain, both = parts.model.encode(pixel_values), parts.model.encode_with_hflip(pixel_values)
    assert np.abs(onnx.encode(pixel_values.numpy()) - plain.numpy()).max() < 1e-4
    assert np.abs(onnx.encode(pixel_values.numpy(), hflip=True) - both.numpy()).max() < 1e-4
    assert (plain - both).abs().max() > 1e-2


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_captions(parts: ModelParts, onnx: OnnxModel, states: torch.Tensor, options: dict) -> None:
    theirs = searched(TorchStepper(parts.model, states), parts, options)
    ours = searched(onnx.stepper(states.numpy()), parts, options)
    assert [[caption.token_ids for caption in photo] for photo in ours] == [
        [caption.token_ids for caption in photo] for photo in theirs
    ]
    log_probs = [
        [log_prob for photo in found for caption in photo for log_prob in caption.token_log_probs]
        for found in (ours, theirs)
    ]
    assert np.allclose(*log_probs, atol=1e-4)
    assert len({photo[0].token_ids for photo in ours}) > 1


def test_weights(parts: ModelParts, onnx: OnnxModel, states: torch.Tensor) -> None:
    captions = [list(caption.token_ids) for [caption] in searched(onnx.stepper(states.numpy()), parts, {})]
    captions[1] = captions[1][:3]
    theirs = forced_passes(parts.model, states[:1], captions)
    ours = onnx.forced_passes(states[:1].numpy(), captions)
    for their, our in zip(theirs, ours, strict=True):
        for name in ("cross_attentions", "attentions"):
            for layer, expected in zip(getattr(our, name), getattr(their, name), strict=True):
                assert layer.shape == tuple(expected.shape) and np.abs(layer - expected).max() < 1e-5
        assert np.allclose(our.log_probabilities, their.log_probabilities, atol=1e-4)
    [weights] = onnx.cross_attentions(states[:1].numpy(), captions[:1])
    assert all(np.array_equal(*pair) for pair in zip(weights, ours[0].cross_attentions, strict=True))
