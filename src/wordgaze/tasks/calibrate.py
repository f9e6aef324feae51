"""Learns from judged captions how sure a model may be of one: what ``wordgaze caption --confidence`` prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wordgaze.data.json_file import PhotoId, kind_of_json, read_json
from wordgaze.errors import DataError
from wordgaze.evaluation.calibration import (
    FOLDS,
    RIGHT_CIDER,
    cross_fitted,
    fit_logistic,
    summary,
    usually_wrong,
)
from wordgaze.evaluation.chair import chair
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.generation.confidence import FEATURES, Confidence

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner

_OTHERWISE = 0.02  # so many captions may differ from those judged: another machine rounds otherwise


class JudgedPhoto(NamedTuple):
    """A photo of the set ``name``, its caption, and what ``wordgaze evaluate`` found.

    ``absent``: the objects that the caption names and that are in neither boxes nor references; ``boxed``: whether
    the photo's boxes were known.
    """

    name: str
    photo_id: PhotoId
    file: Path | None
    caption: str
    references: tuple[str, ...]
    cider: float
    absent: tuple[str, ...]
    boxed: bool

    @property
    def right(self) -> bool:
        """As :mod:`wordgaze.evaluation.calibration` says."""
        return self.cider >= RIGHT_CIDER and not self.absent


class SurePhoto(NamedTuple):
    """A judged photo, and the confidence of its caption by a regression that was not fitted on it."""

    photo: JudgedPhoto
    confidence: float


@dataclass(frozen=True)
class Calibration:
    """``confidence``, fitted on all ``photos``; the figures are of regressions that had not seen the photo.

    ``differing``: photos that were left out, since the model captions them otherwise here than it was judged by.
    """

    confidence: Confidence
    photos: tuple[SurePhoto, ...]
    differing: int

    def to_dict(self) -> dict[str, Any]:
        """What ``scripts/calibrate.py --json`` writes: of all photos, of each set, and each photo's confidence."""
        sets: dict[str, list[SurePhoto]] = {}
        for one in self.photos:
            sets.setdefault(one.photo.name, []).append(one)
        return {
            **_summary(self.photos),
            "folds": FOLDS,
            "differing": self.differing,
            "confidence": self.confidence.to_dict(),
            "sets": {name: _summary(some) for name, some in sets.items()},
            "captions": {
                name: [
                    {"image_id": one.photo.photo_id, "confidence": one.confidence, "right": one.photo.right}
                    for one in some
                ]
                for name, some in sets.items()
            },
        }


def _summary(photos: Sequence[SurePhoto]) -> dict[str, Any]:
    return summary([one.confidence for one in photos], [one.photo.right for one in photos])


_JUDGED = "give what `wordgaze evaluate --per-image OUT.json` wrote"


def read_judged(path: str | os.PathLike[str]) -> tuple[JudgedPhoto, ...]:
    """The photos in a JSON file of ``wordgaze evaluate --per-image``, a set named like the file; raises DataError."""
    path = Path(path)
    rows = read_json(path, _JUDGED)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path} lists no photos ({kind_of_json(rows) or 'an object'}); {_JUDGED}.")
    try:
        return tuple(_judged(path.stem, row) for row in rows)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: a photo lacks its id, file, caption, references or CIDEr ({kind_of_json(rows)}); {_JUDGED}."
        ) from None


def _judged(name: str, row: dict[str, Any]) -> JudgedPhoto:
    photo_id, caption, references = row["image_id"], row["caption"], row["references"]
    cider, absent = float(row["CIDEr"]), row.get("hallucinated")
    texts = [caption, *(references if isinstance(references, list) else [None]), *(absent or [])]
    if not all(isinstance(text, str) for text in texts) or not np.isfinite(cider):
        raise ValueError("no text, or no score")
    if absent is None:
        absent = chair(tokenize_all([caption]), [tokenize_all(references)], [()]).hallucinated[0]
    return JudgedPhoto(
        name=name,
        photo_id=photo_id,
        file=None if row["file"] is None else Path(row["file"]),
        caption=caption,
        references=tuple(references),
        cider=cider,
        absent=tuple(absent),
        boxed="hallucinated" in row,
    )


def calibrate(
    captioner: Captioner,
    photos: Iterable[JudgedPhoto],
    *,
    batch_size: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Calibration:
    """Fits a confidence to the captions that ``captioner`` was judged by, captioning the photos once more.

    ``advance`` is called after each photo. Raises DataError when a photo can't be read, when more than a few captions
    are others than those judged, and when there are too few right or wrong ones.
    """
    from wordgaze.tasks.caption_files import caption_files  # here: figures alone need no torch

    sized: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    judged = list(photos)
    files = [photo.file for photo in judged]
    known = [file for file in files if file is not None]
    if len(known) < len(files):
        raise DataError("The judged photos have no files; evaluate the model with --images.")
    same: list[JudgedPhoto] = []
    features: list[tuple[float, ...]] = []
    for photo, result in zip(judged, caption_files(captioner, known, **sized), strict=True):
        if result.caption is None:
            raise DataError(f"{result.file}: {result.error} (one of the {len(judged)} judged photos).")
        if result.caption.text == photo.caption:
            same.append(photo)
            features.append(result.caption.features())
        advance()
    differing = len(judged) - len(same)
    if differing > _OTHERWISE * len(judged):
        raise DataError(
            f"{differing} of {len(judged)} captions are others than those judged; evaluate this model, with its own "
            "settings, and calibrate it by that."
        )
    return fit(same, np.array(features), differing)


def fit(photos: Sequence[JudgedPhoto], features: np.ndarray, differing: int = 0) -> Calibration:
    """The calibration by the ``features`` (P, F) of the photos' captions; raises DataError for too few photos."""
    right = np.array([photo.right for photo in photos], float)
    sure = cross_fitted(features, right)
    intercept, weights = fit_logistic(features, right)
    threshold = usually_wrong(sure, right)
    confidence = Confidence(
        intercept,
        dict(zip(FEATURES, weights.tolist(), strict=True)),
        None if threshold is None else threshold.below,
    )
    return Calibration(confidence, tuple(map(SurePhoto, photos, sure.tolist())), differing)
