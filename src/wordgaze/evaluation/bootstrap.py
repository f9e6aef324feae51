"""How far a score could have come out otherwise, had the photos been others of their kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_mean(
    values: Sequence[float] | np.ndarray, *, samples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of the mean of ``values`` (photos,) over resampled photos (Efron 1979).

    For a score that is the mean of its photos' scores; CIDEr's document frequencies stay those of the whole set.
    """
    values = np.asarray(values, float)
    draws = np.random.default_rng(seed).multinomial(
        len(values), np.full(len(values), 1 / len(values)), samples
    )
    low, high = np.quantile(draws @ values / len(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
