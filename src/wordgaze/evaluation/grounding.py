"""Do maps point at what their words name? Maps and boxes in, scores with intervals out.

Letters: N patches of the model's input (row by row), photo pixels (h, w). All is measured on the photo's own pixels:
each pixel has the value of the patch over it, and zero where the input did not show it. Three scores of a map, for a
word that names a category:

- pointing: whether the peak, the pixel under the center of the highest patch, lies in a box of that category (Zhang et
  al. 2016, section 4.1, without their tolerance of 15 pixels);
- mass: the share of the attention inside these boxes, each patch's spread evenly over its pixels of the photo;
- auc: the area under the ROC curve of the pixels' values, inside the boxes against outside; ties count half.

Crowd boxes count as boxes: what they hold is of the category. An object that the input's crop cuts away stays in: its
word is a trial that no map can pass.
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
"""What a map must beat: a Gaussian about the photo's center (a quarter of each side wide), no idea at all, the mean
score of the maps of the caption's other words, and that of the same word's maps from other photos."""

GROUPS: dict[str, Callable[[str], bool]] = {
    "all": lambda category: True,
    "person": lambda category: category == "person",
    "other": lambda category: category != "person",
}
_CENTER_WIDTH = 0.25  # standard deviation of the center's Gaussian, in sides of the photo


@dataclass(frozen=True)
class View:
    """How the patches lie over a photo: ``cells`` (h, w), the patch over each pixel, from 1, 0 where there is none.

    ``points`` (N, 2): x, y of the pixel under each patch's center; ``shown`` (N,): whether a patch holds any photo.
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
        """Whether the model's input showed none of it."""
        return not self._inside[1:].any()

    def scores(self, maps: np.ndarray) -> np.ndarray:
        """The METRICS of maps (M, N): (M, 3); nan for an area that is not defined, where boxes cover all."""
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
        """The METRICS (3,) of the Gaussian about the photo's center, pixel by pixel."""
        height, width = self.mask.shape
        down, across = (
            (2 * np.arange(side) + 1 - side) / (2 * side * _CENTER_WIDTH) for side in (height, width)
        )
        values = np.exp(-0.5 * (down[:, None] ** 2 + across[None, :] ** 2))
        area = area_under_roc(values.ravel(), self.mask.ravel().astype(float), np.ones(self.mask.size))
        mass = values[self.mask].sum() / values.sum()
        return np.array([self.mask[height // 2, width // 2], mass, area])

    @cached_property
    def uniform(self) -> np.ndarray:
        """The METRICS (3,) of no idea at all: a pixel drawn from the whole photo."""
        share = self.mask.mean()
        return np.array([share, share, 0.5 if share < 1 else np.nan])


def box_mask(boxes: Iterable[tuple[float, float, float, float]], shape: tuple[int, ...]) -> np.ndarray:
    """(h, w) bool: pixels whose center lies in a box; of a box too small for any, the pixel under its center."""
    mask = np.zeros(shape, bool)
    for x, y, width, height in boxes:
        rows = np.ceil([y - 0.5, y + height - 0.5]).astype(int).clip(0, shape[0])
        columns = np.ceil([x - 0.5, x + width - 0.5]).astype(int).clip(0, shape[1])
        mask[rows[0] : rows[1], columns[0] : columns[1]] = True
        middle = np.floor([y + height / 2, x + width / 2]).astype(int)
        mask[min(max(middle[0], 0), shape[0] - 1), min(max(middle[1], 0), shape[1] - 1)] = True
    return mask


def area_under_roc(values: np.ndarray, inside: np.ndarray, total: np.ndarray) -> float:
    """Of cells with ``values``, each with so many pixels ``inside`` of ``total``; nan when all are on one side."""
    levels, order = np.unique(values, return_inverse=True)
    positive = np.bincount(order, inside, len(levels))
    negative = np.bincount(order, total - inside, len(levels))
    below = np.cumsum(negative) - negative / 2
    pairs = positive.sum() * negative.sum()
    return float(positive @ below / pairs) if pairs > 0 else float("nan")


class PointingTrial(NamedTuple):
    """A word that names a category which has boxes in its photo.

    ``scores``: METRICS (3,) of its ``map`` and of the CONTROLS; one that could not be had is not there.
    """

    photo: Hashable
    category: str
    word: str
    scores: Mapping[str, np.ndarray]


def summary(trials: Sequence[PointingTrial]) -> dict[str, Any]:
    """What is reported of ``trials``: every value as ``{"value", "low", "high", "n"}``, by GROUPS where it says so.

    ``pointing``, ``mass`` and ``auc`` of the maps, and the pointing of each control under its name, by groups;
    ``difference``: pointing less a control's, word by word; ``controls``: their mass and auc; ``categories``: a row
    each.
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
    """The mean of ``values`` (trials,), and its 95 % interval over resampled photos; nan are left out.

    Photos are drawn, not words: the words of a photo stand or fall together.
    """
    known = np.isfinite(values)
    if not known.any():
        return {"value": None, "low": None, "high": None, "n": 0}
    numbers: dict[Hashable, int] = {}
    drawn = [
        numbers.setdefault(photo, len(numbers)) for photo, kept in zip(photos, known, strict=True) if kept
    ]
    sums, counts = np.bincount(drawn, values[known]), np.bincount(drawn)
    low, high = interval(bootstrap(len(numbers), lambda draws: draws @ sums / (draws @ counts)))
    return {"value": float(values[known].mean()), "low": low, "high": high, "n": int(known.sum())}


def _grouped(trials: Sequence[PointingTrial], values: np.ndarray) -> dict[str, Any]:
    found = {}
    for group, belongs in GROUPS.items():
        chosen = [index for index, trial in enumerate(trials) if belongs(trial.category)]
        found[group] = mean_over_photos(values[chosen], [trials[index].photo for index in chosen])
    return found


def _scores(trials: Sequence[PointingTrial], which: str, metric: str) -> np.ndarray:
    """(trials,), nan where there is none."""
    column = METRICS.index(metric)
    return np.array(
        [trial.scores[which][column] if which in trial.scores else np.nan for trial in trials], float
    )
