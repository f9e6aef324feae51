"""Fits confidences to scored captions: what ``wordgaze caption --confidence`` prints."""

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
from wordgaze.folder import refuse_foreign
from wordgaze.generation.confidence import FEATURES, Confidence

if TYPE_CHECKING:
    from wordgaze.captioner import Caption, Captioner
    from wordgaze.data.readers.caption_file import CaptionedPhoto
    from wordgaze.tasks.evaluate import CaptionEvaluator

# The share of captions that may differ from those scored, since another machine rounds differently.
_MAX_DIFFERING = 0.02


class CalibrationPhoto(NamedTuple):
    """A photo of the set ``name``, its caption, and its scores by ``wordgaze evaluate``.

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
        """Return whether the caption is right, by the rule of :mod:`wordgaze.evaluation.calibration`."""
        return self.cider >= RIGHT_CIDER and not self.absent


class PhotoConfidence(NamedTuple):
    """A scored photo, and the confidence of its caption by a regression that was not fitted on it."""

    photo: CalibrationPhoto
    confidence: float


@dataclass(frozen=True)
class Calibration:
    """``confidence``, fitted on all ``photos``; the figures are of regressions that had not seen the photo.

    ``differing``: photos left out because the model's caption here is not the one that was scored.
    """

    confidence: Confidence
    photos: tuple[PhotoConfidence, ...]
    differing: int

    def to_dict(self) -> dict[str, Any]:
        """Return what ``wordgaze calibrate --json`` writes: figures of all photos and each set, every confidence."""
        sets: dict[str, list[PhotoConfidence]] = {}
        for sure in self.photos:
            sets.setdefault(sure.photo.name, []).append(sure)
        return {
            **_summary(self.photos),
            "folds": FOLDS,
            "differing": self.differing,
            "confidence": self.confidence.to_dict(),
            "sets": {name: _summary(photos) for name, photos in sets.items()},
            "captions": {
                name: [
                    {
                        "image_id": sure.photo.photo_id,
                        "confidence": sure.confidence,
                        "right": sure.photo.right,
                    }
                    for sure in photos
                ]
                for name, photos in sets.items()
            },
        }


def _summary(photos: Sequence[PhotoConfidence]) -> dict[str, Any]:
    return summary([sure.confidence for sure in photos], [sure.photo.right for sure in photos])


_REMEDY = "give what `wordgaze evaluate --per-image OUT.json` wrote"


def read_calibration_photos(path: str | os.PathLike[str]) -> tuple[CalibrationPhoto, ...]:
    """Return the photos in a JSON file of ``wordgaze evaluate --per-image``, a set named like the file.

    Raises DataError.
    """
    path = Path(path)
    rows = read_json(path, _REMEDY)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path} does not list scored photos ({kind_of_json(rows) or 'an object'}); {_REMEDY}.")
    try:
        return tuple(_calibration_photo(path.stem, row) for row in rows)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: a photo lacks its id, file, caption, references or CIDEr ({kind_of_json(rows)}); {_REMEDY}."
        ) from None


def _calibration_photo(name: str, row: dict[str, Any]) -> CalibrationPhoto:
    photo_id, caption, references = row["image_id"], row["caption"], row["references"]
    cider, absent = float(row["CIDEr"]), row.get("hallucinated")
    texts = [caption, *(references if isinstance(references, list) else [None]), *(absent or [])]
    if not all(isinstance(text, str) for text in texts) or not np.isfinite(cider):
        raise ValueError("a text or a score is missing")
    if absent is None:
        absent = chair(tokenize_all([caption]), [tokenize_all(references)], [()]).hallucinated[0]
    return CalibrationPhoto(
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
    """Raise ModelError where ``folder`` can't get a confidence: missing, foreign, or a link to the bundled model."""
    path = Path(folder)
    if not path.is_dir():
        raise ModelError(
            f"There is no model folder {one_line(path)}; name a folder on this machine, as `wordgaze train` and "
            "`wordgaze convert` write."
        )
    refuse_foreign(path)
    if path.is_symlink() and path.samefile(model_files(None)[0].parent):
        raise ModelError(
            f"{one_line(path)} is a link to the bundled model, which stays as it is; calibrate a copy of it."
        )


def calibrate(
    captioner: Captioner,
    photos: Iterable[CalibrationPhoto],
    *,
    batch_size: int | str | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Calibration:
    """Fit a confidence to the captions that ``captioner`` was scored by, captioning the photos again.

    ``advance`` is called after each photo. Raises DataError where a photo can't be read, where more than a few captions
    differ from those scored, and where too few are right or wrong.
    """
    scored = list(photos)
    files = [photo.file for photo in scored if photo.file is not None]
    if len(files) < len(scored):
        raise DataError("The scored photos have no files; evaluate the model with --images.")
    captions = _captions(captioner, files, batch_size, advance)
    same: list[CalibrationPhoto] = []
    features: list[tuple[float, ...]] = []
    for photo, (caption, _) in zip(scored, captions, strict=True):
        if caption.text == photo.caption:
            same.append(photo)
            features.append(caption.features())
    differing = len(scored) - len(same)
    if differing > _MAX_DIFFERING * len(scored):
        raise DataError(
            f"{differing} of {len(scored)} captions differ from those scored; evaluate this model with its own "
            "settings, and calibrate it by that."
        )
    return fit(same, np.array(features), differing)


def evaluate_and_calibrate(
    captioner: Captioner,
    evaluator: CaptionEvaluator,
    name: str,
    *,
    batch_size: int | str | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Calibration, tuple[str, ...]]:
    """Caption the evaluator's photos, a set called ``name``, score the captions, and fit a confidence to them.

    Return it with the warnings on photos and references. The result is that of :func:`calibrate` by an evaluation of
    the same model, photos and references, and so are the errors. ``advance`` is called after each photo.
    """
    photos = list(evaluator.photos.values())
    warnings: list[str] = []
    captions: dict[PhotoId, Caption] = {}
    results = _captions(captioner, photos, batch_size, advance)
    for photo, (caption, photo_warnings) in zip(photos, results, strict=True):
        captions[photo.photo_id] = caption
        warnings += [f"{one_line(photo.path)}: {warning}" for warning in photo_warnings]
    evaluation = evaluator.evaluate({photo_id: caption.text for photo_id, caption in captions.items()}, warnings)
    calibration_photos = [_calibration_photo(name, photo.to_dict()) for photo in evaluation.photos]
    features = np.array([captions[photo.photo_id].features() for photo in calibration_photos])
    return fit(calibration_photos, features), evaluation.warnings


def _captions(
    captioner: Captioner,
    files: Sequence[Path | CaptionedPhoto],
    batch_size: int | str | None,
    advance: Callable[[], None],
) -> Iterator[tuple[Caption, tuple[str, ...]]]:
    """Yield each photo's caption by the model's own search, with its warnings; raise DataError for one not read."""
    # Here, since figures alone need no torch.
    from wordgaze.tasks.caption_files import caption_files

    sized: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    for result in caption_files(captioner, files, **sized):
        if result.caption is None:
            raise DataError(f"{one_line(result.file)}: {result.error} (one of {len(files)} photos to score).")
        yield result.caption, result.warnings
        advance()


def fit(photos: Sequence[CalibrationPhoto], features: np.ndarray, differing: int = 0) -> Calibration:
    """Calibrate by the ``features`` (P, F) of the photos' captions; raise DataError for too few photos."""
    right = np.array([photo.right for photo in photos], float)
    confidences = cross_fitted(features, right)
    intercept, weights = fit_logistic(features, right)
    threshold = usually_wrong(confidences, right)
    confidence = Confidence(
        intercept,
        dict(zip(FEATURES, weights.tolist(), strict=True)),
        None if threshold is None else threshold.below,
    )
    return Calibration(confidence, tuple(map(PhotoConfidence, photos, confidences.tolist())), differing)
