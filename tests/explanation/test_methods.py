from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from wordgaze.errors import ConfigError
from wordgaze.explanation.methods import DEFAULT_METHOD, METHODS, available_methods, word_maps
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.search import generate
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.text.tokenizer import WordSpan

BOS, EOS = 0, 1


class Known(nn.Module):
    """Looks, in layer l, for the token it is about to say at patch ``(said + l) % N`` with weight 0.7."""

    def __init__(self, said: list[int], layers: int = 2, num_prefix: int = 0, vocabulary: int = 20) -> None:
        super().__init__()
        self.grid, self.num_prefix = (2, 3), num_prefix
        self.said, self.layers, self.vocabulary = said, layers, vocabulary

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
        return SimpleNamespace(logits=logits, cross_attentions=tuple(attentions), attentions=None)


STATES = torch.zeros(1, 6, 4)
IDS = [BOS, 5, 9, 2, EOS]
SPANS = [WordSpan("dog", 1, 2), WordSpan("running", 2, 4)]


def test_a_map_lands_at_the_word_that_is_predicted_not_at_the_one_that_is_read() -> None:
    maps = word_maps(Known(IDS), STATES, IDS, SPANS, "layer-0")
    assert maps.words == ("dog", "running")
    assert maps.maps.shape == (2, 2, 3)
    assert np.unravel_index(maps.maps[0].argmax(), (2, 3)) == (1, 2)  # patch 5
    assert maps.maps[0].max() == pytest.approx(0.7)


def test_a_words_map_is_the_mean_of_its_tokens_maps() -> None:
    single = [WordSpan("a", 2, 3), WordSpan("b", 3, 4)]
    tokens = word_maps(Known(IDS), STATES, IDS, single, "layer-0").maps
    word = word_maps(Known(IDS), STATES, IDS, SPANS, "layer-0").maps[1]
    assert tokens[0].argmax() == 9 % 6 and tokens[1].argmax() == 2
    np.testing.assert_allclose(word, tokens.mean(axis=0), rtol=1e-6)


def test_methods_pick_their_layers() -> None:
    def first(method: str) -> np.ndarray:
        return word_maps(Known(IDS, layers=3), STATES, IDS, SPANS[:1], method).maps[0].ravel()

    layers = [first(f"layer-{index}") for index in range(3)]
    assert [row.argmax() for row in layers] == [5, 0, 1]
    np.testing.assert_allclose(first("last"), layers[2])
    np.testing.assert_allclose(first("mean"), np.mean(layers, axis=0), rtol=1e-6)
    assert set(available_methods(2)) == {"contrast", "last", "mean", "layer-0", "layer-1"}
    assert DEFAULT_METHOD in METHODS


@pytest.mark.parametrize("method", ["nonsense", "layer-2", "layer--1", "layer-", ""])
def test_an_unknown_method_is_a_sentence_with_the_names(method: str) -> None:
    with pytest.raises(ConfigError, match="choose one of contrast, last, mean, layer-0, layer-1"):
        word_maps(Known(IDS), STATES, IDS, SPANS, method)


def test_prefix_tokens_are_dropped_and_rows_sum_to_one_again() -> None:
    maps = word_maps(Known(IDS, num_prefix=4), STATES, IDS, SPANS, "layer-0").maps.reshape(2, 6)
    np.testing.assert_allclose(maps.sum(axis=1), 1, rtol=1e-6)
    assert maps[0].argmax() == 5
    assert maps[0].max() == pytest.approx(0.7 / (0.7 + 5 * 0.3 / 9))


def test_a_row_that_looked_at_no_patch_is_even() -> None:
    class Blind(Known):
        def forward(self, *arguments, **options):
            output = super().forward(*arguments, **options)
            for weights in output.cross_attentions:
                weights[..., 1:], weights[..., 0] = 0, 1
            return output

    maps = word_maps(Blind(IDS, num_prefix=1), STATES, IDS, SPANS)
    np.testing.assert_allclose(maps.maps, 1 / 6)
    assert maps.entropies == pytest.approx([math.log2(6)] * 2)


def test_probabilities_are_products_and_the_caption_counts_its_end() -> None:
    maps = word_maps(Known(IDS), STATES, IDS, SPANS)
    assert maps.probabilities == pytest.approx([1 / 2, 1 / 4])
    assert maps.log_probability == pytest.approx(4 * math.log(1 / 2), rel=1e-5)


def test_entropy_is_in_bits() -> None:
    maps = word_maps(Known(IDS), STATES, IDS, SPANS[:1], "layer-0")
    by_hand = -0.7 * math.log2(0.7) - 5 * 0.06 * math.log2(0.06)
    assert maps.entropies == pytest.approx([by_hand], rel=1e-5)
    assert maps.max_entropy == pytest.approx(math.log2(6))


def test_a_caption_without_words_has_no_maps() -> None:
    maps = word_maps(Known([BOS, EOS]), STATES, [BOS, EOS], [])
    assert maps.maps.shape == (0, 2, 3) and maps.words == () and maps.entropies == ()
    assert maps.log_probability == pytest.approx(math.log(1 / 2), rel=1e-5)


@pytest.fixture(scope="module")
def model() -> CaptionModel:
    torch.manual_seed(0)
    encoder = EncoderConfig("test_vit", image_size=(64, 96))
    model = CaptionModel(
        CaptionModelConfig(encoder, DecoderConfig(12, width=32, layers=2, heads=2, dropout=0.5))
    )
    for parameter in model.decoder.parameters():  # sharper than at the start of a training
        parameter.data *= 5
    return model.eval()


@pytest.fixture(scope="module")
def states(model: CaptionModel) -> torch.Tensor:
    with torch.no_grad():
        return model.encode(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)))


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
    captions = generate(model, states, options, bos_id=BOS, eos_id=EOS)[0]
    assert len({caption.token_ids for caption in captions}) > 1
    for caption in captions:
        maps = word_maps(model, states, caption.token_ids, _a_word_per_token(caption.token_ids))
        assert maps.log_probability == pytest.approx(caption.log_probability, abs=1e-4)
        logs = np.log(maps.probabilities)
        np.testing.assert_allclose(logs, caption.token_log_probabilities, atol=1e-4)


def test_maps_are_the_models_own_softmax_rows(model, states) -> None:
    ids = [BOS, 3, 7, 4, EOS]
    with torch.no_grad():
        output = model(torch.tensor([ids]), states, output_attentions=True)
    maps = word_maps(model, states, ids, _a_word_per_token(ids), "last")
    expected = output.cross_attentions[-1][0, :, :-1].mean(dim=0)
    height, width = model.grid
    assert (height, width) == (4, 6)
    np.testing.assert_allclose(maps.maps.reshape(4, -1), expected, atol=1e-6)
    np.testing.assert_allclose(maps.maps.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_nothing_is_left_behind(model, states) -> None:
    ids = [BOS, 3, 7, EOS]
    expected = word_maps(model, states, ids, _a_word_per_token(ids))
    model.train()
    model.encoder.eval()  # as with a frozen encoder: parts may stand differently
    before = {name: module.training for name, module in model.named_modules()}
    attributes = set(vars(model))
    try:
        maps = word_maps(model, states, ids, _a_word_per_token(ids))
        assert {name: module.training for name, module in model.named_modules()} == before
        assert set(vars(model)) == attributes
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
        np.testing.assert_array_equal(maps.maps, expected.maps)  # no dropout, though the model was training
    finally:
        model.eval()


def test_contrast_takes_out_what_every_word_looks_at() -> None:
    from wordgaze.explanation.methods import ForcedPass

    contrast = available_methods(1)["contrast"]
    # Patch 0 draws all three predictions; each also looks at a patch of its own.
    rows = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.7, 0.0, 0.3, 0.0], [0.7, 0.0, 0.0, 0.3]])
    found = contrast(ForcedPass((rows[None],), torch.zeros(3)))
    assert found.argmax(dim=1).tolist() == [1, 2, 3]
    np.testing.assert_allclose(found[0], [0, 0.2, 0, 0], atol=1e-6)
    alike = rows[:1].repeat(3, 1)
    np.testing.assert_array_equal(contrast(ForcedPass((alike[None],), torch.zeros(3))), alike)
