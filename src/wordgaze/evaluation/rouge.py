"""ROUGE-L of a tokenized caption (Lin 2004, section 3), with the recall weighted as COCO's evaluation does."""

from __future__ import annotations

from collections.abc import Sequence

BETA = 1.2


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit-parallel (Hyyrö 2004): a row of the usual table is one integer, whose bit is 0 where the length grows by one.
    """
    positions: dict[str, int] = {}
    for position, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << position
    everywhere = (1 << len(first)) - 1
    row = everywhere
    for word in second:
        match = row & positions.get(word, 0)
        row = (row + match | row - match) & everywhere
    return len(first) - row.bit_count()


def rouge_l(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return F of the best precision and the best recall, which may be of two different references.

    A caption without words counts as one empty word, as in pycocoevalcap: only another empty one equals it.
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
