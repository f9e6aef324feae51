from dataclasses import replace

import timm
import torch
from pytest import mark, raises
from safetensors.torch import save_file
from tests.encoder_configs import FUSED, perturbed

from wordgaze.errors import ConfigError
from wordgaze.model.config import EncoderConfig
from wordgaze.model.encoders.build import build_encoder


def test_what_a_second_network_sees_is_added_to_the_patches(tmp_path, pixels):
    for name in ("test_vit", "test_efficientnet"):
        save_file(timm.create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
    files = [str(tmp_path / f"{name}.safetensors") for name in ("test_vit", "test_efficientnet")]
    encoder = build_encoder(FUSED, *files).eval()
    vit = build_encoder(EncoderConfig("test_vit"), files[0]).eval()
    pretrained = {"pretrained": True, "pretrained_cfg_overlay": {"file": files[1]}}
    network = timm.create_model("test_efficientnet", **pretrained).eval()
    maps = timm.create_model("test_efficientnet", features_only=True, out_indices=(-2,), **pretrained).eval()

    def normed(feature_map):
        return torch.nn.functional.layer_norm(feature_map.movedim(1, -1), feature_map.shape[1:2])

    with torch.no_grad():
        fine, last = maps(pixels)[0], network.forward_features(pixels)
        assert fine.shape[2:] == encoder.grid == (10, 10) and last.shape[2:] == (5, 5)
        of_vit, of_fine, of_last = encoder.projections
        coarse = torch.nn.functional.interpolate(of_last(normed(last)).movedim(-1, 1), (10, 10), mode="bilinear")
        expected = of_vit(vit(pixels)) + of_fine(normed(fine)).flatten(1, 2)
        expected = expected + coarse.flatten(2).transpose(1, 2)
        output = encoder(pixels)
    assert torch.allclose(output, expected, atol=1e-5)
    assert output.shape == (2, 100, 48) and encoder.width == 48


def test_a_second_networks_batch_norms_keep_their_statistics(pixels):
    encoder = build_encoder(FUSED).train()
    before = {name: value.clone() for name, value in encoder.aux_backbone.named_buffers()}
    encoder(pixels)
    assert all(torch.equal(value, before[name]) for name, value in encoder.aux_backbone.named_buffers())
    assert encoder.network.training


@mark.parametrize("beside", ["test_efficientnet", "test_resnet"])
def test_every_parameter_is_in_a_layer_in_the_head_or_before_the_first_block(beside):
    encoder = build_encoder(replace(FUSED, beside=beside, blocks=2))
    inside = {id(parameter) for part in [*encoder.layers(), *encoder.head_modules()] for parameter in part.parameters()}
    before_blocks = ("cls_token", "pos_embed", "reg_token", "patch_embed")
    left_out = {name for name, parameter in encoder.named_parameters() if id(parameter) not in inside}
    assert left_out and all(name.removeprefix("vit.network.").startswith(before_blocks) for name in left_out)


def test_a_map_that_a_second_network_has_not():
    with raises(ConfigError, match="beside_maps"):
        build_encoder(replace(FUSED, beside_maps=(9,)))


def between_others(encoder):
    return torch.nn.ModuleDict({"first": torch.nn.Linear(2, 2), "encoder": encoder, "last": torch.nn.Linear(2, 2)})


def test_weights_keep_the_names_that_they_have_on_disk():
    """Model folders and checkpoints of earlier versions load, also those of a ViT alone."""
    encoder, other = (perturbed(build_encoder(replace(FUSED, blocks=1))) for _ in range(2))
    state = encoder.state_dict()
    kinds = dict.fromkeys(name.split(".")[0] for name in state)
    assert list(kinds) == ["network", "beside", "beside_norms", "projections", "blocks"]
    assert len(state) == len(list(encoder.parameters())) + len(list(encoder.buffers()))
    vit = {name for name in state if name.startswith("network.")}
    assert vit == set(build_encoder(EncoderConfig("test_vit")).state_dict())
    assert torch.equal(state["beside.conv_stem.weight"], encoder.aux_backbone.conv_stem.weight)
    assert torch.equal(state["network.pos_embed"], encoder.vit.network.pos_embed)

    parents = between_others(encoder), between_others(other)
    state = parents[0].state_dict()
    assert list(state)[2:-2] == [f"encoder.{name}" for name in encoder.state_dict()]
    parents[1].load_state_dict(state)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, state[f"encoder.{name}"]), name
    state.pop("encoder.beside.conv_stem.weight")
    with raises(RuntimeError, match=r"Missing key.*conv_stem"):
        parents[1].load_state_dict(state)
