"""Whether confidences hold: of captions that are 0.7 sure, are seven in ten right?

Right is a caption whose own CIDEr is at least ``RIGHT_CIDER`` and that names no object which is in neither its photo's
boxes nor its references (``chair``); where a photo's boxes aren't known, the references alone say what is there.
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
"""What happens in this share of cases, and in more than half of them at the interval's unfavorable end, is "usual"."""

FOLDS = 10
RIDGE = 1.0  # on standardized features
_PER_WEIGHT = 10  # right captions, and wrong ones, for each weight to fit (Peduzzi et al. 1996)
_STEPS = 50
_Z = 1.959963984540054  # of a 95 % interval


class Share(NamedTuple):
    """How many of ``n`` have something: the share, and its 95 % Wilson interval (Wilson 1927). Of none: 0 to 1."""

    value: float
    low: float
    high: float
    n: int


def share(count: float, n: int) -> Share:
    """``count`` of ``n``."""
    if n == 0:
        return Share(math.nan, 0.0, 1.0, 0)
    value, spread = count / n, _Z**2 / n
    middle = (value + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (value * (1 - value) + spread / 4)) / (1 + spread)
    return Share(value, max(0.0, middle - half), min(1.0, middle + half), n)


def fit_logistic(features: np.ndarray, right: np.ndarray, ridge: float = RIDGE) -> tuple[float, np.ndarray]:
    """The intercept and the weights (F,) of a logistic regression of ``right`` (P,) on ``features`` (P, F).

    Newton's method (iteratively reweighted least squares); ``ridge`` holds down the weights, in standard deviations
    of their features, not the intercept. Raises DataError where there are too few right or wrong captions.
    """
    least, needed = int(min(right.sum(), len(right) - right.sum())), _PER_WEIGHT * features.shape[1]
    if least < needed:
        raise DataError(
            f"a confidence can't be fitted: of {len(right)} captions {int(right.sum())} are right, and both the right "
            f"and the wrong must be {needed} at least; evaluate more photos"
        )
    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    inputs = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    penalty = np.diag([0.0, *[ridge] * features.shape[1]])
    base = right.mean()
    weights = np.array([math.log(base / (1 - base)), *[0.0] * features.shape[1]])
    for _ in range(_STEPS):
        chance = _logistic(inputs @ weights)
        slope = inputs.T @ (right - chance) - penalty @ weights
        step = np.linalg.solve((inputs.T * (chance * (1 - chance))) @ inputs + penalty, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    slopes = weights[1:] / scale
    return float(weights[0] - slopes @ mean), slopes


def predict(intercept: float, weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The confidences (P,) of ``features`` (P, F)."""
    return _logistic(intercept + features @ weights)


def _logistic(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))


def cross_fitted(features: np.ndarray, right: np.ndarray, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Each photo's confidence (P,) by a regression fitted without the tenth of the photos that it is in."""
    fold = np.random.default_rng(seed).permutation(len(right)) % folds
    confidence = np.empty(len(right))
    for held in range(folds):
        fitted = fit_logistic(features[fold != held], right[fold != held])
        confidence[fold == held] = predict(*fitted, features[fold == held])
    return confidence


class Bin(NamedTuple):
    """Captions whose confidence rounds to ``confidence``, in tenths: its ``mean``, and how many are ``right``."""

    confidence: float
    mean: float
    right: Share


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """The captions by their confidence, rounded to tenths (an exact half goes up); empty bins are left out."""
    tenths, bins = _tenths(confidence), []
    for tenth in np.unique(tenths):
        inside = tenths == tenth
        mean, count = float(confidence[inside].mean()), float(right[inside].sum())
        bins.append(Bin(int(tenth) / 10, mean, share(count, int(inside.sum()))))
    return bins


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error: how far the bins' shares are from their confidences, in the mean over captions.

    Guo et al. 2017, section 2, with the bins of :func:`reliability`.
    """
    return float(np.abs(np.bincount(_tenths(confidence), confidence - right)).sum() / len(right))


def _tenths(confidence: np.ndarray) -> np.ndarray:
    return np.floor(confidence * 10 + 0.5).astype(int)


def error_of_chance(confidence: np.ndarray, samples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """What the calibration error of a perfect confidence would be of so few captions: 95 % of it lies between.

    Each caption is drawn right with its confidence; an error inside says nothing against the calibration.
    """
    rng = np.random.default_rng(seed)
    drawn = [calibration_error(confidence, rng.random(len(confidence)) < confidence) for _ in range(samples)]
    return interval(np.array(drawn))


def area_under_roc(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """How often a right caption has the higher confidence of a right and a wrong one; 0.5 is chance. A tie counts half.

    None where all are right, or all wrong.
    """
    good, bad = confidence[right > 0], np.sort(confidence[right == 0])
    if len(good) == 0 or len(bad) == 0:
        return None
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return float(below.mean() / 2 / len(bad))


class Threshold(NamedTuple):
    """Of ``wrong.n`` captions with a confidence under ``below``, so many are wrong."""

    below: float
    wrong: Share


def usually_wrong(confidence: np.ndarray, right: np.ndarray) -> Threshold | None:
    """The highest threshold, in hundredths, under which captions are usually wrong; None where there is none.

    Usually: a share of ``USUALLY`` or more is wrong, and its interval begins above one half.
    """
    for below in np.arange(100, 0, -1) / 100:
        under = confidence < below
        wrong = share(float((right[under] == 0).sum()), int(under.sum()))
        if wrong.value >= USUALLY and wrong.low > 0.5:
            return Threshold(float(below), wrong)
    return None


def summary(
    confidence: Sequence[float] | np.ndarray, right: Sequence[bool] | np.ndarray
) -> dict[str, object]:
    """All of it, as JSON has it."""
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    threshold = usually_wrong(confidence, right)
    return {
        "photos": len(right),
        "right": share(float(right.sum()), len(right))._asdict(),
        "mean_confidence": float(confidence.mean()),
        "reliability": [
            {**one._asdict(), "right": one.right._asdict()} for one in reliability(confidence, right)
        ],
        "calibration_error": calibration_error(confidence, right),
        "calibration_error_of_chance": list(error_of_chance(confidence)),
        "area_under_roc": area_under_roc(confidence, right),
        "usually_wrong": threshold and {"below": threshold.below, "wrong": threshold.wrong._asdict()},
    }
