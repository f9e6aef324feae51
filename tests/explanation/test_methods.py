from __future__ import annotations

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from wordgaze.errors import ConfigError
from wordgaze.explanation.attentions import ForcedPass
from wordgaze.explanation.forced_pass import TorchReader, forced_passes, open_encoder, with_gradients, with_rollout
from wordgaze.explanation.methods import (
    DEFAULT_METHOD,
    METHODS,
    Method,
    PostProcessing,
    WordMaps,
    available_methods,
    post_process,
    prefix_shares,
    word_maps,
)
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.search import search
from wordgaze.generation.torch_stepper import TorchStepper
from wordgaze.model.attention import Attention
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.text.tokenizer import WordSpan
from wordgaze.training.surgery import expand

BOS, EOS = 0, 1


class Known(nn.Module):
    """Looks, in layer l, for the token it is about to say at patch ``(said + l) % N`` with weight 0.7."""

    def __init__(self, said: list[int], layers: int = 2, num_prefix: int = 0, vocabulary: int = 20) -> None:
        super().__init__()
        self.grid, self.num_prefix = (2, 3), num_prefix
        self.said, self.layers, self.vocabulary = said, layers, vocabulary
        self.config = SimpleNamespace(decoder=SimpleNamespace(layers=layers, heads=1))

    def forward(self, input_ids, encoder_hidden_states, output_attentions=False):
        assert output_attentions and not self.training and not torch.is_grad_enabled()
        assert input_ids.tolist() == [self.said[:-1]]
        length, cells = input_ids.shape[1], 6 + self.num_prefix
        attentions = []
        for layer in range(self.layers):
            weights = torch.full((1, 2, length, cells), 0.3 / (cells - 1))
            for position, token in enumerate(self.said[1:]):
                weights[:, :, position, self.num_prefix + (token + layer) % 6] = 0.7
            attentions.append(weights)
        # Each token is said with probability 1/2.
        logits = torch.zeros(1, length, self.vocabulary)
        for position, token in enumerate(self.said[1:]):
            logits[0, position, token] = math.log(self.vocabulary - 1)
        read = torch.ones(1, 2, length, length).tril()
        read = tuple(read / read.sum(dim=-1, keepdim=True) for _ in range(self.layers))
        return SimpleNamespace(logits=logits, cross_attentions=tuple(attentions), attentions=read)


STATES = torch.zeros(1, 6, 4)
IDS = [BOS, 5, 9, 2, EOS]
SPANS = [WordSpan("dog", 1, 2), WordSpan("running", 2, 4)]


def of_one(model, states, ids, spans, method: str = DEFAULT_METHOD, **options) -> WordMaps:
    (maps,) = word_maps(TorchReader(model), states, [(ids, spans)], method, **options)
    return maps


def known(spans=SPANS, method: str = "layer-0", **model) -> WordMaps:
    return of_one(Known(IDS, **model), STATES, IDS, spans, method, raw=True)


def test_a_map_lands_at_the_word_that_is_predicted_not_at_the_one_that_is_read() -> None:
    maps = known()
    assert maps.texts == ("dog", "running")
    assert maps.maps.shape == (2, 2, 3)
    assert np.unravel_index(maps.maps[0].argmax(), (2, 3)) == (1, 2)  # patch 5
    assert maps.maps[0].max() == pytest.approx(0.7)


def test_a_words_map_is_the_mean_of_its_tokens_maps() -> None:
    tokens = known([WordSpan("a", 2, 3), WordSpan("b", 3, 4)]).maps
    assert tokens[0].argmax() == 9 % 6 and tokens[1].argmax() == 2
    np.testing.assert_allclose(known().maps[1], tokens.mean(axis=0), rtol=1e-6)


def test_methods_pick_their_layers() -> None:
    def first(method: str) -> np.ndarray:
        return known(SPANS[:1], method, layers=3).maps[0].ravel()

    layers = [first(f"layer-{index}") for index in range(3)]
    assert [row.argmax() for row in layers] == [5, 0, 1]
    np.testing.assert_allclose(first("last"), layers[2])
    np.testing.assert_allclose(first("mean"), np.mean(layers, axis=0), rtol=1e-6)
    np.testing.assert_allclose(first("layer-0+layer-2"), (layers[0] + layers[2]) / 2, rtol=1e-6)
    assert available_methods(2) == ("gradient", "rollout", "contrast", "last", "mean", "layer-0", "layer-1")
    assert available_methods(2)[0] == DEFAULT_METHOD  # `Captioner.methods` names the default first


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ("nonsense", "nonsense"),
        ("layer-2", "layer-2"),
        ("layer--1", "layer--1"),
        ("layer-0-head-1", "layer-0-head-1"),
        ("last+layer-", "layer-"),
        ("", ""),
    ],
)
def test_an_unknown_method_is_a_sentence_with_the_names(method: str, named: str) -> None:
    with pytest.raises(ConfigError, match=f"no method '{named}' for maps; choose .*last, mean, layer-0, layer-1,"):
        known(method=method)


def test_prefix_tokens_are_dropped_and_rows_sum_to_one_again() -> None:
    maps = known(num_prefix=4).maps.reshape(2, 6)
    np.testing.assert_allclose(maps.sum(axis=1), 1, rtol=1e-6)
    assert maps[0].argmax() == 5
    assert maps[0].max() == pytest.approx(0.7 / (0.7 + 5 * 0.3 / 9))


@pytest.mark.parametrize(
    ("method", "num_prefix", "shares"),
    [
        ("layer-0", 4, [4 * 0.3 / 9] * 2),
        ("layer-0+layer-1", 2, [2 * 0.3 / 7] * 2),
        ("contrast", 4, [4 * 0.3 / 9] * 2),  # raw: the softmax rows of its layer
        ("mean", 0, [None, None]),
    ],
)
def test_the_share_of_the_prefix_tokens_stands_beside_the_map(
    method: str, num_prefix: int, shares: list[float | None]
) -> None:
    found = [word.prefix for word in known(method=method, num_prefix=num_prefix).words]
    assert found == (shares if None in shares else pytest.approx(shares))


def test_the_prefix_has_the_share_of_the_relevance_that_lies_on_it() -> None:
    def rows_of_relevance(forced):
        return np.array([[3.0, 1, 0, 4], [0, 0, 0, 0], [1, 0, 1, 0], [0, 2, 0, 0]])[:, [0, 1, 2, 3, 3, 3, 3]]

    passes = {"": forced_passes(Known(IDS, num_prefix=1), STATES, [IDS])[0]}
    shares = prefix_shares([Method(rows_of_relevance, rows_of_relevance)], passes, 1)
    np.testing.assert_allclose(shares, [3 / 20, 0.0, 1 / 2, 0.0], rtol=1e-6)


def test_a_row_that_looked_at_no_patch_is_even() -> None:
    class Blind(Known):
        def forward(self, *arguments, **options):
            output = super().forward(*arguments, **options)
            for weights in output.cross_attentions:
                weights[..., 1:], weights[..., 0] = 0, 1
            return output

    maps = of_one(Blind(IDS, num_prefix=1), STATES, IDS, SPANS, "contrast", raw=True)
    np.testing.assert_allclose(maps.maps, 1 / 6)
    assert [word.prefix for word in maps.words] == [1, 1]
    assert [word.entropy for word in maps.words] == pytest.approx([math.log2(6)] * 2)


def test_probabilities_are_products_and_the_caption_counts_its_end() -> None:
    maps = known()
    assert [word.probability for word in maps.words] == pytest.approx([1 / 2, 1 / 4])
    assert maps.log_probability == pytest.approx(4 * math.log(1 / 2), rel=1e-5)


def test_entropy_is_in_bits() -> None:
    maps = known(SPANS[:1])
    by_hand = -0.7 * math.log2(0.7) - 5 * 0.06 * math.log2(0.06)
    assert [word.entropy for word in maps.words] == pytest.approx([by_hand], rel=1e-5)


def test_a_caption_without_words_has_no_maps() -> None:
    maps = of_one(Known([BOS, EOS]), STATES, [BOS, EOS], [], "last")
    assert maps.maps.shape == (0, 2, 3) and maps.words == ()
    assert maps.words_attention.shape == (0, 1)
    assert maps.log_probability == pytest.approx(math.log(1 / 2), rel=1e-5)


def test_attention_among_words_is_merged_like_their_tokens() -> None:
    # Evenly over what was read: "dog" was predicted from the start alone, the tokens of "running" from 2 and 3 ids.
    expected = [[1, 0, 0], [(1 / 2 + 1 / 3) / 2, (1 / 2 + 1 / 3) / 2, (1 / 3) / 2]]
    np.testing.assert_allclose(known().words_attention, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def model() -> CaptionModel:
    torch.manual_seed(0)
    encoder = EncoderConfig("test_vit", image_size=(64, 96))
    model = CaptionModel(CaptionModelConfig(encoder, DecoderConfig(12, width=32, layers=2, heads=2, dropout=0.5)))
    for parameter in model.decoder.parameters():  # sharper than at the start of a training
        parameter.data *= 5
    return model.eval()


@pytest.fixture(scope="module")
def pixel_values() -> torch.Tensor:
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def states(model: CaptionModel, pixel_values: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():  # as of a search
        return model.encode(pixel_values)


def _a_word_per_token(ids) -> list[WordSpan]:
    return [WordSpan(str(token), at, at + 1) for at, token in enumerate(ids) if at]


@pytest.mark.parametrize(
    "options",
    [
        GenerationOptions(num_beams=4, num_captions=4, max_length=8),
        GenerationOptions(num_beams=1, sample=True, num_captions=3, max_length=8),
    ],
)
def test_maps_belong_to_the_caption_that_the_search_returned(model, states, options) -> None:
    captions = search(TorchStepper(model, states), options, bos_id=BOS, eos_id=EOS)[0]
    assert len({caption.token_ids for caption in captions}) > 1
    for caption in captions:
        maps = of_one(model, states, caption.token_ids, _a_word_per_token(caption.token_ids))
        assert maps.log_probability == pytest.approx(caption.log_probability, abs=1e-4)
        logs = np.log([word.probability for word in maps.words])
        np.testing.assert_allclose(logs, caption.token_log_probs, atol=1e-4)


def test_searches_use_the_fused_kernel_and_maps_the_explicit_weights(model, states, monkeypatch) -> None:
    asked = []
    real = Attention.forward

    def spy(self, *arguments, output_attentions: bool = False, **options):
        asked.append(output_attentions)
        return real(self, *arguments, output_attentions=output_attentions, **options)

    monkeypatch.setattr(Attention, "forward", spy)
    options = GenerationOptions(num_beams=2, max_length=5)
    (caption,) = search(TorchStepper(model, states), options, bos_id=BOS, eos_id=EOS)[0]
    assert asked and not any(asked)
    asked.clear()
    of_one(model, states, caption.token_ids, _a_word_per_token(caption.token_ids), "last")
    assert asked == [True] * 4  # two layers' two attentions, once


def test_maps_are_the_models_own_softmax_rows(model, states) -> None:
    ids = [BOS, 3, 7, 4, EOS]
    with torch.no_grad():
        output = model(torch.tensor([ids]), states, output_attentions=True)
    maps = of_one(model, states, ids, _a_word_per_token(ids), "last", raw=True)
    expected = output.cross_attentions[-1][0, :, :-1].mean(dim=0)
    head = of_one(model, states, ids, _a_word_per_token(ids), "layer-0-head-1", raw=True).maps
    np.testing.assert_allclose(head.reshape(4, -1), output.cross_attentions[0][0, 1, :-1], atol=1e-6)
    heads = "layer-0-head-0+layer-0-head-1+layer-1-head-0+layer-1-head-1"
    found = [of_one(model, states, ids, _a_word_per_token(ids), name, raw=True).maps for name in ("mean", heads)]
    np.testing.assert_allclose(*found, atol=1e-6)
    height, width = model.grid
    assert (height, width) == (4, 6)
    np.testing.assert_allclose(maps.maps.reshape(4, -1), expected, atol=1e-6)
    np.testing.assert_allclose(maps.maps.sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind(model, states, pixel_values, method: str) -> None:
    ids = [BOS, 3, 7, EOS]
    arguments = (model, states, ids, _a_word_per_token(ids), method)
    expected = of_one(*arguments, pixel_values=pixel_values)
    model.train()
    model.encoder.eval()  # as with a frozen encoder: parts may stand differently
    before = {name: module.training for name, module in model.named_modules()}
    attributes = set(vars(model))
    try:
        maps = of_one(*arguments, pixel_values=pixel_values)
        assert {name: module.training for name, module in model.named_modules()} == before
        assert set(vars(model)) == attributes
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert all(block.attn.fused_attn for block in model.encoder.network.blocks)
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
        np.testing.assert_array_equal(maps.maps, expected.maps)  # no dropout, though the model was training
    finally:
        model.eval()


@pytest.mark.parametrize("method", METHODS)
def test_every_methods_rows_sum_to_one_alone_as_together(model, states, pixel_values, method: str) -> None:
    captions = [[BOS, 3, 7, 4, 9, EOS], [BOS, 5, EOS], [BOS, 8, 2, 6, EOS]]
    pairs = [(ids, _a_word_per_token(ids)) for ids in captions]
    together = word_maps(TorchReader(model), states, pairs, method, pixel_values=pixel_values)
    for found, (ids, spans) in zip(together, pairs, strict=True):
        alone = of_one(model, states, ids, spans, method, pixel_values=pixel_values)
        np.testing.assert_allclose(found.maps, alone.maps, atol=1e-6)
        np.testing.assert_allclose(found.words_attention, alone.words_attention, atol=1e-6)
        for word, other in zip(found.words, alone.words, strict=True):
            assert word.probability == pytest.approx(other.probability, rel=1e-4)
        assert found.maps.min() >= 0
        np.testing.assert_allclose(found.maps.sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_lower_precision_still_sums_to_one(model, states, pixel_values, method: str) -> None:
    ids = [BOS, 3, 7, EOS]
    exact = of_one(model, states, ids, _a_word_per_token(ids), method, pixel_values=pixel_values)
    with torch.autocast("cpu", torch.bfloat16):
        maps = of_one(model, states, ids, _a_word_per_token(ids), method, pixel_values=pixel_values)
    assert maps.maps.dtype == np.float32
    np.testing.assert_allclose(maps.maps.sum(axis=(1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(maps.maps, exact.maps, atol=0.05)


def _own_gradients(model, states, ids, position: int, layer: int, more=()) -> tuple:
    """Return a prediction's weights over patches times their gradient (S,), positive part, from a pass of its own."""
    states = states.detach().clone().requires_grad_() if not states.requires_grad else states
    output = model(torch.tensor([ids[:-1]]), states, output_attentions=True)
    said = output.logits[0, position].log_softmax(dim=-1)[ids[position + 1]]
    weights = output.cross_attentions[layer]
    gradient, *others = torch.autograd.grad(said, [weights, *more])
    own = (weights * gradient)[0, :, position].clamp(min=0).mean(dim=0)
    return own.detach(), [tensor.detach() for tensor in others]


def test_relevance_is_attention_times_its_own_predictions_gradient(model, states, monkeypatch) -> None:
    from wordgaze.explanation import forced_pass

    ids = [BOS, 3, 7, 4, 9, EOS]
    monkeypatch.setattr(forced_pass, "_AT_ONCE", 2)  # so that some predictions are left over
    found = with_gradients(model, states, ids, forced_passes(model, states, [ids])[0]).relevances
    assert found is not None and len(found) == 2
    for layer, rows in enumerate(found):
        assert rows.shape == (5, 24) and rows.max() > 0
        for position, row in enumerate(rows):
            expected, _ = _own_gradients(model, states, ids, position, layer)
            np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-8)


def test_rollout_carries_relevance_through_the_encoders_blocks(model, states, pixel_values) -> None:
    ids, position, layer = [BOS, 3, 7, 4, EOS], 2, 1
    forced = forced_passes(model, states, [ids])[0]
    found = with_rollout(model, pixel_values, ids, forced).relevances
    assert found is not None

    encoder, blocks = open_encoder(model.encoder)
    own_states = model.bridge(encoder(pixel_values.clone().requires_grad_()))
    np.testing.assert_allclose(own_states.detach(), states, atol=1e-4)  # explicit as fused
    assert len(blocks) == len(model.encoder.network.blocks) > 1
    np.testing.assert_allclose(blocks[0].detach().sum(dim=-1), 1, rtol=1e-5)
    row, gradients = _own_gradients(model, own_states, ids, position, layer, blocks)
    mixed = torch.eye(blocks[0].shape[-1])
    for weights, gradient in zip(blocks, gradients, strict=True):
        mixed = (torch.eye(len(mixed)) + (weights * gradient)[0].clamp(min=0).mean(dim=0)) @ mixed
    mixed = (mixed / mixed.sum(dim=1, keepdim=True)).detach()
    prefix = model.encoder.network.num_prefix_tokens
    expected = row @ mixed[prefix:, prefix:]
    np.testing.assert_allclose(found[layer][position], expected, rtol=1e-3, atol=1e-8)
    assert not np.allclose(expected, row, rtol=1e-3, atol=0)  # the blocks do mix


def test_rollout_goes_through_blocks_that_see_no_prefix_tokens() -> None:
    torch.manual_seed(0)
    pixel_values = torch.randn(1, 3, 160, 160)
    encoder = EncoderConfig("test_vit", beside="test_efficientnet", width=32)
    paired = CaptionModel(CaptionModelConfig(encoder, DecoderConfig(12, width=32, layers=1, heads=2))).eval()
    deeper = expand(paired, replace(encoder, blocks=1)).eval()
    ids = [BOS, 3, 7, EOS]

    def rows_of(model: CaptionModel) -> np.ndarray:
        with torch.no_grad():
            forced = forced_passes(model, model.encode(pixel_values), [ids])[0]
        relevances = with_rollout(model, pixel_values, ids, forced).relevances
        assert relevances is not None
        return relevances[0]

    before = rows_of(paired)
    assert before.shape == (3, 100)
    np.testing.assert_allclose(rows_of(deeper), before, rtol=1e-3)  # a new block adds nothing yet
    deeper.encoder.blocks[0].attn.proj.weight.data.normal_()
    after = rows_of(deeper)
    assert after.shape == (3, 100) and not np.allclose(after, before, rtol=0.01)


def test_rollout_through_no_blocks_is_the_gradient(pixel_values) -> None:
    torch.manual_seed(0)
    encoder = EncoderConfig("resnet10t", image_size=(64, 96), features="map", map_index=2, width=32, heads=2)
    model = CaptionModel(CaptionModelConfig(encoder, DecoderConfig(12, width=32, layers=1, heads=2))).eval()
    with torch.no_grad():
        states = model.encode(pixel_values)
    ids = [BOS, 3, 7, EOS]
    spans = _a_word_per_token(ids)
    found = [
        of_one(model, states, ids, spans, name, pixel_values=pixel_values).maps for name in ("gradient", "rollout")
    ]
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_mirrored_photo_has_mirrored_maps_where_both_views_are_seen(model, pixel_values, method) -> None:
    ids = [BOS, 3, 7, 4, EOS]

    def maps_of(photo: torch.Tensor, mirrored: bool) -> np.ndarray:
        with torch.no_grad():
            states = model.encode_with_hflip(photo) if mirrored else model.encode(photo)
        options = {"pixel_values": photo, "hflip_tta": mirrored}
        return of_one(model, states, ids, _a_word_per_token(ids), method, **options).maps

    maps, turned = (maps_of(photo, True) for photo in (pixel_values, pixel_values.flip(-1)))
    np.testing.assert_allclose(turned[:, :, ::-1], maps, rtol=1e-3, atol=1e-6)
    assert not np.allclose(turned, maps, rtol=1e-2, atol=1e-6)
    once = maps_of(pixel_values.flip(-1), False)[:, :, ::-1]
    assert not np.allclose(once, maps_of(pixel_values, False), rtol=1e-2, atol=1e-6)


def test_a_second_view_of_an_encoder_that_knows_no_sides_changes_no_map(model, pixel_values) -> None:
    model = copy.deepcopy(model)
    network = model.encoder.network
    network.pos_embed.data.zero_()
    network.patch_embed.proj.weight.data += network.patch_embed.proj.weight.data.flip(-1)
    ids = [BOS, 3, 7, 4, EOS]
    found = []
    for mirrored in (False, True):
        with torch.no_grad():
            states = model.encode_with_hflip(pixel_values) if mirrored else model.encode(pixel_values)
        plain = forced_passes(model, states, [ids])[0]
        found.append(with_rollout(model, pixel_values, ids, plain, mirrored).relevances)
    for once, twice in zip(*found, strict=True):
        np.testing.assert_allclose(twice, once, rtol=1e-3, atol=1e-9)


def test_an_encoder_whose_attention_can_not_be_read_is_said() -> None:
    class Strange(nn.Module):
        def layers(self) -> list[nn.Module]:
            layer = nn.Module()
            layer.attn = nn.Linear(2, 2)
            return [layer]

        def head_modules(self) -> list[nn.Module]:
            return []

    with pytest.raises(ConfigError, match="attention of this encoder's Module can't be read; choose another method"):
        open_encoder(Strange())


# --- PostProcessing ---------------------------------------------------------------------------------------------------


def test_contrast_takes_out_what_every_word_looks_at() -> None:
    contrast = METHODS["contrast"].rows
    # Patch 0 draws all three predictions; each also looks at a patch of its own.
    rows = np.array([[0.7, 0.3, 0.0, 0.0], [0.7, 0.0, 0.3, 0.0], [0.7, 0.0, 0.0, 0.3]], np.float32)
    found = contrast(ForcedPass((rows[None],), (), np.zeros(3)))
    assert found.argmax(axis=1).tolist() == [1, 2, 3]
    np.testing.assert_allclose(found[0], [0, 0.2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(post_process(rows, (2, 2), PostProcessing(mean=1.0))[0], [0, 1, 0, 0], atol=1e-6)
    alike = rows[:1].repeat(3, axis=0)
    np.testing.assert_array_equal(contrast(ForcedPass((alike[None],), (), np.zeros(3))), alike)


def test_smoothing_is_a_gaussian_that_ends_at_the_edges() -> None:
    rows = np.zeros((2, 63), np.float32)
    rows[0, 3 * 9 + 4] = rows[1, 0] = 1
    middle, corner = post_process(rows, (7, 9), PostProcessing(smooth=0.7)).reshape(2, 7, 9)
    assert middle.argmax() == 3 * 9 + 4 and corner.argmax() == 0
    assert float(middle[3, 5] / middle[3, 4]) == pytest.approx(math.exp(-0.5 / 0.49), rel=1e-4)
    assert float(middle[2, 5] / middle[3, 4]) == pytest.approx(math.exp(-1 / 0.49), rel=1e-4)
    np.testing.assert_allclose(middle, middle[::-1, ::-1])  # about its own place
    np.testing.assert_allclose([middle.sum(), corner.sum()], 1, rtol=1e-6)
    even = post_process(np.full((1, 63), 1 / 63, np.float32), (7, 9), PostProcessing(smooth=1.0)).reshape(7, 9)
    assert even[0, 0] < even[0, 4] < even[3, 4]  # beyond the edges is nothing


def test_an_outlier_takes_its_neighbors_mean_in_every_row() -> None:
    rows = np.random.default_rng(0).random((3, 20), np.float32) + 1
    rows[:, 7] = 50
    rows[0, 2] = 2.5  # only one word looks there
    rows /= rows.sum(axis=1, keepdims=True)
    processed = post_process(rows, (4, 5), PostProcessing(outliers=20.0))
    around = [1, 2, 3, 6, 8, 11, 12, 13]
    scale = processed[:, 0] / rows[:, 0]
    np.testing.assert_allclose(processed[:, 7] / scale, rows[:, around].mean(axis=1), rtol=1e-5)
    others = [index for index in range(20) if index != 7]
    np.testing.assert_allclose(processed[:, others] / scale[:, None], rows[:, others], rtol=1e-5)
    np.testing.assert_array_equal(post_process(rows, (4, 5), PostProcessing()), rows)
