import torch
from pytest import mark

from wordgaze.model.config import EncoderConfig
from wordgaze.model.encoders.build import build_encoder


@mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_any_feature_map_becomes_patches(name, pixels):
    encoder = build_encoder(EncoderConfig(name, features="map", blocks=2, width=32, heads=4)).eval()
    with torch.no_grad():
        patches = encoder(pixels)
    assert patches.shape == (2, encoder.grid[0] * encoder.grid[1], 32)
    assert not torch.allclose(patches[0], patches[1])
