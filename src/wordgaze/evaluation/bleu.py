"""BLEU-1 to BLEU-4 of tokenized captions with the closest reference length (Papineni et al. 2002, section 2)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Added to matches and to n-grams by pycocoevalcap (after David Chiang), so that nothing is divided by zero and a
# caption without any match scores 0 up to rounding.
_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True)
class BleuCounts:
    """What BLEU needs of each of `P` photos; the counts of a set, or of a resampled one, are sums over its photos."""

    matches: np.ndarray  # (P, n) n-grams also in a reference, each at most as often as in one reference
    ngrams: np.ndarray  # (P, n) n-grams of the caption
    length: np.ndarray  # (P,) words of the caption
    reference_length: (
        np.ndarray
    )  # (P,) words of the reference closest in length, the shorter of two equally close

    def corpus(self) -> list[float]:
        """BLEU-1 to BLEU-n of the photos as one text."""
        return _bleu(
            self.matches.sum(0).tolist(),
            self.ngrams.sum(0).tolist(),
            int(self.length.sum()),
            int(self.reference_length.sum()),
        )

    def each(self) -> np.ndarray:
        """BLEU-1 to BLEU-n of every photo alone, (P, n)."""
        rows = zip(
            self.matches.tolist(),
            self.ngrams.tolist(),
            self.length.tolist(),
            self.reference_length.tolist(),
            strict=True,
        )
        return np.array([_bleu(*row) for row in rows]).reshape(self.matches.shape)


def _bleu(matches: list[int], ngrams: list[int], length: int, reference_length: int) -> list[float]:
    ratio = (length + _TINY) / (reference_length + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, scores = 1.0, []
    for order, (matching, all_of_them) in enumerate(zip(matches, ngrams, strict=True), 1):
        product *= (matching + _TINY) / (all_of_them + _SMALL)
        scores.append(product ** (1.0 / order) * brevity)
    return scores


def bleu_counts(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], n: int = 4
) -> BleuCounts:
    """The counts of tokenized candidates, each beside its photo's tokenized references."""
    photos = len(candidates)
    matches, ngrams = np.zeros((photos, n), np.int64), np.zeros((photos, n), np.int64)
    closest = np.zeros(photos, np.int64)
    for row, (candidate, group) in enumerate(zip(candidates, references, strict=True)):
        length = len(candidate)
        closest[row] = min((abs(len(reference) - length), len(reference)) for reference in group)[1]
        for order in range(1, n + 1):
            own = _ngrams(candidate, order)
            allowed: Counter[tuple[str, ...]] = Counter()
            for reference in group:
                allowed |= _ngrams(reference, order)
            matches[row, order - 1] = (own & allowed).total()
            ngrams[row, order - 1] = max(0, length - order + 1)
    return BleuCounts(matches, ngrams, np.array([len(c) for c in candidates], np.int64), closest)


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def bleu(
    candidates: Mapping[object, Sequence[str]], references: Mapping[object, Sequence[Sequence[str]]]
) -> tuple[list[float], np.ndarray]:
    """BLEU-1 to BLEU-4 of the set, and of every photo, (photos, 4), in the candidates' order."""
    counts = bleu_counts(list(candidates.values()), [references[photo] for photo in candidates])
    return counts.corpus(), counts.each()
