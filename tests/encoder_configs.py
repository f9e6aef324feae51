"""Encoders small enough to run in a test, of each kind."""

from torch import nn, randn_like

from wordgaze.model.config import EncoderConfig

VIT = EncoderConfig("test_vit")
HYBRID = EncoderConfig("test_efficientnet", features="map", blocks=2, width=32, heads=4)
FUSED = EncoderConfig("test_vit", beside="test_efficientnet", width=48)


def perturbed(module: nn.Module) -> nn.Module:
    """Move all weights a little, so that none stays at an initial zero, and return the module."""
    for parameter in module.parameters():
        parameter.data += 0.02 * randn_like(parameter)
    return module
