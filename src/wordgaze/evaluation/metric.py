"""What a metric returns: its value of the set, of every photo, and of other draws of the photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Words = list[str]
Resampled = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Score:
    """A metric of ``P`` photos: ``total`` of the set, ``per_photo`` (P,) of every photo alone.

    ``resampled`` takes ``S`` draws (S, P), counts of each photo in each draw, and returns the value of each draw (S,).
    """

    total: float
    per_photo: np.ndarray
    resampled: Resampled
    lower_is_better: bool = False


Scores = dict[str, Score]
"""By name, in the order of the tables."""

Scorer = Callable[[Sequence[Words]], Scores]
"""Takes each photo's caption."""

Metric = Callable[[Sequence[Sequence[Words]]], Scorer]
"""Prepares each photo's references."""


def mean_score(per_photo: np.ndarray, total: float, *, lower_is_better: bool = False) -> Score:
    """Return a metric whose value of a set is the mean of ``per_photo``, which is ``total``."""
    return Score(total, per_photo, lambda draws: draws @ per_photo / draws.sum(1), lower_is_better)
