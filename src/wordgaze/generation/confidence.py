"""How likely a caption is right, from the probabilities it was found with.

A model's own probabilities do not tell: a caption's is a product over its tokens, and training on a score (SCST)
drives them towards one. A model folder's ``confidence.json`` holds a logistic regression on four features of them,
fitted to captions that were judged (``evaluation/calibration.py`` fits it and says what is right).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from wordgaze.errors import ConfigError

FEATURES = ("mean_log_probability", "least_log_probability", "end_log_probability", "words")
"""A caption's mean log-probability (its words and its end), the least word's, the end's, and the number of words."""

_TINY = 1e-30  # a word's probability, the product over its tokens, may underflow


def caption_features(log_probability: float, word_probabilities: Sequence[float]) -> tuple[float, ...]:
    """Return a caption's ``FEATURES``.

    ``log_probability``: of all its tokens with the end; ``word_probabilities``: of each word.
    """
    logs = [math.log(max(probability, _TINY)) for probability in word_probabilities]
    mean = log_probability / (len(logs) + 1)
    return mean, min(logs, default=mean), log_probability - math.fsum(logs), float(len(logs))


@dataclass(frozen=True)
class Confidence:
    """A logistic regression on ``FEATURES``: one of ``weights`` each, and the ``intercept``.

    ``usually_wrong_below``: captions of less confidence were usually wrong where it was fitted; None where no
    threshold could be told from chance. Raises ConfigError for weights of other features, and for what is no number.
    """

    intercept: float
    weights: Mapping[str, float]
    usually_wrong_below: float | None = None

    def __post_init__(self) -> None:
        if set(self.weights) != set(FEATURES):
            raise ConfigError(
                f"confidence has weights of {', '.join(self.weights) or 'nothing'}; it needs {', '.join(FEATURES)}."
            )
        threshold = [] if self.usually_wrong_below is None else [self.usually_wrong_below]
        for value in (self.intercept, *self.weights.values(), *threshold):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"confidence holds {value!r}; it needs finite numbers.")

    def __call__(self, features: Sequence[float]) -> float:
        """Return the confidence, in [0, 1], of a caption with these ``caption_features``."""
        weighted = (self.weights[name] * value for name, value in zip(FEATURES, features, strict=True))
        logit = self.intercept + math.fsum(weighted)
        return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Confidence:
        """Return what ``to_dict`` has written; raise ConfigError on unknown names, and where one is missing."""
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ConfigError(f"confidence has {', '.join(values) or 'nothing'}; it needs {', '.join(sorted(names))}.")
        return cls(**values)
