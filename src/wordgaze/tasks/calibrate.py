"""Learns from judged captions how sure a model may be of one: what ``wordgaze caption --confidence`` prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wordgaze.data.json_file import PhotoId, kind_of_json, read_json
from wordgaze.errors import DataError, ModelError
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
from wordgaze.files import AnyPath, model_files, one_line
from wordgaze.generation.confidence import FEATURES, Confidence

if TYPE_CHECKING:
    from wordgaze.captioner import Caption, Captioner
    from wordgaze.tasks.evaluate import CaptionEvaluator

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
        """What ``wordgaze calibrate --json`` writes: of all photos, of each set, and each photo's confidence."""
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


def check_model_folder(folder: AnyPath) -> None:
    """Raise ModelError where a confidence can't be put into ``folder``: it is none, or a link to the bundled model."""
    path = Path(folder)
    if not path.is_dir():
        raise ModelError(
            f"There is no model folder {one_line(path)}; name a folder on this machine, as `wordgaze train` writes it."
        )
    if path.is_symlink() and path.samefile(model_files(None)[0].parent):
        raise ModelError(
            f"{one_line(path)} is a link to the bundled model, which stays as it is; calibrate a copy of it."
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
    judged = list(photos)
    files = [photo.file for photo in judged if photo.file is not None]
    if len(files) < len(judged):
        raise DataError("The judged photos have no files; evaluate the model with --images.")
    captions = _captions(captioner, files, batch_size, advance)
    same: list[JudgedPhoto] = []
    features: list[tuple[float, ...]] = []
    for photo, (caption, _) in zip(judged, captions, strict=True):
        if caption.text == photo.caption:
            same.append(photo)
            features.append(caption.features())
    differing = len(judged) - len(same)
    if differing > _OTHERWISE * len(judged):
        raise DataError(
            f"{differing} of {len(judged)} captions are others than those judged; evaluate this model, with its own "
            "settings, and calibrate it by that."
        )
    return fit(same, np.array(features), differing)


def evaluate_and_calibrate(
    captioner: Captioner,
    evaluator: CaptionEvaluator,
    name: str,
    *,
    batch_size: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Calibration, tuple[str, ...]]:
    """Captions the evaluator's photos, a set called ``name``, scores the captions, and fits a confidence to them.

    Returns it with the warnings on photos and references. Gives what :func:`calibrate` gives of an evaluation of the
    same model, photos and references. ``advance`` is called after each photo. Raises DataError as it does.
    """
    photos = list(evaluator.photos.values())
    warnings: list[str] = []
    captions: dict[PhotoId, Caption] = {}
    results = _captions(captioner, [photo.path for photo in photos], batch_size, advance)
    for photo, (caption, remarks) in zip(photos, results, strict=True):
        captions[photo.photo_id] = caption
        warnings += [f"{one_line(photo.path)}: {remark}" for remark in remarks]
    evaluation = evaluator.evaluate(
        {photo_id: caption.text for photo_id, caption in captions.items()}, warnings
    )
    judged = [_judged(name, scored.to_dict()) for scored in evaluation.photos]
    features = np.array([captions[photo.photo_id].features() for photo in judged])
    return fit(judged, features), evaluation.warnings


def _captions(
    captioner: Captioner, files: Sequence[Path], batch_size: int | None, advance: Callable[[], None]
) -> Iterator[tuple[Caption, tuple[str, ...]]]:
    """Each photo's caption by the model's own search, and warnings; raises DataError when one can't be read."""
    from wordgaze.tasks.caption_files import caption_files  # here: figures alone need no torch

    sized: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    for result in caption_files(captioner, files, **sized):
        if result.caption is None:
            raise DataError(
                f"{one_line(result.file)}: {result.error} (one of the {len(files)} judged photos)."
            )
        yield result.caption, result.warnings
        advance()


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
