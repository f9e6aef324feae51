from dataclasses import replace

import torch
from pytest import mark, raises
from tests.encoder_configs import FUSED, HYBRID, VIT, perturbed

from wordgaze.errors import ConfigError, ModelError
from wordgaze.model.config import EncoderConfig
from wordgaze.model.encoders.build import build_encoder
from wordgaze.model.encoders.vit import keep_patches

ENCODERS = [
    VIT,
    replace(VIT, prefix_tokens=True),
    EncoderConfig("test_vit_relpos"),
    HYBRID,
    replace(FUSED, blocks=1),
]


@mark.parametrize("config", ENCODERS, ids=lambda config: f"{config.name}-{config.beside}")
def test_only_the_patches_to_keep_pass_through_the_blocks(config, pixels):
    """As if the network had been shown the photo without the others, each with its own place."""
    encoder = perturbed(build_encoder(config)).eval()
    patches = encoder.grid[0] * encoder.grid[1]
    everything = torch.arange(patches).flip(0).expand(2, -1)
    with torch.no_grad():
        whole, backwards = encoder(pixels), encoder(pixels, everything)
        prefix = encoder.num_prefix
        assert torch.allclose(backwards[:, prefix:].flip(1), whole[:, prefix:], atol=1e-4)
        keep_indices = torch.stack((everything[0, :5], everything[1, 3:8]))
        subset = encoder(pixels, keep_indices)
        assert subset.shape == (2, prefix + 5, encoder.width)
        alone = encoder(pixels[1:], keep_indices[1:])
        assert torch.allclose(subset[1:], alone, atol=1e-4)
        left_out_before = not torch.allclose(subset, keep_patches(whole, keep_indices, prefix), atol=1e-3)
    assert left_out_before == (not config.name.startswith("test_vit_relpos"))  # whose forward is not ours


@mark.parametrize(
    ("config", "weights", "aux_weights", "error", "words"),
    [
        (EncoderConfig("vit_enormous"), None, None, ConfigError, "no network called .* another encoder.name"),
        (replace(FUSED, beside="resnett18"), None, None, ConfigError, "another encoder.beside"),
        (EncoderConfig("test_efficientnet"), None, None, ConfigError, "set encoder.features to 'map'"),
        (
            EncoderConfig("test_vit"),
            "gone",
            None,
            ModelError,
            "gone do not exist; correct encoder.pretrained",
        ),
        (FUSED, None, "gone", ModelError, "gone do not exist; correct encoder.beside_pretrained"),
    ],
)
def test_what_can_not_be_built_is_said(config, weights, aux_weights, error, words):
    with raises(error, match=words):
        build_encoder(config, weights, aux_weights)


def test_a_damaged_weight_file_is_said(tmp_path):
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    with raises(ModelError, match="can't be loaded from"):
        build_encoder(EncoderConfig("test_vit"), str(tmp_path / "junk.safetensors"))
