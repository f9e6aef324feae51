"""Captions and references in, scores out, under pycocoevalcap's names and on its scale."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from wordgaze.errors import DataError
from wordgaze.evaluation import external, ptb
from wordgaze.evaluation.bleu import BleuCounts, bleu_counts
from wordgaze.evaluation.cider import CiderD
from wordgaze.evaluation.metric import Metric, Score, Scorer, Scores, Words, mean_score
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.evaluation.rouge import rouge_l


def _bleu(references: Sequence[Sequence[Words]]) -> Scorer:
    references = [[_apart(words) for words in group] for group in references]

    def score(candidates: Sequence[Words]) -> Scores:
        counts = bleu_counts([_apart(words) for words in candidates], references)
        per_photo = counts.per_photo()
        return {
            f"Bleu_{n + 1}": Score(total, per_photo[:, n], partial(_bleu_of_draws, counts, n))
            for n, total in enumerate(counts.corpus())
        }

    return score


def _bleu_of_draws(counts: BleuCounts, n: int, draws: np.ndarray) -> np.ndarray:
    return counts.resampled(draws)[:, n]


def _rouge_l(references: Sequence[Sequence[Words]]) -> Scorer:
    def score(candidates: Sequence[Words]) -> Scores:
        per_photo = np.array([rouge_l(words, group) for words, group in zip(candidates, references, strict=True)])
        return {"ROUGE_L": mean_score(per_photo, math.fsum(per_photo) / len(per_photo))}

    return score


def _cider(references: Sequence[Sequence[Words]]) -> Scorer:
    prepared = CiderD({row: [_apart(words) for words in group] for row, group in enumerate(references)})

    def score(candidates: Sequence[Words]) -> Scores:
        total, per_photo = prepared.score({row: _apart(words) for row, words in enumerate(candidates)})
        return {"CIDEr": mean_score(per_photo, total)}

    return score


def _apart(words: Words) -> Words:
    """Split words at no-break spaces too ("1 1/2"), as pycocoevalcap does for BLEU and CIDEr, but not for ROUGE-L."""
    return " ".join(words).split()


# Each prepares every photo's references once, and returns a function of one caption a photo.
METRICS: dict[str, Metric] = {
    "BLEU": _bleu,
    "ROUGE_L": _rouge_l,
    "CIDEr": _cider,
    "METEOR": external.meteor,
    "SPICE": external.spice,
}
DEFAULT_METRICS = ("BLEU", "ROUGE_L", "CIDEr")
CIDER_PHOTOS = 100
"""With fewer photos CIDEr means little: an n-gram weighs log(photos / photos whose references have it), and few photos
don't tell frequent from rare. On one photo it is 0; on 50 of a published system's 5,000 it was a tenth too high."""


@dataclass(frozen=True)
class CaptionScores:
    """``metrics`` of the whole set, ``per_photo`` those of each photo by its id, and the ``scores``, to resample."""

    metrics: dict[str, float]
    per_photo: dict[Any, dict[str, float]]
    scores: Scores = field(compare=False, repr=False)


class CaptionScorer:
    """Scores candidate sets against fixed references, which are tokenized and prepared once.

    ``references`` maps a photo's id to its captions. Raises DataError where there are none, or a metric is unknown.
    """

    def __init__(self, references: Mapping[Any, Sequence[str]], metrics: Iterable[str] = DEFAULT_METRICS) -> None:
        names = [metrics] if isinstance(metrics, str) else list(metrics)
        for name in names:
            if name not in METRICS:
                raise DataError(f"There is no metric {name!r}; choose from {', '.join(METRICS)}.")
        if not references:
            raise DataError("There are no reference captions; give those of at least one photo.")
        for photo, captions in references.items():
            if isinstance(captions, str):
                raise DataError(f"The references of photo {photo} are a single string; give a list of captions.")
            if not captions:
                raise DataError(f"Photo {photo} has no reference caption; give it one, or leave the photo out.")
        self._photos = dict.fromkeys(references)
        words = iter(tokenize_all(caption for captions in references.values() for caption in captions))
        grouped = [[next(words) for _ in captions] for captions in references.values()]
        self._scorers = [METRICS[name](grouped) for name in names]

    def score(self, candidates: Mapping[Any, str]) -> CaptionScores:
        """Score one caption for each of the references' photos; raise DataError where the photos differ."""
        missing = [photo for photo in self._photos if photo not in candidates]
        unknown = [photo for photo in candidates if photo not in self._photos]
        if missing or unknown:
            raise DataError(_difference(missing, unknown))
        words = tokenize_all(candidates[photo] for photo in self._photos)
        scores: Scores = {}
        for scorer in self._scorers:
            scores.update(scorer(words))
        per_photo = {
            photo: {name: float(score.per_photo[row]) for name, score in scores.items()}
            for row, photo in enumerate(self._photos)
        }
        return CaptionScores({name: float(score.total) for name, score in scores.items()}, per_photo, scores)


def score_captions(
    candidates: Mapping[Any, str],
    references: Mapping[Any, Sequence[str]],
    metrics: Iterable[str] = DEFAULT_METRICS,
) -> CaptionScores:
    """Score one caption a photo against the photo's references; raise DataError where the photos differ."""
    return CaptionScorer(references, metrics).score(candidates)


def fingerprint(references: Mapping[Any, Sequence[str]]) -> str:
    """Return twelve hexadecimal digits of what captions are scored against: equal ones mean that scores compare.

    They depend on the photos' ids, every reference's text and the tokenizer's version, and not on the order of photos
    and references, or on whether ids are numbers or texts.
    """
    split = sorted([str(photo), sorted(captions)] for photo, captions in references.items())
    return hashlib.sha256(json.dumps([ptb.VERSION, split]).encode()).hexdigest()[:12]


def _difference(missing: Sequence[Hashable], unknown: Sequence[Hashable]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} have references but no caption ({first_few(missing)})")
    if unknown:
        parts.append(f"{len(unknown)} have a caption but no references ({first_few(unknown)})")
    return f"The photos of captions and references differ: {' and '.join(parts)}; give both for the same photos."


def first_few(values: Sequence[Hashable]) -> str:
    """Return the first few of ``values``, for a sentence."""
    return ", ".join(map(str, values[:3])) + (", ..." if len(values) > 3 else "")
