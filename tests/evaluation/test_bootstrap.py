import numpy as np
import pytest

from wordgaze.evaluation.bootstrap import bootstrap_mean


def test_the_interval_is_the_normal_one_for_many_values():
    values = np.random.default_rng(1).normal(3.0, 2.0, 2000)
    low, high = bootstrap_mean(values)
    half = 1.96 * values.std() / 2000**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert bootstrap_mean(values) == (low, high)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = sum(
        low <= 1.0 <= high for low, high in (bootstrap_mean(rng.exponential(1.0, 100)) for _ in range(200))
    )
    assert 175 <= held <= 200


def test_one_value_has_no_spread():
    assert bootstrap_mean([0.5]) == (0.5, 0.5)
