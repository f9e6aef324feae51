import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.generation.simple_search import simple_search

from wordgaze.errors import ConfigError
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.search import search, uniform
from wordgaze.generation.torch_stepper import TorchStepper, top
from wordgaze.model.config import DecoderConfig
from wordgaze.model.decoder import Decoder

PAD, BOS, EOS = 0, 1, 2
SPECIALS = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD}


class Model:
    """A random decoder with weights that matter; ``cached=False`` reads all ids again at each step."""

    def __init__(self, vocab_size=30, cached=True, eos_bias=0.0, sharpness=0.25):
        torch.manual_seed(3)
        self.decoder = Decoder(DecoderConfig(vocab_size, width=32, layers=2, heads=4, positions=32)).eval()
        for parameter in self.decoder.parameters():
            parameter.data += sharpness * torch.randn_like(parameter)
        self.cached = cached
        self.eos_bias = eos_bias
        self.steps = []

    def start(self, encoder_hidden_states):
        cache = self.decoder.start(encoder_hidden_states)
        if not self.cached:
            cache = Uncached(encoder_hidden_states)
        return cache

    def decode(self, input_ids, cache):
        self.steps.append(len(input_ids))
        if self.cached:
            logits = self.decoder(input_ids, cache).logits[:, -1]
        else:
            cache.ids = input_ids if cache.ids is None else torch.cat((cache.ids, input_ids), 1)
            logits = self.decoder(cache.ids, self.decoder.start(cache.photos)).logits[:, -1]
        logits[:, EOS] += self.eos_bias
        return logits


class Uncached:
    """Remembers ids and photos only."""

    def __init__(self, photos):
        self.photos, self.ids = photos, None

    def reorder(self, rows):
        self.ids = self.ids[rows]

    def keep_photos(self, photos, rows):
        self.photos, self.ids = self.photos[photos], self.ids[rows]


@pytest.fixture
def photos():
    torch.manual_seed(5)
    return torch.randn(4, 9, 32)


def ids_of(results):
    return [[caption.token_ids for caption in captions] for captions in results]


def assert_same_captions(results, expected):
    assert ids_of(results) == ids_of(expected)
    for captions, references in zip(results, expected, strict=True):
        for caption, reference in zip(captions, references, strict=True):
            assert caption.token_log_probs == pytest.approx(reference.token_log_probs, abs=1e-4)


def test_beam_one_is_greedy_step_by_step(photos, monkeypatch):
    monkeypatch.delattr("wordgaze.generation.search.uniform")  # it draws no random numbers
    model = Model()
    options = GenerationOptions(num_beams=1, no_repeat_ngram_size=0, max_length=8)
    for photo, (caption,) in zip(photos, search(TorchStepper(model, photos), options, **SPECIALS), strict=True):
        ids, total = [BOS], 0.0
        while ids[-1] != EOS and len(ids) < 9:
            cache = model.decoder.start(photo[None])
            row = model.decoder(torch.tensor([ids]), cache).logits[0, -1].log_softmax(-1)
            row[[PAD, BOS]] = float("-inf")
            total += row.max().item()
            ids.append(int(row.argmax()))
        assert caption.token_ids == tuple(ids)
        assert caption.log_probability == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_a_wide_beam_equals_exhaustive_search(photos, length_penalty):
    """Four words and the specials, captions of up to four ids: each is scored by hand."""
    model, longest = Model(vocab_size=7), 4
    options = GenerationOptions(
        num_beams=700,
        num_captions=20,
        length_penalty=length_penalty,
        no_repeat_ngram_size=0,
        max_length=longest,
    )
    for photo, captions in zip(photos, search(TorchStepper(model, photos[:2]), options, **SPECIALS), strict=False):
        scored = {}
        for length in range(1, longest + 1):
            for words in itertools.product(range(3, 7), repeat=length):
                rows = [(*words[:-1], EOS)] + ([words] if length == longest else [])
                for row in rows:
                    scored[(BOS, *row)] = _score(model, photo, row, length_penalty)
        best = sorted(scored.items(), key=lambda item: -item[1])[:20]
        assert [caption.token_ids for caption in captions] == [ids for ids, _ in best]
        assert [caption.score for caption in captions] == pytest.approx([s for _, s in best], abs=1e-4)


def _score(model, photo, words, length_penalty):
    ids = torch.tensor([[BOS, *words]])
    logits = model.decoder(ids, model.decoder.start(photo[None])).logits[0].log_softmax(-1)
    return sum(logits[i, word].item() for i, word in enumerate(words)) / len(words) ** length_penalty


@pytest.mark.parametrize("beams", [2, 5])
def test_cached_beams_equal_uncached_ones_that_change_places(photos, beams):
    options = GenerationOptions(num_beams=beams, num_captions=2, max_length=12)
    cached, uncached = (Model(cached=flag, eos_bias=-3.0, sharpness=0.5) for flag in (True, False))
    results, expected = (search(TorchStepper(model, photos), options, **SPECIALS) for model in (cached, uncached))
    assert_same_captions(results, expected)
    still = Model(eos_bias=-3.0, sharpness=0.5)
    still.start = lambda states: _NeverReordered(still.decoder.start(states))
    assert ids_of(search(TorchStepper(still, photos), options, **SPECIALS)) != ids_of(expected)


class _NeverReordered:
    """What a forgotten re-ordering would look like; this proves that the test above can fail."""

    def __init__(self, cache):
        self.cache, self.begun = cache, False

    def __getattr__(self, name):
        return getattr(self.cache, name)

    def __len__(self):
        return len(self.cache)

    def reorder(self, rows):
        if not self.begun:  # where one row becomes a photo's beams
            self.cache.reorder(rows)
        self.begun = True


ALL_OPTIONS = [
    GenerationOptions(num_beams=1, max_length=12),
    GenerationOptions(num_beams=3, num_captions=3, max_length=12),
    GenerationOptions(sample=True, num_captions=3, temperature=0.8, top_k=10, top_p=0.9, seed=4, max_length=12),
]


@pytest.mark.parametrize("options", ALL_OPTIONS)
def test_a_photo_is_captioned_alike_alone_and_in_any_batch(photos, options):
    together = search(TorchStepper(Model(eos_bias=2.0), photos), options, **SPECIALS)
    backwards = search(TorchStepper(Model(eos_bias=2.0), photos.flip(0)), options, **SPECIALS)[::-1]
    alone = [search(TorchStepper(Model(eos_bias=2.0), photo[None]), options, **SPECIALS)[0] for photo in photos]
    assert_same_captions(together, alone)
    assert ids_of(backwards) == ids_of(alone)


@pytest.mark.parametrize("options", ALL_OPTIONS)
def test_log_probabilities_are_the_models_own(photos, options):
    model = Model()
    for photo, captions in zip(photos, search(TorchStepper(model, photos), options, **SPECIALS), strict=True):
        assert len(captions) == options.num_captions
        assert [caption.score for caption in captions] == sorted((c.score for c in captions), reverse=True)
        for caption in captions:
            expected = _score(model, photo, caption.token_ids[1:], 0.0)
            assert caption.log_probability == pytest.approx(expected, abs=1e-3)


def test_finished_photos_leave_the_batch(photos):
    model = Model(eos_bias=2.0)
    results = search(TorchStepper(model, photos), GenerationOptions(num_beams=1, max_length=20), **SPECIALS)
    lengths = [len(captions[0].token_ids) - 1 for captions in results]
    assert len(set(lengths)) > 1
    assert model.steps == [sum(length > step for length in lengths) for step in range(max(lengths))]


@pytest.mark.parametrize("options", [GenerationOptions(num_beams=1), GenerationOptions(num_beams=4)])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_comes_twice(photos, options, size):
    model = Model(vocab_size=8, eos_bias=-9.0)
    free = search(TorchStepper(model, photos), replace(options, no_repeat_ngram_size=0, max_length=20), **SPECIALS)
    bound = search(TorchStepper(model, photos), replace(options, no_repeat_ngram_size=size, max_length=20), **SPECIALS)

    def repeats(results):
        rows = [captions[0].token_ids[1:] for captions in results]
        ngrams = [[row[i : i + size] for i in range(len(row) - size + 1)] for row in rows]
        return sum(len(row) - len(set(row)) for row in ngrams)

    assert repeats(free) > 0
    if size > 1:  # with single words the eight-word vocabulary runs out
        assert repeats(bound) == 0


@pytest.mark.parametrize("options", ALL_OPTIONS)
def test_lengths_stay_within_their_limits(photos, options):
    model = Model(eos_bias=6.0)
    short = search(TorchStepper(model, photos), options, **SPECIALS)
    assert min(len(captions[0].token_ids) for captions in short) < 6
    long = search(TorchStepper(model, photos), replace(options, min_length=6, max_length=8), **SPECIALS)
    lengths = {len(caption.token_ids) - 1 for captions in long for caption in captions}
    assert min(lengths) == 6 and max(lengths) <= 8
    never = search(TorchStepper(Model(eos_bias=-50.0), photos), replace(options, max_length=5), **SPECIALS)
    assert all(EOS not in caption.token_ids and len(caption.token_ids) == 6 for c in never for caption in c)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_caption_ends_when_no_word_is_left(photos, beams):
    """Seven words, each but once, and at least ten of them: not possible, so it ends after the seventh."""
    options = GenerationOptions(num_beams=beams, no_repeat_ngram_size=1, min_length=10, max_length=20)
    for (caption,) in search(TorchStepper(Model(vocab_size=10, eos_bias=-9.0), photos), options, **SPECIALS):
        assert sorted(caption.token_ids) == list(range(1, 10))
        assert caption.token_ids[-1] == EOS


def test_samples_follow_their_seed_and_the_models_distribution(photos):
    model, photo = Model(), photos[:1]
    options = GenerationOptions(sample=True, num_captions=4000, max_length=1, seed=1)
    first, again = (search(TorchStepper(model, photo), options, **SPECIALS) for _ in range(2))
    assert ids_of(first) == ids_of(again)
    other = search(
        TorchStepper(model, photo), GenerationOptions(sample=True, num_captions=4000, max_length=1, seed=2), **SPECIALS
    )
    assert ids_of(first) != ids_of(other)
    logits = model.decoder(torch.tensor([[BOS]]), model.decoder.start(photo)).logits[0, -1]
    logits[[PAD, BOS]] = float("-inf")
    expected = logits.softmax(-1)
    counts = torch.bincount(torch.tensor([c.token_ids[1] for c in first[0]]), minlength=30) / 4000
    assert (counts - expected).abs().max() < 0.03
    assert counts[[PAD, BOS]].sum() == 0


def test_top_k_and_top_p_cut_the_tail(photos):
    model = Model()

    def sampled_ids(**limits):
        options = GenerationOptions(sample=True, num_captions=500, max_length=1, **limits)
        return {caption.token_ids[1] for caption in search(TorchStepper(model, photos[:1]), options, **SPECIALS)[0]}

    logits = model.decoder(torch.tensor([[BOS]]), model.decoder.start(photos[:1])).logits[0, -1]
    logits[[PAD, BOS]] = float("-inf")
    order = logits.argsort(descending=True).tolist()
    assert sampled_ids(top_k=2) == set(order[:2])
    assert sampled_ids(top_p=1e-6) == {order[0]} == sampled_ids(temperature=1e-3)
    mass = logits.softmax(-1)[order].cumsum(0)
    assert sampled_ids(top_p=0.5) <= set(order[: int((mass < 0.5).sum()) + 1])


def test_each_photo_can_have_its_own_seed(photos):
    same = photos[:1].repeat(2, 1, 1)
    options = GenerationOptions(sample=True, num_captions=3, max_length=10)
    alike = search(TorchStepper(Model(), same), options, **SPECIALS)
    apart = search(TorchStepper(Model(), same), options, photo_seeds=[0, 1], **SPECIALS)
    assert ids_of(alike)[0] == ids_of(alike)[1] == ids_of(apart)[0] != ids_of(apart)[1]


def test_no_photos_give_no_captions():
    assert search(TorchStepper(Model(), torch.zeros(0, 9, 32)), GenerationOptions(), **SPECIALS) == []


@pytest.mark.parametrize(
    "values",
    [
        *({"num_beams": 0}, {"temperature": 0}, {"top_p": 0}, {"top_k": -1}),
        *({"max_length": 0}, {"min_length": 99}, {"num_captions": 5}, {"no_repeat_ngram_size": -1}),
    ],
)
def test_impossible_options_are_refused_when_made(values):
    with pytest.raises(ConfigError):
        GenerationOptions(**values)


def test_options_survive_json_and_unknown_ones_are_named():
    assert GenerationOptions.from_dict(GenerationOptions(num_beams=5).to_dict()) == GenerationOptions(num_beams=5)
    with pytest.raises(ConfigError, match="num_beam"):
        GenerationOptions.from_dict({"num_beam": 2})


@pytest.mark.parametrize("beams", [1, 3])
def test_one_id_may_start_a_caption_end_it_and_pad(photos, beams):
    """The start in front is no end, and the end may come at the first step."""
    options = GenerationOptions(num_beams=beams, max_length=5, no_repeat_ngram_size=2)
    ids = {"bos_id": EOS, "eos_id": EOS, "pad_id": EOS}
    at_once = search(TorchStepper(Model(eos_bias=50.0), photos), options, **ids)
    assert ids_of(at_once) == [[(EOS, EOS)]] * len(photos)
    assert all(len(captions[0].token_log_probs) == 1 for captions in at_once)
    never = search(TorchStepper(Model(eos_bias=-50.0), photos), options, **ids)
    assert all(len(captions[0].token_ids) == 6 for captions in never)


@pytest.mark.parametrize("options", ALL_OPTIONS)
def test_scores_and_lengths_leave_a_prompt_out(photos, options):
    model, prompt = Model(), (7, 9, 11)
    model.decoder.requires_grad_(False)
    plain = replace(options, min_length=2, max_length=6)
    for photo, captions in zip(
        photos, search(TorchStepper(model, photos), plain, prompt_ids=prompt, **SPECIALS), strict=True
    ):
        for caption in captions:
            assert caption.token_ids[:4] == (BOS, *prompt) and caption.num_given == 3
            length = len(caption.token_ids) - 4
            assert 2 <= length == len(caption.token_log_probs) <= 6
            ids = torch.tensor([caption.token_ids])
            logits = model.decoder(ids[:, :-1], model.decoder.start(photo[None])).logits[0].log_softmax(-1)
            log_probs = logits.gather(1, ids[0, 1:, None])[3:, 0]
            assert caption.token_log_probs == pytest.approx(log_probs.tolist(), abs=1e-4)
            expected = float(log_probs.sum()) / length**options.length_penalty
            assert caption.score == pytest.approx(expected, abs=1e-4)


SEARCHES = [
    {"num_beams": 1, "no_repeat_ngram_size": 2},
    {"num_beams": 1, "min_length": 5},
    {"num_beams": 2, "num_captions": 2, "no_repeat_ngram_size": 1},
    {"num_beams": 3, "num_captions": 3},
    {"num_beams": 5, "length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 4, "length_penalty": 0.6, "early_stopping": "never", "no_repeat_ngram_size": 0},
    {"num_beams": 40, "num_captions": 9},  # more than there are words
    {"sample": True, "num_captions": 3, "temperature": 0.8, "top_k": 10, "top_p": 0.9, "seed": 4},
]


@pytest.mark.parametrize("prompt", [(), (7, 9)])
@pytest.mark.parametrize("options", SEARCHES, ids=str)
@pytest.mark.parametrize("vocab_size", [8, 300])
def test_the_search_equals_the_simple_one(photos, options, prompt, vocab_size):
    model = Model(vocab_size=vocab_size, eos_bias=1.0)
    options = GenerationOptions(**options, max_length=9)
    prompt = tuple(min(word, vocab_size - 1) for word in prompt)
    results = search(TorchStepper(model, photos), options, prompt_ids=prompt, **SPECIALS)
    expected = simple_search(model, photos, options, prompt_ids=prompt, **SPECIALS)
    for captions, references in zip(results, expected, strict=True):
        assert [caption.token_ids for caption in captions] == [ids for ids, *_ in references]
        for caption, (_, log_probs, score) in zip(captions, references, strict=True):
            assert caption.token_log_probs == pytest.approx(log_probs, abs=1e-4)
            assert caption.score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1, -1, 2**31, 2**40 + 7, 2**63 + 5])
def test_the_draws_are_those_of_torch(seed):
    expected = torch.rand(30, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert np.array_equal(uniform(seed, 30, 3), expected.numpy())


@pytest.mark.parametrize("length", [5, 64, 640, 1000, 30_001])
@pytest.mark.parametrize("count", [1, 5, 10])
def test_the_largest_of_chunks_are_the_largest_of_all(length, count):
    count = min(count, length)
    values = torch.stack([torch.randperm(length, generator=torch.Generator().manual_seed(row)) for row in range(3)])
    values = values.float()
    values[0, : length // 2] = float("-inf")
    expected, indices = values.topk(count)
    best, positions = top(values, count)
    assert torch.equal(best, expected)
    finite = best.isfinite()
    assert torch.equal(positions[finite], indices[finite])


def test_a_photos_beams_begin_as_one_row(photos):
    model = Model(eos_bias=-9.0)
    search(TorchStepper(model, photos), GenerationOptions(num_beams=5, max_length=4), **SPECIALS)
    assert model.steps == [4, 20, 20, 20]
