from dataclasses import replace

import pytest
import torch
from tests.encoder_configs import FUSED, HYBRID, VIT, perturbed

from wordgaze.errors import ConfigError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig
from wordgaze.model.encoders.build import build_encoder
from wordgaze.training.feature_cache import pack, unpack
from wordgaze.training.frozen import FrozenPart


@pytest.fixture
def pixels():
    torch.manual_seed(0)
    return torch.randn(2, 3, 160, 160)


@pytest.mark.parametrize(
    ("config", "least"),
    [
        (VIT, 0),
        (replace(VIT, prefix_tokens=True), 0),
        (HYBRID, 1),
        (FUSED, 1),
        (replace(FUSED, blocks=2), 1),
        (replace(FUSED, beside="test_resnet"), 1),
    ],
)
def test_the_frozen_part_and_the_rest_are_the_whole(config, least, pixels):
    """Also packed, as a cache holds the frozen part's output."""
    encoder = perturbed(build_encoder(config)).eval()
    with torch.no_grad():
        whole = encoder(pixels)
        for freeze in [*range(least, len(encoder.layers()) + 1), "all"]:
            part = FrozenPart(encoder, freeze)
            features = part.forward(pixels)
            assert [tuple(each.shape[1:]) for each in features] == part.shapes(), freeze
            assert torch.allclose(part.forward_rest(features), whole, atol=1e-4), freeze
            unpacked = unpack(pack(features), part.shapes())
            assert len(pack(features)) == len(pixels)
            assert all(torch.equal(*pair) for pair in zip(unpacked, features, strict=True)), freeze


def test_the_upper_part_of_a_second_network_learns_from_the_lower_ones_maps(pixels):
    config = CaptionModelConfig(FUSED, DecoderConfig(vocab_size=10, width=48, heads=4))
    model = CaptionModel(config).train()
    vit_and_lower = len(model.encoder.layers()) - 1
    part = FrozenPart(model.encoder, vit_and_lower)
    part.freeze()
    assert len(part) == vit_and_lower
    with torch.no_grad():
        features = part.forward(pixels)
    model.bridge(part.forward_rest(features)).sum().backward()
    learning = {name for name, value in model.encoder.named_parameters() if value.grad is not None}
    upper = {name for name in learning if name.startswith("aux_backbone.")}
    assert {name.split(".")[1] for name in upper} == {"blocks", "conv_head", "bn2"}
    assert {name.split(".")[2] for name in upper if "blocks" in name} == {"4"}  # of 0 to 4
    assert {name.split(".")[0] for name in learning - upper} == {"vit", "aux_norms", "projections"}
    assert {name for name in learning if name.startswith("vit.")} == {
        "vit.network.norm.weight",
        "vit.network.norm.bias",
    }


def test_nothing_or_all_is_frozen():
    encoder = build_encoder(VIT).train()
    nothing = FrozenPart(encoder, "none")
    nothing.freeze()
    nothing.eval()
    assert not nothing and all(parameter.requires_grad for parameter in encoder.parameters())
    assert all(module.training for module in encoder.modules())
    whole = FrozenPart(encoder, "all")
    whole.freeze()
    whole.eval()
    assert len(whole) == len(encoder.layers()) + 1
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("freeze", [7, 99])
def test_more_layers_than_there_are(freeze):
    with pytest.raises(ConfigError, match=rf"freeze is {freeze}, but this encoder has 6 layers; choose 0 to 6"):
        FrozenPart(build_encoder(VIT), freeze)
