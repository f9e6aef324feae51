"""What captions are good and bad at: scores by the COCO category of the things in the photos.

A thing is in a photo if its boxes or its references say so, as for ``chair``; people leave out much that has a box, so
beside all photos with a thing there are those of which most people speak of it.
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
"""A name is right where the interval of how often the thing is there begins at this, guesswork where it ends below."""

HARDLY = 0.2
"""A thing is hardly ever named where the interval of how often ends below this."""


class PhotoRecord(NamedTuple):
    """A photo's caption and references, as words, with the caption's CIDEr and the categories of the photo's boxes."""

    caption: Words
    references: Sequence[Words]
    cider: float
    boxed: Collection[str] = ()


class CategoryResult(NamedTuple):
    """Of one category: the photos that have it, and what captions make of it.

    ``boxed``: how many of ``photos`` have boxes of it. ``named``: the share of them whose caption names it;
    ``named_by_most``: of those where more than half of the references do. ``right``: of the captions that name it, the
    share whose photo has it. ``cider``: the mean of the photos that have it, with its 95 % interval.
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
        """``right``, ``guesswork`` or ``hardly named``, where an interval tells; else nothing.

        Right and guesswork: the share of names that are right lies, with its interval, above or below ``RELIABLY``.
        """
        if self.named.high < HARDLY:
            return "hardly named"
        if self.right.low >= RELIABLY:
            return "right"
        return "guesswork" if self.right.high < RELIABLY else ""


def by_category(photos: Sequence[PhotoRecord], fewest: int) -> list[CategoryResult]:
    """The categories that ``fewest`` photos have at least, the most frequent first."""
    spoken = [[_objects(reference) for reference in photo.references] for photo in photos]
    there = [set(photo.boxed).union(*some) for photo, some in zip(photos, spoken, strict=True)]
    named = [_objects(photo.caption) for photo in photos]
    cider = np.array([photo.cider for photo in photos])
    found = []
    for category in CATEGORIES:
        says = np.array([category in some for some in named])
        has = np.array([category in some for some in there])
        if has.sum() < fewest:
            continue
        most = np.array([2 * sum(category in one for one in some) > len(some) for some in spoken])
        found.append(
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
    return sorted(found, key=lambda one: -one.photos)


def _objects(words: Words) -> set[str]:
    return {mention.category for mention in find_objects(words)}


def _share(what: np.ndarray, among: np.ndarray) -> Share:
    return share(float((what & among).sum()), int(among.sum()))
