"""Scores a model on photos, or captions in a file, against reference captions."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wordgaze.data.annotations import CaptionedPhoto, PhotoId, read_captions
from wordgaze.errors import ConfigError, DataError
from wordgaze.evaluation.bootstrap import bootstrap_mean
from wordgaze.evaluation.score import DEFAULT_METRICS, METRICS, score_captions

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.generation.options import GenerationOptions

PER_PHOTO_SUFFIXES = (".json", ".csv")
_LATER = ("METEOR", "SPICE")
_REPEAT = 3  # words


class ScoredPhoto(NamedTuple):
    """One photo's caption with its own scores; ``file`` is None where the captions file names none."""

    photo_id: PhotoId
    file: Path | None
    caption: str
    references: tuple[str, ...]
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "image_id": self.photo_id,
            "file": None if self.file is None else str(self.file),
            "caption": self.caption,
            "references": list(self.references),
            **self.scores,
        }


@dataclass(frozen=True)
class Evaluation:
    """``metrics`` of the whole set, and ``photos``, the worst (by CIDEr, else by the last metric) first.

    ``left_out``: captions in a results file of photos that the captions file does not name.
    """

    metrics: dict[str, float]
    photos: tuple[ScoredPhoto, ...]
    left_out: int = 0

    @property
    def distinct(self) -> int:
        """How many different captions there are."""
        return len({photo.caption for photo in self.photos})

    @property
    def repeats(self) -> float:
        """The share of captions that say the same three words twice."""
        return sum(_repeats(photo.caption.split()) for photo in self.photos) / len(self.photos)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals of the metrics that are means over photos; BLEU is none of these."""
        names = [name for name in self.metrics if not name.startswith("Bleu")]
        return {name: bootstrap_mean([photo.scores[name] for photo in self.photos]) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """What ``wordgaze evaluate --json`` writes."""
        return {
            "metrics": self.metrics,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "images": len(self.photos),
            "references": sum(len(photo.references) for photo in self.photos),
            "distinct": self.distinct,
            "repeats": self.repeats,
            "words_per_caption": sum(len(p.caption.split()) for p in self.photos) / len(self.photos),
        }


def choose_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics that ``names`` mean, whatever their case; raises ConfigError for others."""
    known = {name.lower(): name for name in METRICS}
    chosen = []
    for name in names:
        if name.lower() not in known:
            state = "is not in this version" if name.upper() in _LATER else "is not a metric"
            raise ConfigError(f"{name} {state}; choose from {', '.join(METRICS)}.")
        chosen.append(known[name.lower()])
    return tuple(chosen) or DEFAULT_METRICS


def photos_to_caption(
    captions: str | os.PathLike[str], images: str | os.PathLike[str]
) -> tuple[CaptionedPhoto, ...]:
    """The photos that the file ``captions`` names; raises DataError when any is not in the folder ``images``."""
    photos = read_captions(captions, images).photos
    missing = [str(photo.path.relative_to(images)) for photo in photos if not photo.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(photos)} photos that {captions} names are not in {images} "
            f"({_some(missing)}); name the folder that holds them all."
        )
    return photos


def evaluate_model(
    captioner: Captioner,
    photos: Sequence[CaptionedPhoto],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    options: GenerationOptions | None = None,
    batch_size: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Captions ``photos`` and scores the captions; ``options`` and ``batch_size`` as of ``caption_files``.

    ``advance`` is called after each photo. Raises DataError when a photo can't be read: scores of the rest would
    not compare.
    """
    # Here, since scoring a results file needs no torch.
    from wordgaze.tasks.caption_files import caption_files

    sized = {} if batch_size is None else {"batch_size": batch_size}
    candidates: dict[PhotoId, str] = {}
    for photo, result in zip(
        photos, caption_files(captioner, [photo.path for photo in photos], options, **sized), strict=True
    ):
        if result.caption is None:
            raise DataError(f"{result.file}: {result.error} (one of the {len(photos)} photos to score).")
        candidates[photo.photo_id] = result.caption.text
        advance()
    return _score(candidates, {photo.photo_id: photo for photo in photos}, metrics)


def evaluate_results(
    results: str | os.PathLike[str],
    captions: str | os.PathLike[str],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> Evaluation:
    """Scores the captions of a results file in COCO's format, a list of ``{"image_id", "caption"}``.

    Captions of photos that the file ``captions`` does not name are left out. Raises DataError when it names photos
    that the results lack.
    """
    photos = _references(Path(captions))
    found = _read_results(Path(results))
    # Some write ids as numbers, some as text.
    candidates = {photo_id: found[str(photo_id)] for photo_id in photos if str(photo_id) in found}
    missing = [str(photo_id) for photo_id in photos if photo_id not in candidates]
    if missing:
        raise DataError(
            f"{results} has no caption for {len(missing)} of the {len(photos)} photos of {captions} "
            f"(image_id {_some(missing)}); caption them, or name the captions file that belongs to these results."
        )
    return _score(candidates, photos, metrics, len(found) - len(candidates))


def save_per_photo(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Writes each photo's caption, references and scores, worst first, as .json or .csv by the suffix of ``path``."""
    path = Path(path)
    check_per_photo_path(path)
    rows = [photo.to_dict() for photo in evaluation.photos]
    # A file name's bytes that are no text leave JSON as escapes, and CSV as they came.
    if path.suffix.lower() == ".json":
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(rows, file, ensure_ascii=False, indent=1)
            file.write("\n")
        return
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "references": " | ".join(row["references"])} for row in rows)


def check_per_photo_path(path: str | os.PathLike[str]) -> None:
    """Raises ConfigError when :func:`save_per_photo` could not tell what to write."""
    if Path(path).suffix.lower() not in PER_PHOTO_SUFFIXES:
        raise ConfigError(
            f"{os.fspath(path)}: can't tell what to write; end it in {' or '.join(PER_PHOTO_SUFFIXES)}."
        )


def _score(
    candidates: Mapping[PhotoId, str],
    photos: Mapping[PhotoId, CaptionedPhoto],
    metrics: Sequence[str],
    left_out: int = 0,
) -> Evaluation:
    found: dict[Hashable, str] = {photo_id: candidates[photo_id] for photo_id in photos}
    references: dict[Hashable, Sequence[str]] = {
        photo_id: photo.captions for photo_id, photo in photos.items()
    }
    scores = score_captions(found, references, choose_metrics(metrics))
    judge = "CIDEr" if "CIDEr" in scores.metrics else list(scores.metrics)[-1]
    scored = (
        ScoredPhoto(
            photo_id,
            None if photo.path == _NO_FILE else photo.path,
            candidates[photo_id],
            photo.captions,
            scores.per_photo[photo_id],
        )
        for photo_id, photo in photos.items()
    )
    return Evaluation(scores.metrics, tuple(sorted(scored, key=lambda one: one.scores[judge])), left_out)


_NO_FILE = Path()


def _references(path: Path) -> dict[PhotoId, CaptionedPhoto]:
    """The photos of a captions file by id; published references often name no photo files, and need none here."""
    content: Any = _read_json(path) if path.is_file() else None
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(images, list) and all(isinstance(image, dict) and set(image) == {"id"} for image in images):
        captions: dict[PhotoId, list[str]] = {image["id"]: [] for image in images}
        try:
            for annotation in content["annotations"]:
                captions[annotation["image_id"]].append(" ".join(annotation["caption"].split()))
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is no captions file: annotations need an image_id that 'images' lists, and a caption."
            ) from error
        return {
            photo_id: CaptionedPhoto(photo_id, _NO_FILE, tuple(some)) for photo_id, some in captions.items()
        }
    return {photo.photo_id: photo for photo in read_captions(path)}


def _read_results(path: Path) -> dict[str, str]:
    """Captions by image_id as text."""
    content = _read_json(path)
    if not isinstance(content, list):
        raise DataError(f'{path} holds no list; results are a list of {{"image_id": ..., "caption": ...}}.')
    found: dict[str, str] = {}
    for index, item in enumerate(content):
        photo_id, caption = (
            (item.get("image_id"), item.get("caption")) if isinstance(item, dict) else (None, None)
        )
        if not isinstance(photo_id, int | str) or not isinstance(caption, str):
            raise DataError(
                f"{path}: entry {index} needs an image_id and a caption, a text; it is {item!r:.80}."
            )
        if str(photo_id) in found:
            raise DataError(f"{path}: image_id {photo_id} has two captions; keep one.")
        found[str(photo_id)] = caption
    return found


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); check the path.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no valid JSON ({error}); mend it, or get it again.") from error


def _repeats(words: Sequence[str]) -> bool:
    runs = [tuple(words[index : index + _REPEAT]) for index in range(len(words) - _REPEAT + 1)]
    return len(set(runs)) < len(runs)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
