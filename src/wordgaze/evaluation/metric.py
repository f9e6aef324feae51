"""What a metric hands over: its value, every photo's, and what it would be of other draws of the photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Words = list[str]
Resampled = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Score:
    """A metric of `P` photos: `total` of the set, `each` (P,) of every photo alone.

    `resampled` takes `S` draws (S, P), how often each photo is in each, and gives the set's value for each (S,).
    """

    total: float
    each: np.ndarray
    resampled: Resampled
    lower_is_better: bool = False


Scores = dict[str, Score]  # by name, in the order of the tables
Scorer = Callable[[Sequence[Words]], Scores]  # of each photo's caption
Metric = Callable[[Sequence[Sequence[Words]]], Scorer]  # prepares each photo's references


def mean_score(each: np.ndarray, total: float, *, lower_is_better: bool = False) -> Score:
    """A metric whose value of a set is the mean of `each`, which is `total`."""
    return Score(total, each, lambda draws: draws @ each / draws.sum(1), lower_is_better)
