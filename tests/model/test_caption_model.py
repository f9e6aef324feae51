import torch

from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig


def test_the_bridge_is_there_only_where_widths_differ():
    config = CaptionModelConfig(EncoderConfig("test_vit"), DecoderConfig(vocab_size=10, width=64, heads=4))
    assert isinstance(CaptionModel(config).bridge, torch.nn.Identity)
    config = CaptionModelConfig(EncoderConfig("test_vit"), DecoderConfig(vocab_size=10, width=32, heads=4))
    model = CaptionModel(config)
    assert model.encode(torch.zeros(1, 3, 160, 160)).shape == (1, 100, 32)
    assert model.preprocessing_defaults()["size"] == (160, 160)
