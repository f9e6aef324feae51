import re

import pytest
import torch

from wordgaze.convert.gpt2 import convert_gpt2
from wordgaze.model.config import DecoderConfig
from wordgaze.model.decoder import Decoder

GPT2 = {}
BERT = {"norm": "post", "norm_eps": 1e-12, "activation": "gelu", "embedding_norm": True, "head": "bert"}
BLIP = BERT | {"source_width": 48}
BERT_NAMES = {
    r"bert\.embeddings\.word_embeddings": "token_embedding",
    r"bert\.embeddings\.position_embeddings": "position_embedding",
    r"bert\.embeddings\.LayerNorm": "embedding_norm",
    r"bert\.encoder\.layer": "blocks",
    r"crossattention\.output\.LayerNorm": "cross_norm",
    r"attention\.output\.LayerNorm": "self_norm",
    r"crossattention\.output\.dense": "cross_attention.output",
    r"crossattention\.self": "cross_attention",
    r"attention\.output\.dense": "self_attention.output",
    r"attention\.self": "self_attention",
    r"intermediate\.dense": "mlp.0",
    r"\boutput\.dense": "mlp.2",
    r"\boutput\.LayerNorm": "mlp_norm",
    r"cls\.predictions\.transform\.dense": "head.0",
    r"cls\.predictions\.transform\.LayerNorm": "head.2",
    r"cls\.predictions\.bias": "logits_bias",
}


def sharp_decoder(**shape):
    """Random, with weights large enough that words and patches matter."""
    torch.manual_seed(1)
    config = DecoderConfig(
        **{"vocab_size": 40, "width": 32, "layers": 2, "heads": 4, "positions": 16} | shape
    )
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


def gpt2(transformers, **changes):
    values = {"n_inner": 100, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5} | changes
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=20, n_embd=48, n_layer=3, n_head=4, add_cross_attention=True, **values
    )
    config._attn_implementation = "eager"
    return transformers.GPT2LMHeadModel(config), convert_gpt2


def bert(transformers, kind="BertLMHeadModel", config="BertConfig", **changes):
    config = getattr(transformers, config)(
        **{"vocab_size": 50, "max_position_embeddings": 20, "hidden_size": 48, "num_hidden_layers": 3},
        **{"num_attention_heads": 4, "intermediate_size": 100, "is_decoder": True},
        **{"add_cross_attention": True, "bos_token_id": 1, "sep_token_id": 2} | changes,
    )
    config._attn_implementation = "eager"
    return getattr(transformers, kind)(config), convert_bert


def blip(transformers, **changes):
    return bert(
        transformers.models.blip.modeling_blip_text, "BlipTextLMHeadModel", "BlipTextConfig", **changes
    )


def convert_bert(state):
    ours = {}
    for name, tensor in state.items():
        if "token_type" in name or name.startswith("cls.predictions.decoder"):
            continue
        for pattern, replacement in BERT_NAMES.items():
            name = re.sub(pattern, replacement, name)
        ours[name] = tensor.clone()
    types = state.get("bert.embeddings.token_type_embeddings.weight")
    if types is not None:
        ours["position_embedding.weight"] += types[0]
    return ours


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
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    reference, convert = make(transformers, **theirs)
    for parameter in reference.eval().parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    shape = {"vocab_size": 50, "width": 48, "layers": 3, "heads": 4, "positions": 20, "mlp_width": 100} | ours
    decoder = Decoder(DecoderConfig(**shape)).eval()
    decoder.load_state_dict(convert(reference.state_dict()))
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
