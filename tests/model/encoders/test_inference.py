"""The encoder that runs where no gradient is needed agrees with the plain one."""

from dataclasses import replace
from functools import partial

import timm
import torch
from pytest import mark
from tests.encoder_configs import FUSED, HYBRID, VIT, perturbed
from timm.models.vision_transformer import Block
from torch import nn

from wordgaze.model.encoders.build import build_encoder
from wordgaze.model.encoders.inference import GROUP, FoldedConv, InferenceEncoder, OneDnnLinear, inference_copy

CONFIGS = [VIT, HYBRID, FUSED, replace(FUSED, beside="test_resnet")]


def with_statistics(network: nn.Module) -> nn.Module:
    """Give the batch norms other statistics than a new network's."""
    for module in perturbed(network).modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@mark.parametrize("config", CONFIGS)
def test_states_are_those_of_the_plain_encoder_for_any_number_of_photos(config, pixels):
    encoder = with_statistics(build_encoder(config))
    fast = InferenceEncoder(encoder)
    photos = torch.cat([pixels * scale for scale in (1, -0.5, 0.3, 2, -1)])[: GROUP + 1]
    with torch.no_grad():
        for count in (1, 2, GROUP, GROUP + 1):
            assert difference(fast(photos[:count]), encoder(photos[:count])) < 1e-5


@mark.parametrize(
    ("name", "size"),
    [
        ("test_efficientnet", (97, 96)),
        ("tf_efficientnet_lite0", (96, 64)),  # padded by TensorFlow's rule, which sides of even length show
        ("tf_efficientnet_lite0", (97, 96)),
        ("tf_efficientnetv2_b0", (64, 64)),
        ("mobilenetv2_050", (96, 64)),
    ],
)
def test_batch_norms_fold_into_the_convolutions(name, size, pixels):
    network = with_statistics(timm.create_model(name, num_classes=0))
    folded = inference_copy(network)
    norms = [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not norms and sum(isinstance(module, FoldedConv) for module in folded.modules()) > 5
    images = pixels[:, :, : size[0], : size[1]].contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert difference(folded.forward_features(images), network.forward_features(images)) < 1e-5
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@mark.parametrize("activation", [nn.GELU, partial(nn.GELU, approximate="tanh"), nn.ReLU])
def test_wide_linear_layers_are_onednns(activation):
    block = Block(256, 4, qkv_bias=True, act_layer=activation)
    fast = inference_copy(perturbed(block))
    assert [isinstance(layer, OneDnnLinear) for layer in (fast.attn.qkv, fast.mlp.fc1)] == [True, True]
    assert isinstance(fast.mlp.act, nn.Identity) == (activation is nn.GELU)
    tokens = torch.randn(2, 5, 256)
    with torch.no_grad():
        assert difference(fast(tokens), block(tokens)) < 1e-5


def test_a_changed_weight_counts_at_the_next_call(pixels):
    encoder = with_statistics(build_encoder(FUSED))
    fast = InferenceEncoder(encoder)
    with torch.no_grad():
        before = fast(pixels)
        encoder.aux_backbone.bn1.running_mean.add_(1)
        encoder.aux_backbone.conv_stem.weight.mul_(2)
        assert difference(fast(pixels), encoder(pixels)) < 1e-5 < difference(fast(pixels), before)


def test_gradients_and_training_use_the_plain_encoder(pixels):
    encoder = with_statistics(build_encoder(FUSED))
    fast = InferenceEncoder(encoder)
    assert torch.equal(fast(pixels), encoder(pixels)) and fast(pixels).requires_grad
    encoder.train()
    with torch.no_grad():
        torch.manual_seed(0)
        plain = encoder(pixels)
        torch.manual_seed(0)
        assert torch.equal(fast(pixels), plain)


def test_the_copy_adds_the_folded_weights_alone(pixels):
    encoder = with_statistics(build_encoder(FUSED))
    with torch.inference_mode():
        InferenceEncoder(encoder)(pixels)
        own = {tensor.data_ptr() for tensor in encoder.state_dict().values()}
        copied = inference_copy(encoder)
    others = {name for name, tensor in copied.named_parameters() if tensor.data_ptr() not in own}
    assert not others
    assert "FoldedConv" not in str(encoder)


@mark.parametrize("config", CONFIGS)
def test_bfloat16_is_as_close_as_the_plain_encoders(config, pixels):
    encoder = with_statistics(build_encoder(config))
    with torch.inference_mode():
        exact = encoder(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            plain, fast = encoder(pixels), InferenceEncoder(encoder)(pixels)
    assert fast.dtype == plain.dtype
    assert 1e-4 < difference(fast, exact) < 2 * difference(plain, exact)
