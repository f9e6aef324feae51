"""ROUGE-L of tokenized captions (Lin 2004, section 3), with recall weighted as in COCO's evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

BETA = 1.2


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bit-parallel (Hyyrö 2004): a whole row of the usual table is one integer, whose zero bits mark the columns where the
    length grows.
    """
    places: dict[str, int] = {}
    for position, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << position
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        match = row & places.get(word, 0)
        row = (row + match | row - match) & full
    return len(one) - row.bit_count()


def rouge_l_of(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """F of the best precision and the best recall over the references, which may come from two different ones.

    A caption without words counts as one empty word, as in pycocoevalcap: it equals only another empty one.
    """
    words = candidate or ("",)
    precision = recall = 0.0
    for reference in references:
        others = reference or ("",)
        common = common_length(words, others)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(others))
    if not precision:
        return 0.0
    return ((1 + BETA**2) * precision * recall) / (recall + BETA**2 * precision)


def rouge_l(
    candidates: Mapping[object, Sequence[str]], references: Mapping[object, Sequence[Sequence[str]]]
) -> tuple[float, np.ndarray]:
    """The mean over the candidates, and each one's score in their order."""
    each = np.array([rouge_l_of(words, references[photo]) for photo, words in candidates.items()])
    return math.fsum(each) / max(len(each), 1), each
