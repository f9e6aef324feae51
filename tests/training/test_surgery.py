from dataclasses import replace

import pytest
import torch
from tests.encoder_configs import FUSED, HYBRID, VIT
from timm.models.beit import Beit

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
    assert torch.equal(finer.encoder.network.blocks[0].mlp.fc1.weight, model.encoder.network.blocks[0].mlp.fc1.weight)
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


@pytest.mark.parametrize("encoder", [VIT, HYBRID, FUSED], ids=["vit", "hybrid", "fused"])
def test_every_encoder_takes_another_image_size(encoder):
    torch.manual_seed(0)
    decoder = DecoderConfig(vocab_size=10, width=32, heads=4)
    model = CaptionModel(CaptionModelConfig(replace(encoder, image_size=(160, 160)), decoder)).eval()
    finer = expand(model, replace(model.config.encoder, image_size=(192, 192))).eval()
    (side, _), (old, _) = finer.grid, model.grid
    assert side > old
    with torch.no_grad():
        assert finer.encode(torch.randn(1, 3, 192, 192)).shape == (1, side * side, 32)
    name = "encoder.blocks.0.position_embedding" if encoder is HYBRID else "encoder.network.pos_embed"
    before, after = (value.state_dict()[name][0, -count:] for value, count in ((model, old**2), (finer, side**2)))
    corners = before.view(old, old, -1)[[0, 0, -1, -1], [0, -1, 0, -1]]
    now = after.view(side, side, -1)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.cdist(now, corners).argmin(dim=1).tolist() == [
        0,
        1,
        2,
        3,
    ]  # each corner is still nearest to itself


def test_relative_positions_do_not_grow(monkeypatch):
    def create(name, weights, img_size=(32, 32), **options):
        return Beit(img_size, 16, embed_dim=32, depth=1, num_heads=2, use_abs_pos_emb=False, use_rel_pos_bias=True)

    monkeypatch.setattr("wordgaze.model.encoders.build._create_network", create)
    decoder = DecoderConfig(vocab_size=10, width=32, heads=4)
    model = CaptionModel(CaptionModelConfig(EncoderConfig("beit"), decoder))
    with pytest.raises(ConfigError, match=r"its encoder.image_size: the weights .*relative_position.* leave"):
        expand(model, EncoderConfig("beit", image_size=(48, 48)))


@pytest.mark.parametrize("shape", [{}, {"norm": "post"}, {"norm": "post", "head": "bert"}, {"head": "bert"}], ids=str)
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
