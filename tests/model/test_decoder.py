import pytest
import torch
from tests.their_decoders import BERT, BLIP, GPT2, bert, blip, gpt2, same_decoders

from wordgaze.model.config import DecoderConfig
from wordgaze.model.decoder import Decoder


def sharp_decoder(**shape):
    """Random, with weights large enough that words and patches matter."""
    torch.manual_seed(1)
    config = DecoderConfig(**{"vocab_size": 40, "width": 32, "layers": 2, "heads": 4, "positions": 16} | shape)
    decoder = Decoder(config).eval()
    for parameter in decoder.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return decoder


@pytest.fixture(params=[GPT2, BLIP], ids=["gpt2", "blip"])
def decoder(request):
    return sharp_decoder(**request.param)


@pytest.fixture
def patches(decoder):
    return torch.randn(3, 9, decoder.config.states_width)


@pytest.mark.parametrize(
    ("make", "theirs", "ours"),
    [
        (gpt2, {}, GPT2),
        (gpt2, {"layer_norm_epsilon": 0.1}, {"norm_eps": 0.1}),
        *((gpt2, {"activation_function": name}, {"activation": name}) for name in ("gelu", "relu", "silu")),
        (gpt2, {"activation_function": "tanh"}, {"activation": "tanh"}),
        (bert, {}, BERT),
        (
            bert,
            {"hidden_act": "gelu_new", "layer_norm_eps": 0.1},
            BERT | {"activation": "gelu_tanh", "norm_eps": 0.1},
        ),
        (blip, {"encoder_hidden_size": 64}, BERT | {"source_width": 64}),
        (
            blip,
            {"encoder_hidden_size": 32, "hidden_act": "silu"},
            BERT | {"source_width": 32, "activation": "silu"},
        ),
    ],
)
def test_the_same_weights_give_the_numbers_of_transformers(make, theirs, ours):
    pytest.importorskip("transformers")
    reference, decoder = same_decoders(make, theirs, ours)
    ids, patches = torch.randint(0, 50, (4, 11)), torch.randn(4, 7, decoder.config.states_width)
    with torch.no_grad():
        expected = reference(ids, encoder_hidden_states=patches, output_attentions=True)
        output = decoder(ids, decoder.start(patches), output_attentions=True)
        fused = decoder(ids, decoder.start(patches))
    assert expected.logits.std() > 0.3
    for logits in (output.logits, fused.logits):
        assert torch.allclose(logits, expected.logits, rtol=0, atol=1e-5)
    for kind in ("cross_attentions", "attentions"):
        for weights, theirs in zip(getattr(output, kind), getattr(expected, kind), strict=True):
            assert torch.allclose(weights, theirs, rtol=0, atol=1e-6)


def test_a_head_may_have_another_activation():
    """As RoBERTa's, whose gelu does not follow the config."""
    decoder = sharp_decoder(**BERT | {"activation": "relu", "head_activation": "gelu"})
    assert isinstance(decoder.head[1], torch.nn.GELU) and isinstance(decoder.blocks[0].mlp[1], torch.nn.ReLU)


def test_cached_steps_equal_the_full_pass(decoder, patches):
    ids = torch.randint(0, 40, (6, 10))
    with torch.no_grad():
        whole = decoder(ids, decoder.start(patches)).logits
        cache = decoder.start(patches)
        for step in range(10):
            assert len(cache) == step
            logits = decoder(ids[:, step : step + 1], cache).logits[:, 0]
            assert torch.allclose(logits, whole[:, step], atol=1e-4)


def test_a_later_word_changes_no_earlier_logit_and_padding_nothing(decoder, patches):
    patches, ids = patches[:1], torch.randint(0, 40, (1, 8))
    other = ids.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 40
    with torch.no_grad():
        first = decoder(ids, decoder.start(patches)).logits
        second = decoder(other, decoder.start(patches)).logits
        short = decoder(ids[:, :5], decoder.start(patches)).logits
    assert torch.allclose(first[:, :5], second[:, :5], atol=1e-6)
    assert not torch.allclose(first[:, 5:], second[:, 5:], atol=1e-2)
    assert torch.allclose(first[:, :5], short, atol=1e-5)


def test_a_reordered_cache_follows_its_rows(decoder, patches):
    patches, ids = patches[:1], torch.randint(0, 40, (3, 4))
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


def test_photos_that_stay_continue_as_before(decoder, patches):
    ids = torch.randint(0, 40, (6, 4))
    following = torch.randint(0, 40, (4, 1))
    rows = torch.tensor([4, 5, 0, 1])
    with torch.no_grad():
        cache = decoder.start(patches)
        decoder(ids, cache)
        cache.keep_photos(torch.tensor([2, 0]), rows)
        logits = decoder(following, cache).logits[:, -1]
        expected = decoder(torch.cat((ids[rows], following), 1), decoder.start(patches[[2, 0]])).logits[:, -1]
    assert torch.allclose(logits, expected, atol=1e-4)


def test_attentions_come_with_the_same_logits_and_sum_to_one(decoder, patches):
    patches, ids = patches[:2], torch.randint(0, 40, (4, 6))
    with torch.no_grad():
        fused = decoder(ids, decoder.start(patches))
        explicit = decoder(ids, decoder.start(patches), output_attentions=True)
    assert fused.cross_attentions is None
    assert torch.allclose(fused.logits, explicit.logits, atol=1e-4)
    for weights in explicit.cross_attentions:
        assert weights.shape == (4, 4, 6, 9)
        assert torch.allclose(weights.sum(-1), torch.ones(4, 4, 6), atol=1e-5)
    assert all(weights.shape == (4, 4, 6, 6) for weights in explicit.attentions)
