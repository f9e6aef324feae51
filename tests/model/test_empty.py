from __future__ import annotations

from itertools import chain

import pytest
import torch
from tests.encoder_configs import FUSED

from wordgaze.errors import ModelError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig, VitShape
from wordgaze.model.empty import assign, empty_model

SHAPE = VitShape(patch_size=8, width=32, layers=1, heads=2, mlp_width=40)
ENCODERS = [
    EncoderConfig("test_vit"),
    EncoderConfig("test_efficientnet", image_size=(64, 64), features="map", blocks=1, width=32, heads=2),
    EncoderConfig("a name", image_size=(32, 32), prefix_tokens=True, vit=SHAPE, norm_eps=1e-12),
    FUSED,
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_an_empty_model_takes_tensors_as_they_are(encoder: EncoderConfig) -> None:
    torch.manual_seed(0)
    config = CaptionModelConfig(encoder, DecoderConfig(vocab_size=30, width=32, layers=1, heads=2))
    model, empty = CaptionModel(config).eval(), empty_model(config).eval()
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    before = torch.random.get_rng_state()
    assign(empty, state)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(tensor.is_meta for tensor in chain(empty.parameters(), empty.buffers()))
    for (name, ours), theirs in zip(empty.named_parameters(), model.parameters(), strict=True):
        assert ours.requires_grad == theirs.requires_grad
        assert ours.stride() == theirs.stride(), name
    size = model.preprocessing_defaults()["size"]
    pixel_values = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert torch.equal(empty.encode(pixel_values), model.encode(pixel_values))


def test_a_network_that_can_not_be_built_empty_is_built_with_values(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CaptionModelConfig(ENCODERS[2], DecoderConfig(vocab_size=30, width=32, layers=1, heads=2))
    expected = {name: tensor + 1 for name, tensor in CaptionModel(config).state_dict().items()}

    def build(config: CaptionModelConfig) -> CaptionModel:
        if torch.empty(1).is_meta:
            raise NotImplementedError("no values here")
        return CaptionModel(config)

    monkeypatch.setattr("wordgaze.model.empty.CaptionModel", build)
    model = empty_model(config)
    assign(model, expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_a_network_with_tensors_that_no_file_holds_is_built_with_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = CaptionModelConfig(ENCODERS[2], DecoderConfig(vocab_size=30, width=32, layers=1, heads=2))

    def build(config: CaptionModelConfig) -> CaptionModel:
        model = CaptionModel(config)
        model.encoder.register_buffer("angles", torch.arange(3.0), persistent=False)
        return model

    monkeypatch.setattr("wordgaze.model.empty.CaptionModel", build)
    assert empty_model(config).encoder.angles.tolist() == [0, 1, 2]


def test_a_network_that_the_weights_can_not_hold_is_not_built_with_values(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CaptionModelConfig(ENCODERS[2], DecoderConfig(vocab_size=30, width=32, layers=1, heads=2))
    size = sum(tensor.numel() for tensor in CaptionModel(config).state_dict().values())

    def build(config: CaptionModelConfig) -> CaptionModel:
        model = CaptionModel(config)
        assert torch.empty(1).is_meta, "built with values"
        model.encoder.register_buffer("angles", torch.arange(3.0), persistent=False)
        return model

    monkeypatch.setattr("wordgaze.model.empty.CaptionModel", build)
    with pytest.raises(ModelError, match=f"a model of {size:,} numbers, and its weights have only 9 bytes"):
        empty_model(config, most=9)
