"""Do maps point at what their words name? Maps and boxes in, scores with intervals out.

Letters: N patches of the model's input (row by row), photo pixels (h, w). All is measured on the photo's own pixels:
each pixel has the value of the patch over it, or zero where the input did not show it. A map of a word that names a
category gets three scores:

- pointing: whether the peak, the pixel under the center of the highest patch, lies in a box of that category (Zhang et
  al. 2016, section 4.1, without their tolerance of 15 pixels);
- mass: the share of the attention inside these boxes, each patch's spread evenly over its pixels of the photo;
- auc: the area under the ROC curve of the pixels' values, inside the boxes against outside; ties count half.

Crowd boxes count as boxes: what they hold is of the category. An object that the input's crop cuts away stays in: no
map can pass its word's trial.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from wordgaze.evaluation.bootstrap import bootstrap, interval

METRICS = ("pointing", "mass", "auc")
CONTROLS = ("center", "uniform", "other_word", "other_photo")
"""What a map must beat: a Gaussian at the photo's center (a quarter of each side wide), a uniform map, the mean score
of the maps of the caption's other words, and that of the same word's maps of other photos."""

GROUPS: dict[str, Callable[[str], bool]] = {
    "all": lambda category: True,
    "person": lambda category: category == "person",
    "other": lambda category: category != "person",
}
# Standard deviation of the center's Gaussian, in sides of the photo.
_CENTER_WIDTH = 0.25


@dataclass(frozen=True)
class View:
    """How the patches lie over a photo: ``cells`` (h, w), the patch over each pixel from 1, or 0 where there is none.

    ``points`` (N, 2): x, y of the pixel under each patch's center; ``shown`` (N,): whether a patch shows any photo.
    """

    cells: np.ndarray
    points: np.ndarray
    shown: np.ndarray


class Target:
    """Where things of one category are in a photo: ``boxes`` are x, y, width, height in its pixels."""

    def __init__(self, view: View, boxes: Iterable[tuple[float, float, float, float]]) -> None:
        self.view = view
        self.mask = box_mask(boxes, view.cells.shape)
        cells = len(view.points) + 1
        self._total = np.bincount(view.cells.ravel(), minlength=cells).astype(float)
        self._inside = np.bincount(view.cells[self.mask], minlength=cells).astype(float)

    @property
    def cut_away(self) -> bool:
        """Return whether the model's input showed none of it."""
        return not self._inside[1:].any()

    def scores(self, maps: np.ndarray) -> np.ndarray:
        """Return the METRICS (M, 3) of maps (M, N); nan for an area that is not defined, where boxes cover all."""
        maps = np.asarray(maps, float)
        peaks = self.view.points[np.where(self.view.shown, maps, -1).argmax(axis=1)]
        on_photo = np.where(self._total[1:] > 0, maps, 0)
        share = self._inside[1:] / np.maximum(self._total[1:], 1)
        with_rest = np.concatenate([np.zeros((len(maps), 1)), on_photo], axis=1)
        return np.stack(
            [
                self.mask[peaks[:, 1], peaks[:, 0]],
                on_photo @ share / np.maximum(on_photo.sum(axis=1), 1e-12),
                [area_under_roc(values, self._inside, self._total) for values in with_rest],
            ],
            axis=1,
        )

    @cached_property
    def center(self) -> np.ndarray:
        """Return the METRICS (3,) of the Gaussian at the photo's center, pixel by pixel."""
        height, width = self.mask.shape
        down, across = ((2 * np.arange(side) + 1 - side) / (2 * side * _CENTER_WIDTH) for side in (height, width))
        values = np.exp(-0.5 * (down[:, None] ** 2 + across[None, :] ** 2))
        area = area_under_roc(values.ravel(), self.mask.ravel().astype(float), np.ones(self.mask.size))
        mass = values[self.mask].sum() / values.sum()
        return np.array([self.mask[height // 2, width // 2], mass, area])

    @cached_property
    def uniform(self) -> np.ndarray:
        """Return the METRICS (3,) of a uniform map: a pixel drawn from the whole photo."""
        share = self.mask.mean()
        return np.array([share, share, 0.5 if share < 1 else np.nan])


def box_mask(boxes: Iterable[tuple[float, float, float, float]], shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask (h, w) of pixels whose center lies in a box, or under the center of a box too small for any."""
    mask = np.zeros(shape, bool)
    for x, y, width, height in boxes:
        rows = np.ceil([y - 0.5, y + height - 0.5]).astype(int).clip(0, shape[0])
        columns = np.ceil([x - 0.5, x + width - 0.5]).astype(int).clip(0, shape[1])
        mask[rows[0] : rows[1], columns[0] : columns[1]] = True
        middle = np.floor([y + height / 2, x + width / 2]).astype(int)
        mask[min(max(middle[0], 0), shape[0] - 1), min(max(middle[1], 0), shape[1] - 1)] = True
    return mask


def area_under_roc(values: np.ndarray, inside: np.ndarray, total: np.ndarray) -> float:
    """Return the area for cells with ``values`` and pixels ``inside`` of ``total``; nan when all are on one side."""
    levels, order = np.unique(values, return_inverse=True)
    positive = np.bincount(order, inside, len(levels))
    negative = np.bincount(order, total - inside, len(levels))
    below = np.cumsum(negative) - negative / 2
    pairs = positive.sum() * negative.sum()
    return float(positive @ below / pairs) if pairs > 0 else float("nan")


class PointingTrial(NamedTuple):
    """A word that names a category with boxes in its photo.

    ``scores``: METRICS (3,) of its ``map`` and of those CONTROLS that could be had.
    """

    photo: Hashable
    category: str
    word: str
    scores: Mapping[str, np.ndarray]


def summary(trials: Sequence[PointingTrial]) -> dict[str, Any]:
    """Return the report on ``trials``, every value as ``{"value", "low", "high", "n"}``.

    By GROUPS: ``pointing``, ``mass`` and ``auc`` of the maps, the pointing of each control under its name,
    ``difference`` (pointing less a control's, word by word) and ``controls`` (their mass and auc). ``categories`` has a
    row for each.
    """
    gaps = {name: _scores(trials, "map", "pointing") - _scores(trials, name, "pointing") for name in CONTROLS}
    return {
        "words": len(trials),
        "photos": len({trial.photo for trial in trials}),
        **{metric: _grouped(trials, _scores(trials, "map", metric)) for metric in METRICS},
        **{name: _grouped(trials, _scores(trials, name, "pointing")) for name in CONTROLS},
        "difference": {name: _grouped(trials, values) for name, values in gaps.items()},
        "controls": {
            metric: {name: _grouped(trials, _scores(trials, name, metric)) for name in CONTROLS}
            for metric in METRICS[1:]
        },
        "categories": {
            category: _category([trial for trial in trials if trial.category == category])
            for category in sorted({trial.category for trial in trials})
        },
    }


def _category(trials: Sequence[PointingTrial]) -> dict[str, Any]:
    photos = [trial.photo for trial in trials]
    values = {metric: mean_over_photos(_scores(trials, "map", metric), photos) for metric in METRICS}
    return {**values, "center": mean_over_photos(_scores(trials, "center", "pointing"), photos)}


def mean_over_photos(values: np.ndarray, photos: Sequence[Hashable]) -> dict[str, Any]:
    """Return the mean of ``values`` (trials,) and its 95 % interval over resampled photos; nan are left out.

    Photos are drawn, not words, since the words of a photo are not independent.
    """
    known = np.isfinite(values)
    if not known.any():
        return {"value": None, "low": None, "high": None, "n": 0}
    numbers: dict[Hashable, int] = {}
    rows = [numbers.setdefault(photo, len(numbers)) for photo, is_known in zip(photos, known, strict=True) if is_known]
    sums, counts = np.bincount(rows, values[known]), np.bincount(rows)
    low, high = interval(bootstrap(len(numbers), lambda draws: draws @ sums / (draws @ counts)))
    return {"value": float(values[known].mean()), "low": low, "high": high, "n": int(known.sum())}


def _grouped(trials: Sequence[PointingTrial], values: np.ndarray) -> dict[str, Any]:
    means = {}
    for group, belongs in GROUPS.items():
        members = [index for index, trial in enumerate(trials) if belongs(trial.category)]
        means[group] = mean_over_photos(values[members], [trials[index].photo for index in members])
    return means


def _scores(trials: Sequence[PointingTrial], which: str, metric: str) -> np.ndarray:
    """Return a score of each trial (trials,); nan where there is none."""
    column = METRICS.index(metric)
    return np.array([trial.scores[which][column] if which in trial.scores else np.nan for trial in trials], float)
