"""A caption's confidence: features by hand, a logistic of them, and parameters that are finite numbers, none other."""

from __future__ import annotations

import math
from typing import Any

import pytest

from wordgaze.errors import ConfigError
from wordgaze.generation.confidence import FEATURES, Confidence, caption_features

WEIGHTS = {
    "mean_log_probability": 2.0,
    "least_log_probability": 0.5,
    "end_log_probability": -1.0,
    "words": 0.1,
}


def test_features_by_hand() -> None:
    log_probability = math.log(0.5) + math.log(0.25) + math.log(0.8)  # the end has 0.8
    mean, least, end, words = caption_features(log_probability, [0.5, 0.25])
    assert mean == pytest.approx(log_probability / 3)
    assert least == pytest.approx(math.log(0.25))
    assert end == pytest.approx(math.log(0.8))
    assert words == 2
    assert len(FEATURES) == 4


def test_no_words_and_a_word_of_no_probability_are_still_numbers() -> None:
    assert caption_features(-0.5, []) == (-0.5, -0.5, -0.5, 0.0)
    assert all(map(math.isfinite, caption_features(-900.0, [0.0, 1.0])))


def test_a_logistic_of_the_weighted_sum_also_far_out() -> None:
    confidence = Confidence(-0.3, WEIGHTS)
    logit = -0.3 + 2 * -0.7 + 0.5 * -1.4 + 1 * 0.2 + 0.1 * 9
    assert confidence((-0.7, -1.4, -0.2, 9)) == pytest.approx(1 / (1 + math.exp(-logit)))
    assert Confidence(5000.0, WEIGHTS)((0, 0, 0, 0)) == 1
    assert Confidence(-5000.0, WEIGHTS)((0, 0, 0, 0)) == 0


def test_there_and_back() -> None:
    for threshold in (None, 0.25):
        confidence = Confidence(1.5, WEIGHTS, threshold)
        assert Confidence.from_dict(confidence.to_dict()) == confidence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intercept": math.nan}, "holds nan"),
        ({"intercept": "1"}, "holds '1'"),
        ({"weights": {**WEIGHTS, "words": math.inf}}, "holds inf"),
        ({"weights": {**WEIGHTS, "words": True}}, "holds True"),
        ({"weights": {"words": 1.0}}, "it needs mean_log_probability"),
        ({"usually_wrong_below": math.nan}, "holds nan"),
        ({"more": 1}, "it needs intercept"),
    ],
)
def test_other_parameters_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Confidence.from_dict({**Confidence(1.0, WEIGHTS).to_dict(), **change})
