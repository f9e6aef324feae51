"""Captions and references in, scores out, under pycocoevalcap's names and on its scale."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from .bleu import bleu
from .cider import CiderD
from .ptb import tokenize
from .rouge import rouge_l

Candidates = Mapping[Hashable, Sequence[str]]  # the words of each photo's caption
References = Mapping[Hashable, Sequence[Sequence[str]]]  # the words of each photo's references
Scores = dict[str, tuple[float, np.ndarray]]  # name → the set's score, and (photos,) every photo's, in order
Scorer = Callable[[Candidates], Scores]


def _bleu(references: References) -> Scorer:
    def score(candidates: Candidates) -> Scores:
        corpus, each = bleu(candidates, references)
        return {f"Bleu_{n}": (total, each[:, n - 1]) for n, total in enumerate(corpus, 1)}

    return score


def _rouge_l(references: References) -> Scorer:
    return lambda candidates: {"ROUGE_L": rouge_l(candidates, references)}


def _cider(references: References) -> Scorer:
    prepared = CiderD(references)
    return lambda candidates: {"CIDEr": prepared.score(candidates)}


# A metric prepares the references once and gives back a function of the candidates. The next metric goes here.
METRICS: dict[str, Callable[[References], Scorer]] = {"BLEU": _bleu, "ROUGE_L": _rouge_l, "CIDEr": _cider}
DEFAULT_METRICS = ("BLEU", "ROUGE_L", "CIDEr")


@dataclass(frozen=True)
class CaptionScores:
    """`metrics` of the whole set and, for each photo id, `per_photo` its own; pycocoevalcap's names and scale."""

    metrics: dict[str, float]
    per_photo: dict[Hashable, dict[str, float]]


class CaptionScorer:
    """Fixed references, tokenized and prepared once, against which any number of candidate sets is scored.

    `references` maps a photo id to its captions. `DataError` where a photo has none, or a metric is unknown.
    """

    def __init__(
        self, references: Mapping[Hashable, Sequence[str]], metrics: Iterable[str] = DEFAULT_METRICS
    ) -> None:
        names = list(metrics)
        for name in names:
            if name not in METRICS:
                raise DataError(f"there is no metric named {name!r}; choose from {', '.join(METRICS)}")
        if not references:
            raise DataError("there are no reference captions to score against; name at least one photo's")
        for photo, captions in references.items():
            if isinstance(captions, str):
                raise TypeError(f"photo {photo}: references are a list of captions, not one string")
            if not captions:
                raise DataError(
                    f"photo {photo} has no reference caption; give it at least one, or leave it out"
                )
        self._photos = list(references)
        self.references: References = {
            photo: [_words(caption) for caption in captions] for photo, captions in references.items()
        }
        self._scorers = [METRICS[name](self.references) for name in names]

    def score(self, candidates: Mapping[Hashable, str]) -> CaptionScores:
        """Scores of one caption for each of the references' photos; `DataError` where the ids differ."""
        missing = [photo for photo in self._photos if photo not in candidates]
        unknown = [photo for photo in candidates if photo not in self.references]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(self._photos)} photos have references but no caption ({_some(missing)}); "
                "caption them, or leave their references out"
            )
        if unknown:
            raise DataError(
                f"{len(unknown)} of {len(candidates)} captions are of photos without references ({_some(unknown)}); "
                "leave them out, or add their references"
            )
        words = {photo: _words(candidates[photo]) for photo in self._photos}
        scores: Scores = {}
        for scorer in self._scorers:
            scores.update(scorer(words))
        per_photo: dict[Hashable, dict[str, float]] = {
            photo: {name: float(each[row]) for name, (_, each) in scores.items()}
            for row, photo in enumerate(self._photos)
        }
        return CaptionScores({name: float(total) for name, (total, _) in scores.items()}, per_photo)


def score_captions(
    candidates: Mapping[Hashable, str],
    references: Mapping[Hashable, Sequence[str]],
    metrics: Iterable[str] = DEFAULT_METRICS,
) -> CaptionScores:
    """Scores of one caption a photo against the photo's references; `DataError` where their photo ids differ."""
    return CaptionScorer(references, metrics).score(candidates)


def _words(caption: str) -> list[str]:
    return tokenize(caption)


def _some(photos: Sequence[Hashable]) -> str:
    return ", ".join(map(str, photos[:3])) + (", …" if len(photos) > 3 else "")
