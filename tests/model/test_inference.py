import copy
import gc
import itertools
import weakref

import pytest
import torch
from tests.their_decoders import BERT, BLIP, GPT2

from wordgaze.model import inference
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.model.decoder import Decoder
from wordgaze.model.inference import InferenceDecoder, for_captions
from wordgaze.model.packed_linear import PackedLinear

SHAPE = {"vocab_size": 50, "width": 48, "layers": 3, "heads": 4, "positions": 20, "mlp_width": 100}
KINDS = [GPT2, BERT, BLIP | {"source_width": 32}, {"activation": "silu"}, BERT | {"head_activation": "tanh"}]


def moved(decoder):
    torch.manual_seed(0)
    for parameter in decoder.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return decoder.eval()


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(map(str, kind.values())) or "gpt2")
def decoder(request):
    return moved(Decoder(DecoderConfig(**SHAPE | request.param)))


@pytest.fixture(params=[0, 99], ids=["keys", "states"])
def unprojected(request, monkeypatch):
    monkeypatch.setattr(inference, "_UNPROJECTED", request.param)


@torch.no_grad()
def test_its_logits_are_those_of_the_decoder(decoder, unprojected):
    fast = InferenceDecoder(decoder)
    states = torch.randn(3, 7, decoder.config.states_width)
    caches = decoder.start(states), fast.start(states)
    ids = torch.randint(0, 50, (6, 3))  # two rows a photo, which begin with three ids
    moves = [
        None,
        torch.tensor([1, 0, 2, 2, 5, 4]),
        torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2]) * 2,  # more rows than before
        (torch.tensor([0, 2]), torch.tensor([1, 2, 0, 7, 7, 6])),
        torch.arange(6),
        *itertools.repeat(None, 11),
    ]
    for move in moves:
        expected, logits = decoder(ids, caches[0]).logits[:, -1], fast.decode(ids, caches[1])
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=5e-5)
        ids = torch.randint(0, 50, (len(expected), 1))
        for cache in caches:
            if isinstance(move, tuple):
                cache.keep_photos(*move)
            elif move is not None:
                cache.reorder(move)
        if move is not None:
            ids = torch.randint(0, 50, (len(move[1] if isinstance(move, tuple) else move), 1))


@torch.no_grad()
def test_keys_and_values_are_made_once_the_captions_are_many():
    fast = InferenceDecoder(moved(Decoder(DecoderConfig(**SHAPE))))
    states = torch.randn(2, 7, 48)
    cache = fast.start(states)
    fast.decode(torch.ones(2, 1, dtype=torch.long), cache)
    assert cache.patches(0, 2) is cache.patches(1, 2)  # the states, for all layers
    cache.reorder(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
    fast.decode(torch.ones(8, 1, dtype=torch.long), cache)
    made = [cache.patches(layer, 8) for layer in range(3)]
    assert [tuple(key_value.shape) for key_value in made] == [(2, 7, 2, 4, 12)] * 3
    assert cache.patches(0, 8) is made[0]


@pytest.mark.parametrize("activation", [None, "gelu", "gelu_tanh", "relu", "silu", "tanh"])
@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 9])
@torch.no_grad()
def test_packed_layers_give_what_the_layers_give(activation, packs, rows, monkeypatch):
    if not packs:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    functional = torch.nn.functional
    functions = {None: lambda x: x, "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"), "tanh": torch.tanh}
    layers = [torch.nn.Linear(20, 30), torch.nn.Linear(20, 10)]
    values = torch.randn(rows, 20)
    expected = torch.cat([layer(values) for layer in layers], dim=1)
    expected = (functions.get(activation) or getattr(functional, activation))(expected)
    torch.testing.assert_close(PackedLinear.of(layers, activation)(values), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def model():
    encoder = EncoderConfig("vit_tiny_patch16_224", image_size=(32, 32))
    model = CaptionModel(CaptionModelConfig(encoder, DecoderConfig(**SHAPE | {"source_width": 192})))
    moved(model.decoder)
    return model.eval()


@torch.no_grad()
def next_logits(decoder, states):
    return decoder.decode(torch.ones(len(states), 1, dtype=torch.long), decoder.start(states))


def test_a_decoder_is_packed_once(model):
    assert isinstance(for_captions(model), InferenceDecoder)
    assert for_captions(model) is for_captions(model)


def change_in_place(model):
    with torch.no_grad():
        model.decoder.blocks[1].mlp[0].weight.mul_(1.5)


def give_others(model):
    model.decoder.position_embedding.weight = torch.nn.Parameter(torch.randn(20, 48))


def load_others(model):
    model.load_state_dict({name: value * 1.1 for name, value in model.state_dict().items()})


def take_a_step(model):
    optimizer = torch.optim.SGD(model.decoder.parameters(), lr=1.0)
    model.decoder(torch.ones(1, 1, dtype=torch.long), model.start(torch.randn(1, 4, 192))).logits.sum().backward()
    optimizer.step()


@pytest.mark.parametrize("change", [change_in_place, give_others, load_others, take_a_step])
def test_new_weights_are_packed_anew(model, change):
    states = torch.randn(2, 4, 192)
    before = next_logits(for_captions(model), states)
    change(model)
    after = next_logits(for_captions(model), states)
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(after, next_logits(model, states), rtol=1e-4, atol=1e-4)


def test_a_copy_has_its_own(model):
    states = torch.randn(1, 4, 192)
    for_captions(model)
    other = copy.deepcopy(model)
    change_in_place(other)
    torch.testing.assert_close(
        next_logits(for_captions(other), states), next_logits(other, states), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        next_logits(for_captions(model), states), next_logits(model, states), rtol=1e-4, atol=1e-4
    )


def test_what_it_cannot_do_stays_with_the_model(model):
    class Special(Decoder):
        pass

    with torch.autocast("cpu", torch.bfloat16):
        assert for_captions(model) is model
    assert for_captions(model.train()) is model
    assert for_captions(model.eval().double()) is model
    model.float().decoder.__class__ = Special
    assert for_captions(model) is model


def test_packed_weights_go_with_their_decoder(model):
    packed = weakref.ref(for_captions(model))
    assert packed() is not None
    del model.decoder
    gc.collect()
    assert packed() is None
