"""ROUGE-L by hand, its subsequences against the textbook's table, and all against pycocoevalcap's."""

from __future__ import annotations

import random

import pytest

from wordgaze.evaluation.rouge import common_length, rouge_l


def _by_table(one: list[str], other: list[str]) -> int:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


@pytest.mark.parametrize("letters", ["a", "ab", "abcde", "abcdefghijklmnop"])
def test_common_subsequence_equals_the_table(letters: str) -> None:
    rng = random.Random(len(letters))
    for _ in range(300):
        one, other = (rng.choices(letters, k=rng.randint(0, 80)) for _ in range(2))
        assert common_length(one, other) == _by_table(one, other)


def test_by_hand() -> None:
    score = rouge_l(["the", "cat", "sat"], [["the", "old", "cat", "sat", "down"]])
    precision, recall, beta = 3 / 3, 3 / 5, 1.2
    assert score == pytest.approx((1 + beta**2) * precision * recall / (recall + beta**2 * precision))


def test_precision_and_recall_may_come_from_different_references() -> None:
    # Recall 1 from the short reference, precision 1 from the long one.
    assert rouge_l(["a", "b"], [["a"], ["a", "b", "c", "d", "e", "f"]]) == pytest.approx(1)


def test_no_words_match_only_no_words() -> None:
    assert rouge_l([], [["a", "cat"]]) == 0
    assert rouge_l(["a"], [[]]) == 0
    assert rouge_l([], [["a"], []]) == 1  # as in pycocoevalcap


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_pycocoevalcap(seed: int) -> None:
    theirs = pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge()
    rng = random.Random(seed)
    for _ in range(20):
        candidate, *references = (rng.choices("abcdef", k=rng.randint(0, 12)) for _ in range(rng.randint(2, 6)))
        expected = theirs.calc_score([" ".join(candidate)], [" ".join(words) for words in references])
        assert rouge_l(candidate, references) == pytest.approx(expected, abs=1e-12)
