from dataclasses import replace

import pytest
import torch
from tests.encoder_configs import FUSED

from wordgaze.errors import ConfigError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.model.decoder import Decoder
from wordgaze.training.surgery import expand, fold_temperature_


@pytest.mark.parametrize("width", [32, 64])  # the second is the encoder's: no bridge before it expands
def test_a_model_expands_without_forgetting(width):
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 160, 160)
    config = CaptionModelConfig(EncoderConfig("test_vit"), DecoderConfig(vocab_size=10, width=width, heads=4))
    model = CaptionModel(config).eval()
    fused = expand(model, FUSED).eval()
    with torch.no_grad():
        assert torch.allclose(fused.encode(pixels), model.encode(pixels), atol=1e-6)
        assert not torch.equal(fused.encoder(pixels)[0], fused.encoder(pixels)[1])
    finer = expand(model, EncoderConfig("test_vit", image_size=(192, 192))).eval()
    assert finer.grid == (12, 12)
    assert torch.equal(
        finer.encoder.network.blocks[0].mlp.fc1.weight, model.encoder.network.blocks[0].mlp.fc1.weight
    )
    row = model.encoder.network.pos_embed[0, 1:].view(10, 10, -1).mean(dim=(0, 1))
    resampled = finer.encoder.network.pos_embed[0, 1:].view(12, 12, -1).mean(dim=(0, 1))
    assert torch.allclose(row, resampled, atol=1e-2)
    deeper = replace(fused.config.encoder, blocks=2)
    with torch.no_grad():
        mixed = expand(fused, deeper)
        assert torch.allclose(mixed.eval().encode(pixels), fused.encode(pixels), atol=1e-6)
        assert mixed.encoder.blocks[0].attn.num_heads == 4  # the decoder's
        mixed.encoder.blocks[1].mlp.fc2.weight.normal_()
        deepest = expand(mixed, replace(deeper, blocks=3)).eval()
        assert torch.allclose(deepest.encode(pixels), mixed.encode(pixels), atol=1e-6)
    with pytest.raises(ConfigError, match="The model has 2 blocks"):
        expand(mixed, replace(deeper, blocks=1))
    assert expand(model, model.config.encoder, dropout=0.3).decoder.blocks[0].dropout.p == 0.3
    with pytest.raises(ConfigError, match="already has test_efficientnet beside its ViT"):
        expand(fused, replace(FUSED, beside="test_resnet"))


@pytest.mark.parametrize(
    "shape", [{}, {"norm": "post"}, {"norm": "post", "head": "bert"}, {"head": "bert"}], ids=str
)
def test_logits_are_divided_by_a_folded_temperature(shape):
    torch.manual_seed(1)
    decoder = Decoder(DecoderConfig(vocab_size=40, width=32, layers=2, heads=4, positions=16, **shape)).eval()
    for parameter in decoder.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    ids, patches = torch.randint(0, 40, (2, 5)), torch.randn(2, 7, 32)
    with torch.no_grad():
        before = decoder(ids, decoder.start(patches)).logits
        fold_temperature_(decoder, 0.5)
        assert torch.allclose(decoder(ids, decoder.start(patches)).logits, 2 * before, atol=1e-4)
