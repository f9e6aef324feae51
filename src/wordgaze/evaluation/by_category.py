"""What captions are good and bad at: scores by the COCO category of the things in the photos.

A thing is in a photo if its boxes or its references say so, as for ``chair``. People leave out much that has a box, so
the photos in which most people name the thing are counted apart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from wordgaze.evaluation.bootstrap import bootstrap_mean
from wordgaze.evaluation.calibration import Share, share
from wordgaze.evaluation.categories import CATEGORIES, find_objects
from wordgaze.evaluation.metric import Words

RELIABLY = 0.75
"""Names are right where the interval of how often the thing is there begins at this, guesswork where it ends below."""

HARDLY = 0.2
"""A thing is hardly named where the interval of how often captions name it ends below this."""


class PhotoRecord(NamedTuple):
    """A photo's caption and references, as words, with the caption's CIDEr and the categories of the photo's boxes."""

    caption: Words
    references: Sequence[Words]
    cider: float
    boxed: Collection[str] = ()


class CategoryResult(NamedTuple):
    """How captions treat one category.

    ``photos``: how many have it; ``boxed``: how many of them have boxes of it. ``named``: the share of them whose
    caption names it; ``named_by_most``: that share where more than half of the references name it. ``right``: of the
    captions that name it, the share whose photo has it. ``cider``: the mean of the photos that have it, with its 95 %
    interval.
    """

    category: str
    photos: int
    boxed: int
    named: Share
    named_by_most: Share
    right: Share
    cider: float
    cider_interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """Return ``right``, ``guesswork`` or ``hardly named``, where an interval tells; else nothing.

        Right and guesswork: the share of names that are right lies, with its interval, above or below ``RELIABLY``.
        """
        if self.named.high < HARDLY:
            return "hardly named"
        if self.right.low >= RELIABLY:
            return "right"
        return "guesswork" if self.right.high < RELIABLY else ""


def by_category(photos: Sequence[PhotoRecord], fewest: int) -> list[CategoryResult]:
    """Return the categories that at least ``fewest`` photos have, the most frequent first."""
    by_references = [[_objects(reference) for reference in photo.references] for photo in photos]
    present = [set(photo.boxed).union(*objects) for photo, objects in zip(photos, by_references, strict=True)]
    named = [_objects(photo.caption) for photo in photos]
    cider = np.array([photo.cider for photo in photos])
    results = []
    for category in CATEGORIES:
        says = np.array([category in objects for objects in named])
        has = np.array([category in objects for objects in present])
        if has.sum() < fewest:
            continue
        most = np.array([2 * sum(category in objects for objects in group) > len(group) for group in by_references])
        results.append(
            CategoryResult(
                category,
                photos=int(has.sum()),
                boxed=sum(category in photo.boxed for photo in photos),
                named=_share(says, has),
                named_by_most=_share(says, most),
                right=_share(has, says),
                cider=float(cider[has].mean()),
                cider_interval=bootstrap_mean(cider[has]),
            )
        )
    return sorted(results, key=lambda result: -result.photos)


def _objects(words: Words) -> set[str]:
    return {mention.category for mention in find_objects(words)}


def _share(what: np.ndarray, among: np.ndarray) -> Share:
    return share(float((what & among).sum()), int(among.sum()))
