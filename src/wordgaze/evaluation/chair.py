"""CHAIR: how many of the objects that captions name are not in the photo (Rohrbach et al. 2018, section 3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from wordgaze.evaluation.categories import find_objects
from wordgaze.evaluation.metric import Score, Scores, Words, mean_score


@dataclass(frozen=True)
class Chair:
    """The COCO objects that each of ``P`` captions names, word by word, and those that its photo lacks."""

    named: tuple[tuple[str, ...], ...]
    hallucinated: tuple[tuple[str, ...], ...]

    def scores(self) -> Scores:
        """Return CHAIRs and CHAIRi.

        CHAIRs is the share of captions that name an absent object, CHAIRi the share of named objects that are absent.
        CHAIRi is 0 where no object is named.
        """
        absent = np.array([len(names) for names in self.hallucinated], float)
        named = np.array([len(names) for names in self.named], float)
        captions = (absent > 0).astype(float)

        def share(draws: np.ndarray) -> np.ndarray:
            return _ratio(draws @ absent, draws @ named)

        return {
            "CHAIRs": mean_score(captions, float(captions.mean()), lower_is_better=True),
            "CHAIRi": Score(
                float(_ratio(absent.sum(), named.sum())), _ratio(absent, named), share, lower_is_better=True
            ),
        }


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def chair(
    candidates: Sequence[Words],
    references: Sequence[Sequence[Words]],
    boxed: Sequence[Collection[str]],
) -> Chair:
    """Find the objects that tokenized captions name, and those that are in neither their photo's boxes nor references.

    ``boxed`` holds the categories of each photo's boxes, by COCO's names. An object named twice counts twice.
    """
    named, hallucinated = [], []
    for words, group, categories in zip(candidates, references, boxed, strict=True):
        present = {*categories, *(name for reference in group for name in _objects(reference))}
        names = _objects(words)
        named.append(names)
        hallucinated.append(tuple(name for name in names if name not in present))
    return Chair(tuple(named), tuple(hallucinated))


def _objects(words: Words) -> tuple[str, ...]:
    return tuple(mention.category for mention in find_objects(words))
