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


def test_the_mean_with_a_flipped_view_follows_a_flipped_photo(pixels):
    torch.manual_seed(0)
    decoder = DecoderConfig(vocab_size=10, width=32, heads=4)
    model = CaptionModel(CaptionModelConfig(EncoderConfig("test_vit", prefix_tokens=True), decoder)).eval()
    with torch.no_grad():
        states, of_flipped = (model.encode_with_hflip(photos) for photos in (pixels, pixels.flip(-1)))
        assert torch.allclose(model.unflip(of_flipped), states, atol=1e-5)
        assert torch.equal(model.unflip(states)[:, 0], states[:, 0])  # the class token has no side
        once = model.encode(pixels)
        assert torch.allclose((once + model.unflip(model.encode(pixels.flip(-1)))) / 2, states, atol=1e-5)
        assert not torch.allclose(once, states, atol=1e-2)
