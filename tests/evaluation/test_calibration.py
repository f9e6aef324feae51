"""Calibration: on drawn captions whose chance to be right is known, and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize

from wordgaze.errors import DataError
from wordgaze.evaluation.calibration import (
    USUALLY,
    area_under_roc,
    calibration_error,
    cross_fitted,
    error_of_chance,
    fit_logistic,
    predict,
    reliability,
    share,
    summary,
    usually_wrong,
)

TRUE = np.array([1.5, -0.8, 0.0])


def drawn(photos: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of several scales, the true chances, and whether each caption is right."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(photos, 3)) * [1.0, 2.0, 30.0] + [0.5, 0.0, 100.0]
    chance = 1 / (1 + np.exp(-(features @ TRUE - 0.4)))
    return features, chance, (rng.random(photos) < chance).astype(float)


def test_the_regression_finds_what_was_drawn() -> None:
    features, chance, right = drawn(20_000)
    intercept, weights = fit_logistic(features, right)
    assert weights == pytest.approx(TRUE, abs=0.06)
    assert np.abs(predict(intercept, weights, features) - chance).mean() < 0.01


def test_the_regression_is_the_optimum_that_another_program_finds() -> None:
    features, _, right = drawn(300)
    scaled = (features - features.mean(0)) / features.std(0)

    def loss(weights: np.ndarray) -> float:
        logit = weights[0] + scaled @ weights[1:]
        return float(np.logaddexp(0, logit).sum() - right @ logit + 3.0 * weights[1:] @ weights[1:] / 2)

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    intercept, weights = fit_logistic(features, right, ridge=3.0)
    assert weights * features.std(0) == pytest.approx(best[1:], abs=1e-5)
    assert intercept + weights @ features.mean(0) == pytest.approx(best[0], abs=1e-5)


def test_captions_that_a_line_parts_and_a_feature_that_never_changes() -> None:
    """Without the ridge weights would grow without end."""
    features, _, _ = drawn(400)
    features[:, 2] = 7.0
    right = (features[:, 0] > 0.5).astype(float)
    intercept, weights = fit_logistic(features, right)
    assert np.isfinite([intercept, *weights]).all() and weights[2] == 0
    assert ((predict(intercept, weights, features) > 0.5) == right).mean() > 0.97


def test_too_few_of_a_kind_are_refused() -> None:
    features, _, _ = drawn(200)
    right = np.zeros(200)
    right[:29] = 1
    with pytest.raises(DataError, match=r"29 of 200 captions are right, but at least 30 right and 30 wrong"):
        fit_logistic(features, right)
    right[29] = 1
    fit_logistic(features, right)


def test_a_photo_does_not_speak_for_itself() -> None:
    """On features that say nothing, a regression that had seen the photo would seem to know something."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 15))
    right = (np.arange(400) % 2).astype(float)
    seen = predict(*fit_logistic(features, right), features)
    assert (area_under_roc(seen, right) or 0) > 0.6
    assert (area_under_roc(cross_fitted(features, right), right) or 1) < 0.56
    changed = right.copy()
    changed[0] = 1 - right[0]
    assert cross_fitted(features, changed)[0] == cross_fitted(features, right)[0]


def test_wilsons_interval() -> None:
    # Newcombe 1998, table I: 81 of 263 and 15 of 148, and the ends at 0 of 20.
    assert share(81, 263)[:3] == pytest.approx((81 / 263, 0.2553, 0.3662), abs=5e-5)
    assert share(15, 148)[:3] == pytest.approx((15 / 148, 0.0624, 0.1605), abs=5e-5)
    assert share(0, 20)[:3] == pytest.approx((0, 0, 0.1611), abs=5e-5)
    assert share(20, 20)[1:3] == pytest.approx((1 - 0.1611, 1), abs=5e-5)
    assert share(0, 0)[1:] == (0, 1, 0)


def test_the_table_and_the_error_by_hand() -> None:
    confidence = np.array([0.04, 0.26, 0.3, 0.34, 0.72, 0.75])
    right = np.array([0, 0, 1, 0, 1, 1.0])
    bins = reliability(confidence, right)
    assert [one.confidence for one in bins] == [0.0, 0.3, 0.7, 0.8]
    assert [one.right.n for one in bins] == [1, 3, 1, 1]
    assert bins[1].mean == pytest.approx(0.3) and bins[1].right.value == pytest.approx(1 / 3)
    expected = (0.04 + 3 * abs(0.3 - 1 / 3) + (1 - 0.72) + (1 - 0.75)) / 6
    assert calibration_error(confidence, right) == pytest.approx(expected)


def test_a_true_confidence_errs_as_chance_does_and_an_overconfident_one_more() -> None:
    _, chance, right = drawn(1000)
    _, high = error_of_chance(chance)
    assert 0 < calibration_error(chance, right) < high
    assert calibration_error(np.sqrt(chance), right) > 2 * high


def test_the_area_by_hand() -> None:
    right = np.array([1, 0, 1, 0])
    assert area_under_roc(np.array([0.9, 0.5, 0.5, 0.1]), right) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert area_under_roc(np.array([0.9, 0.5]), np.ones(2)) is None


def test_the_threshold_is_the_highest_that_holds() -> None:
    # 100 captions at each of 0.1 to 0.9, of which as many are right.
    confidence = np.repeat(np.arange(1, 10) / 10, 100)
    right = np.concatenate([np.arange(100) < 10 * tenth for tenth in range(1, 10)]).astype(float)
    found = usually_wrong(confidence, right)
    # Under 0.6 there are 500, of which 350 are wrong; of the 600 up to there 390 are, which is less than two thirds.
    assert found is not None and found.below == 0.6
    assert (found.wrong.value, found.wrong.n) == (0.7, 500)
    assert 350 / 500 > USUALLY > 390 / 600
    assert usually_wrong(confidence, np.ones(900)) is None


def test_a_threshold_needs_captions() -> None:
    """Three of three wrong may be chance: the interval begins at 0.44."""
    for wrong, found in ((3, None), (4, 1.0)):
        threshold = usually_wrong(np.full(wrong, 0.3), np.zeros(wrong))
        assert (threshold and threshold.below) == found, wrong


def test_the_summary_is_json() -> None:
    _, chance, right = drawn(500)
    values = json.loads(json.dumps(summary(chance, right), allow_nan=False))
    assert values["photos"] == sum(row["right"]["n"] for row in values["reliability"]) == 500
    assert values["usually_wrong"]["wrong"]["n"] == (chance < values["usually_wrong"]["below"]).sum()
    assert json.loads(json.dumps(summary([0.2, 0.9], [True, True]), allow_nan=False))["usually_wrong"] is None
