"""Bootstrap intervals: how far a score could have come out otherwise with other photos of the same kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from wordgaze.evaluation.metric import Resampled, Score

SAMPLES, LEVEL = 2000, 0.95
# Draws at a time: all of them would take 80 MB for 5,000 photos.
_BLOCK = 200


class Difference(NamedTuple):
    """A score less another of the same photos, its interval, and the share of draws in which the first is better."""

    value: float
    low: float
    high: float
    better: float


def bootstrap(photos: int, totals: Resampled, *, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """Return ``totals`` of ``samples`` draws of the photos with replacement (Efron 1979), (samples, ...)."""
    rng = np.random.default_rng(seed)
    even = np.full(photos, 1 / photos)
    blocks = [min(_BLOCK, samples - start) for start in range(0, samples, _BLOCK)]
    return np.concatenate([totals(rng.multinomial(photos, even, block).astype(float)) for block in blocks])


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of a bootstrap's values (samples,)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_mean(
    values: Sequence[float] | np.ndarray, *, samples: int = SAMPLES, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of the mean of ``values`` (photos,)."""
    values = np.asarray(values, float)
    means = bootstrap(len(values), lambda draws: draws @ values / len(values), samples=samples, seed=seed)
    return interval(means, level)


def intervals(scores: Mapping[str, Score]) -> dict[str, tuple[float, float]]:
    """Return the interval of each score; all scores are of the same photos.

    CIDEr's document frequencies stay those of the whole set: a draw repeats photos, so n-grams would seem common.
    """
    values = _bootstrap_all(list(scores.values()))
    return {name: interval(values[:, column]) for column, name in enumerate(scores)}


def compare(ours: Mapping[str, Score], theirs: Mapping[str, Score]) -> dict[str, Difference]:
    """Return our scores less theirs of the same photos, drawn in pairs (Koehn 2004, section 4).

    A draw in which both are equal counts half for either. CIDEr's document frequencies as in ``intervals``.
    """
    values = _bootstrap_all([*ours.values(), *(theirs[name] for name in ours)])
    differences = {}
    for column, (name, score) in enumerate(ours.items()):
        gaps = values[:, column] - values[:, column + len(ours)]
        wins = gaps < 0 if score.lower_is_better else gaps > 0
        better = float(np.mean(wins + 0.5 * (gaps == 0)))
        differences[name] = Difference(score.total - theirs[name].total, *interval(gaps), better)
    return differences


def _bootstrap_all(scores: Sequence[Score]) -> np.ndarray:
    """Resample all scores by the same draws: (samples, scores)."""
    return bootstrap(
        len(scores[0].per_photo), lambda draws: np.stack([score.resampled(draws) for score in scores], axis=1)
    )
