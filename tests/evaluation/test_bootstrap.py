import numpy as np
import pytest

from wordgaze.evaluation.bootstrap import bootstrap, bootstrap_mean, compare, intervals
from wordgaze.evaluation.metric import Score, mean_score


def score(each, **options) -> Score:
    each = np.asarray(each, float)
    return mean_score(each, float(each.mean()), **options)


def test_the_interval_is_the_normal_one_for_many_values():
    values = np.random.default_rng(1).normal(3.0, 2.0, 2000)
    low, high = bootstrap_mean(values)
    half = 1.96 * values.std() / 2000**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert bootstrap_mean(values) == (low, high)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = sum(low <= 1.0 <= high for low, high in (bootstrap_mean(rng.exponential(1.0, 100)) for _ in range(200)))
    assert 175 <= held <= 200


def test_one_value_has_no_spread():
    assert bootstrap_mean([0.5]) == (0.5, 0.5)


def test_every_draw_is_of_as_many_photos_as_there_are():
    draws = bootstrap(7, lambda draws: draws, samples=450)
    assert draws.shape == (450, 7)
    assert set(draws.sum(1)) == {7.0}
    assert draws.mean(0) == pytest.approx(np.ones(7), abs=0.2)
    assert not (draws[:200] == draws[200:400]).all()


def test_a_score_s_interval_is_that_of_its_draws():
    each = np.random.default_rng(3).normal(1.0, 1.0, 60)
    ratio = Score(0.5, each, lambda draws: draws @ each / (draws @ np.arange(60)))
    found = intervals({"mean": score(each), "ratio": ratio})
    assert found["mean"] == pytest.approx(bootstrap_mean(each))
    assert found["ratio"] == pytest.approx(np.quantile(bootstrap(60, ratio.resampled), [0.025, 0.975]))


def test_a_small_gain_on_every_photo_is_sure_though_the_photos_differ_much():
    """Drawn in pairs; two independent intervals would overlap."""
    easy = np.random.default_rng(4).uniform(0, 10, 50)
    ours, theirs = {"m": score(easy + 0.1)}, {"m": score(easy)}
    difference = compare(ours, theirs)["m"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    assert difference.better == 1
    assert compare(theirs, ours)["m"].better == 0
    assert intervals(ours)["m"][0] < intervals(theirs)["m"][1]


def test_a_gain_on_some_photos_is_as_sure_as_chance_lets_it():
    gain = np.array([1.0] * 6 + [-1.0] * 4)
    found = compare({"m": score(gain)}, {"m": score(np.zeros(10))})["m"]
    # The mean of ten draws of +-1 with chances 0.6 and 0.4 is above 0 six or more times of ten, 0 at five.
    assert found.better == pytest.approx(0.6331 + 0.2007 / 2, abs=0.03)
    assert found.value == pytest.approx(0.2)
    assert found.low < 0 < found.high


def test_lower_can_be_better_and_equal_is_half_a_win():
    low, high = score([0.1, 0.2], lower_is_better=True), score([0.3, 0.4], lower_is_better=True)
    assert compare({"m": low}, {"m": high})["m"].better == 1
    assert compare({"m": low}, {"m": low})["m"] == (0, 0, 0, 0.5)
