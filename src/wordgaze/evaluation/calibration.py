"""Whether confidences hold: of the captions with a confidence of 0.7, are seven in ten right?

A caption is right if its own CIDEr is at least ``RIGHT_CIDER`` and every object it names is in its photo's boxes or
references (``chair``). Where a photo's boxes aren't known, the references alone say what is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wordgaze.errors import DataError
from wordgaze.evaluation.bootstrap import interval

RIGHT_CIDER = 0.5
USUALLY = 2 / 3
"""Usually: in this share of cases, with an interval above one half."""

FOLDS = 10
# On standardized features.
RIDGE = 1.0
# Right captions, and wrong ones, for each weight to fit (Peduzzi et al. 1996).
_PER_WEIGHT = 10
_STEPS = 50
# Of a 95 % interval.
_Z = 1.959963984540054


class Share(NamedTuple):
    """A share of ``n`` with its 95 % Wilson interval (Wilson 1927), which is 0 to 1 where ``n`` is 0."""

    value: float
    low: float
    high: float
    n: int


def share(count: float, n: int) -> Share:
    """Return the share that ``count`` of ``n`` is."""
    if n == 0:
        return Share(math.nan, 0.0, 1.0, 0)
    value, spread = count / n, _Z**2 / n
    middle = (value + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (value * (1 - value) + spread / 4)) / (1 + spread)
    return Share(value, max(0.0, middle - half), min(1.0, middle + half), n)


def fit_logistic(features: np.ndarray, right: np.ndarray, ridge: float = RIDGE) -> tuple[float, np.ndarray]:
    """Fit a logistic regression of ``right`` (P,) on ``features`` (P, F); return its intercept and weights (F,).

    By Newton's method (iteratively reweighted least squares). ``ridge`` penalizes the weights, in standard deviations
    of their features, but not the intercept. Raises DataError where there are too few right or wrong captions.
    """
    least, needed = int(min(right.sum(), len(right) - right.sum())), _PER_WEIGHT * features.shape[1]
    if least < needed:
        raise DataError(
            f"A confidence can't be fitted: {int(right.sum())} of {len(right)} captions are right, but at least "
            f"{needed} right and {needed} wrong ones are needed; evaluate more photos."
        )
    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    inputs = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    penalty = np.diag([0.0, *[ridge] * features.shape[1]])
    base = right.mean()
    weights = np.array([math.log(base / (1 - base)), *[0.0] * features.shape[1]])
    for _ in range(_STEPS):
        probabilities = _logistic(inputs @ weights)
        slope = inputs.T @ (right - probabilities) - penalty @ weights
        step = np.linalg.solve((inputs.T * (probabilities * (1 - probabilities))) @ inputs + penalty, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    slopes = weights[1:] / scale
    return float(weights[0] - slopes @ mean), slopes


def predict(intercept: float, weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the confidences (P,) of ``features`` (P, F)."""
    return _logistic(intercept + features @ weights)


def _logistic(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))


def cross_fitted(features: np.ndarray, right: np.ndarray, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Return each photo's confidence (P,) by a regression that was fitted without its fold."""
    fold = np.random.default_rng(seed).permutation(len(right)) % folds
    confidence = np.empty(len(right))
    for held_out in range(folds):
        fitted = fit_logistic(features[fold != held_out], right[fold != held_out])
        confidence[fold == held_out] = predict(*fitted, features[fold == held_out])
    return confidence


class Bin(NamedTuple):
    """Captions whose confidence rounds to ``confidence``, in tenths: its ``mean``, and how many are ``right``."""

    confidence: float
    mean: float
    right: Share


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Return bins of captions by their confidence, rounded to tenths (an exact half goes up); no bin is empty."""
    tenths, bins = _tenths(confidence), []
    for tenth in np.unique(tenths):
        inside = tenths == tenth
        mean, count = float(confidence[inside].mean()), float(right[inside].sum())
        bins.append(Bin(int(tenth) / 10, mean, share(count, int(inside.sum()))))
    return bins


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017, section 2), with the bins of :func:`reliability`.

    That is the distance of a bin's share from its mean confidence, averaged over captions.
    """
    return float(np.abs(np.bincount(_tenths(confidence), confidence - right)).sum() / len(right))


def _tenths(confidence: np.ndarray) -> np.ndarray:
    return np.floor(confidence * 10 + 0.5).astype(int)


def error_of_chance(confidence: np.ndarray, samples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the calibration error that a perfect confidence would have on as many captions.

    Each caption is drawn as right with its confidence. An error inside the interval says nothing against the
    calibration.
    """
    rng = np.random.default_rng(seed)
    drawn = [calibration_error(confidence, rng.random(len(confidence)) < confidence) for _ in range(samples)]
    return interval(np.array(drawn))


def area_under_roc(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """Return how often the right one of a right and a wrong caption has the higher confidence; 0.5 is chance.

    A tie counts half. None where all are right, or all wrong.
    """
    good, bad = confidence[right > 0], np.sort(confidence[right == 0])
    if len(good) == 0 or len(bad) == 0:
        return None
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return float(below.mean() / 2 / len(bad))


class Threshold(NamedTuple):
    """The share of captions that are wrong among the ``wrong.n`` with a confidence under ``below``."""

    below: float
    wrong: Share


def usually_wrong(confidence: np.ndarray, right: np.ndarray) -> Threshold | None:
    """Return the highest threshold, in hundredths, under which captions are usually wrong; None if there is none.

    Usually: a share of ``USUALLY`` or more is wrong, and its interval begins above one half.
    """
    for below in np.arange(100, 0, -1) / 100:
        under = confidence < below
        wrong = share(float((right[under] == 0).sum()), int(under.sum()))
        if wrong.value >= USUALLY and wrong.low > 0.5:
            return Threshold(float(below), wrong)
    return None


def summary(confidence: Sequence[float] | np.ndarray, right: Sequence[bool] | np.ndarray) -> dict[str, object]:
    """Return all figures, as JSON has them."""
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    threshold = usually_wrong(confidence, right)
    return {
        "photos": len(right),
        "right": share(float(right.sum()), len(right))._asdict(),
        "mean_confidence": float(confidence.mean()),
        "reliability": [{**bin_._asdict(), "right": bin_.right._asdict()} for bin_ in reliability(confidence, right)],
        "calibration_error": calibration_error(confidence, right),
        "calibration_error_of_chance": list(error_of_chance(confidence)),
        "area_under_roc": area_under_roc(confidence, right),
        "usually_wrong": threshold and {"below": threshold.below, "wrong": threshold.wrong._asdict()},
    }
