"""BLEU by hand, and against pycocoevalcap's."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from wordgaze.evaluation.bleu import BleuCounts, bleu_counts


def _random_set(seed: int) -> tuple[list[list[str]], list[list[list[str]]]]:
    rng = random.Random(seed)

    def caption(shortest: int) -> list[str]:
        return rng.choices(
            ["a", "b", "c", "d", "e", "f", "g"], weights=[9, 6, 4, 3, 2, 1, 1], k=rng.randint(shortest, 12)
        )

    photos = rng.randint(1, 40)
    return [caption(0) for _ in range(photos)], [[caption(0) for _ in range(rng.randint(1, 5))] for _ in range(photos)]


def test_a_caption_equal_to_a_reference_scores_one() -> None:
    words = ["a", "cat", "sits", "on", "a", "mat"]
    counts = bleu_counts([words], [[words, ["something", "else"]]])
    assert counts.corpus() == pytest.approx([1, 1, 1, 1], abs=1e-8)


def test_clipping_and_brevity_by_hand() -> None:
    references = [["the", "cat", "and", "the", "dog"], ["a", "cat", "on", "the", "mat", "today"]]
    counts = bleu_counts([["the"] * 4], [references])
    # "the" counts twice, as often as one reference has it; 4 words against the closer reference's 5.
    assert counts.corpus()[0] == pytest.approx(2 / 4 * math.exp(1 - 5 / 4))
    assert counts.matches.tolist() == [[2, 0, 0, 0]]
    assert counts.ngrams.tolist() == [[4, 3, 2, 1]]


def test_of_two_references_equally_close_the_shorter_counts() -> None:
    counts = bleu_counts([["a"] * 4], [[["a"] * 5, ["a"] * 3]])
    assert counts.reference_length.tolist() == [3]
    assert counts.corpus()[0] == pytest.approx(1)


def test_a_set_s_counts_are_the_sums_of_its_photos() -> None:
    candidates, references = _random_set(5)
    whole = bleu_counts(candidates, references)
    half = len(candidates) // 2
    parts = [
        bleu_counts(candidates[:half], references[:half]),
        bleu_counts(candidates[half:], references[half:]),
    ]
    fields = ("matches", "ngrams", "length", "reference_length")
    sums = BleuCounts(*(sum(getattr(part, field).sum(0, keepdims=True) for part in parts) for field in fields))
    assert sums.corpus() == whole.corpus()


def test_a_draw_s_score_is_that_of_its_photos_as_one_text() -> None:
    candidates, references = _random_set(7)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(candidates), np.full(len(candidates), 1 / len(candidates)), 5)
    resampled = bleu_counts(candidates, references).resampled(draws.astype(float))
    for row, draw in zip(resampled, draws, strict=True):
        drawn = [photo for photo, times in enumerate(draw) for _ in range(times)]
        again = bleu_counts([candidates[photo] for photo in drawn], [references[photo] for photo in drawn])
        assert row.tolist() == again.corpus()


def test_no_words_score_nothing() -> None:
    counts = bleu_counts([[]], [[["a", "cat"]]])
    assert counts.corpus() == pytest.approx([0, 0, 0, 0], abs=1e-9)
    assert counts.per_photo().shape == (1, 4)
    assert bleu_counts([], []).per_photo().shape == (0, 4)


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_pycocoevalcap(seed: int) -> None:
    theirs = pytest.importorskip("pycocoevalcap.bleu.bleu")
    candidates, references = _random_set(seed)
    corpus, each = theirs.Bleu(4).compute_score(
        {row: [" ".join(words) for words in group] for row, group in enumerate(references)},
        {row: [" ".join(words)] for row, words in enumerate(candidates)},
        verbose=0,
    )
    counts = bleu_counts(candidates, references)
    assert counts.corpus() == pytest.approx(corpus, abs=1e-12)
    assert counts.per_photo().T.ravel() == pytest.approx([score for scores in each for score in scores], abs=1e-12)
