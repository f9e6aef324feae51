import pytest
import torch

from wordgaze.model.config import DecoderConfig
from wordgaze.model.decoder import Decoder
from wordgaze.training.pretrained import convert_gpt2


def sharp_decoder(**sizes):
    """Random, with weights large enough that words and patches matter."""
    torch.manual_seed(1)
    config = DecoderConfig(
        **{"vocab_size": 40, "width": 32, "layers": 2, "heads": 4, "positions": 16} | sizes
    )
    decoder = Decoder(config).eval()
    for parameter in decoder.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return decoder


def test_logits_equal_those_of_gpt2_with_cross_attention():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=20, n_embd=48, n_layer=3, n_head=4, add_cross_attention=True
    )
    reference = transformers.GPT2LMHeadModel(config).eval()
    for parameter in reference.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    decoder = Decoder(DecoderConfig(vocab_size=50, width=48, layers=3, heads=4, positions=20)).eval()
    decoder.load_state_dict(convert_gpt2(reference.state_dict()))
    ids, patches = torch.randint(0, 50, (4, 11)), torch.randn(4, 7, 48)
    with torch.no_grad():
        expected = reference(ids, encoder_hidden_states=patches).logits
        logits = decoder(ids, decoder.start(patches)).logits
    assert expected.std() > 0.5
    assert torch.allclose(logits, expected, atol=1e-4)


def test_cached_steps_equal_the_full_pass():
    decoder, patches, ids = sharp_decoder(), torch.randn(2, 9, 32), torch.randint(0, 40, (6, 10))
    with torch.no_grad():
        whole = decoder(ids, decoder.start(patches)).logits
        cache = decoder.start(patches)
        for step in range(10):
            assert len(cache) == step
            logits = decoder(ids[:, step : step + 1], cache).logits[:, 0]
            assert torch.allclose(logits, whole[:, step], atol=1e-4)


def test_a_later_word_changes_no_earlier_logit_and_padding_nothing():
    decoder, patches, ids = sharp_decoder(), torch.randn(1, 9, 32), torch.randint(0, 40, (1, 8))
    other = ids.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 40
    with torch.no_grad():
        first = decoder(ids, decoder.start(patches)).logits
        second = decoder(other, decoder.start(patches)).logits
        short = decoder(ids[:, :5], decoder.start(patches)).logits
    assert torch.allclose(first[:, :5], second[:, :5], atol=1e-6)
    assert not torch.allclose(first[:, 5:], second[:, 5:], atol=1e-2)
    assert torch.allclose(first[:, :5], short, atol=1e-5)


def test_a_reordered_cache_follows_its_rows():
    decoder, patches, ids = sharp_decoder(), torch.randn(1, 9, 32), torch.randint(0, 40, (3, 4))
    order = torch.tensor([2, 0, 0])
    following = torch.randint(0, 40, (3, 1))
    with torch.no_grad():
        cache = decoder.start(patches)
        decoder(ids, cache)
        cache.reorder(order)
        logits = decoder(following, cache).logits[:, -1]
        expected = decoder(torch.cat((ids[order], following), 1), decoder.start(patches)).logits[:, -1]
        unordered = decoder(torch.cat((ids, following), 1), decoder.start(patches)).logits[:, -1]
    assert torch.allclose(logits, expected, atol=1e-4)
    assert not torch.allclose(logits, unordered, atol=1e-2)


def test_photos_that_stay_continue_as_before():
    decoder, patches, ids = sharp_decoder(), torch.randn(3, 9, 32), torch.randint(0, 40, (6, 4))
    following = torch.randint(0, 40, (4, 1))
    rows = torch.tensor([4, 5, 0, 1])
    with torch.no_grad():
        cache = decoder.start(patches)
        decoder(ids, cache)
        cache.keep_photos(torch.tensor([2, 0]), rows)
        logits = decoder(following, cache).logits[:, -1]
        expected = decoder(torch.cat((ids[rows], following), 1), decoder.start(patches[[2, 0]])).logits[:, -1]
    assert torch.allclose(logits, expected, atol=1e-4)


def test_attentions_come_with_the_same_logits_and_sum_to_one():
    decoder, patches, ids = sharp_decoder(), torch.randn(2, 9, 32), torch.randint(0, 40, (4, 6))
    with torch.no_grad():
        fused = decoder(ids, decoder.start(patches))
        explicit = decoder(ids, decoder.start(patches), output_attentions=True)
    assert fused.cross_attentions is None
    assert torch.allclose(fused.logits, explicit.logits, atol=1e-4)
    for weights in explicit.cross_attentions:
        assert weights.shape == (4, 4, 6, 9)
        assert torch.allclose(weights.sum(-1), torch.ones(4, 4, 6), atol=1e-5)
    assert all(weights.shape == (4, 4, 6, 6) for weights in explicit.attentions)
