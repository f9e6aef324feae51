"""BLEU-1 to BLEU-4 of tokenized captions, closest reference length (Papineni et al. 2002, section 2)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# pycocoevalcap adds these to matches and n-grams (after David Chiang's scorer): nothing is divided by zero, and a
# caption without a match scores 0 but for rounding.
_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True)
class BleuCounts:
    """BLEU's counts of each of ``P`` photos; those of a set, or of a resampled one, are sums."""

    # (P, n): n-grams of the caption that a reference has too, each as often as one has it
    matches: np.ndarray
    # (P, n): n-grams of the caption
    ngrams: np.ndarray
    # (P,): words of the caption
    length: np.ndarray
    # (P,): words of the reference closest in length, of two the shorter
    reference_length: np.ndarray

    def corpus(self) -> list[float]:
        """Return BLEU-1 to BLEU-n of the photos as one text."""
        return _bleu(
            self.matches.sum(0).tolist(),
            self.ngrams.sum(0).tolist(),
            int(self.length.sum()),
            int(self.reference_length.sum()),
        )

    def per_photo(self) -> np.ndarray:
        """Return BLEU-1 to BLEU-n of every photo alone, (P, n)."""
        columns = (self.matches, self.ngrams, self.length, self.reference_length)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return np.array([_bleu(*row) for row in rows], float).reshape(self.matches.shape)

    def resampled(self, draws: np.ndarray) -> np.ndarray:
        """Return BLEU-1 to BLEU-n of each draw, (S, n); ``draws`` (S, P) counts each photo in each draw."""
        columns = (self.matches, self.ngrams, self.length, self.reference_length)
        rows = zip(*((draws @ column).tolist() for column in columns), strict=True)
        return np.array([_bleu(*row) for row in rows], float).reshape(len(draws), -1)


def _bleu(matches: list[float], ngrams: list[float], length: float, reference_length: float) -> list[float]:
    ratio = (length + _TINY) / (reference_length + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, scores = 1.0, []
    for order, (matching, every) in enumerate(zip(matches, ngrams, strict=True), 1):
        product *= (matching + _TINY) / (every + _SMALL)
        scores.append(product ** (1.0 / order) * brevity)
    return scores


def bleu_counts(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], n: int = 4
) -> BleuCounts:
    """Count matches of tokenized candidates, one a photo, with that photo's tokenized references."""
    matches, ngrams = np.zeros((2, len(candidates), n), np.int64)
    closest = np.zeros(len(candidates), np.int64)
    for row, (words, group) in enumerate(zip(candidates, references, strict=True)):
        closest[row] = min((abs(len(reference) - len(words)), len(reference)) for reference in group)[1]
        for order in range(1, n + 1):
            allowed: Counter[tuple[str, ...]] = Counter()
            for reference in group:
                allowed |= _ngrams(reference, order)
            matches[row, order - 1] = (_ngrams(words, order) & allowed).total()
            ngrams[row, order - 1] = max(0, len(words) - order + 1)
    return BleuCounts(matches, ngrams, np.array([len(words) for words in candidates], np.int64), closest)


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))
