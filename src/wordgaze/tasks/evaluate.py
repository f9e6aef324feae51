"""Scores a model on photos, or captions in a file, against reference captions."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wordgaze.data.captions import CaptionSet
from wordgaze.data.json_file import PhotoId
from wordgaze.data.packed import PackedPhoto
from wordgaze.data.readers.caption_file import NO_FILE, CaptionedPhoto
from wordgaze.errors import ConfigError, DataError
from wordgaze.evaluation.bootstrap import Difference, compare, intervals
from wordgaze.evaluation.chair import Chair, chair
from wordgaze.evaluation.doubts import doubts
from wordgaze.evaluation.metric import Scores
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.evaluation.repeats import repeats
from wordgaze.evaluation.score import (
    CIDER_PHOTOS,
    DEFAULT_METRICS,
    METRICS,
    CaptionScorer,
    fingerprint,
)
from wordgaze.files import one_line, write_text
from wordgaze.tasks.processes import ALONE, Processes
from wordgaze.tasks.references import categories_seen
from wordgaze.tasks.references import photos_to_caption as photos_to_caption
from wordgaze.tasks.references import reference_photos as reference_photos
from wordgaze.tasks.results import results_of as results_of

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.generation.options import GenerationOptions

PER_PHOTO_SUFFIXES = (".json", ".csv")


class ScoredPhoto(NamedTuple):
    """One photo's caption with its own scores.

    ``file`` is None where the captions file names none. ``hallucinated`` lists the objects that the caption names and
    the photo lacks; it is None where the photo's boxes aren't known. ``packed``: where the photo is in a larger
    file.
    """

    photo_id: PhotoId
    file: Path | None
    caption: str
    references: tuple[str, ...]
    scores: dict[str, float]
    hallucinated: tuple[str, ...] | None = None
    packed: PackedPhoto | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "image_id": self.photo_id,
            "file": None if self.file is None else str(self.file),
            "caption": self.caption,
            "references": list(self.references),
            **self.scores,
            **({} if self.hallucinated is None else {"hallucinated": list(self.hallucinated)}),
        }


class Objects(NamedTuple):
    """What CHAIR was measured on: photos that the file of boxes lists, and mentions of objects in their captions."""

    images: int
    mentions: int


@dataclass(frozen=True)
class Comparison:
    """Other captions of the same photos: their file, their scores, and our scores less theirs."""

    file: str
    metrics: dict[str, float]
    differences: dict[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        differences = {name: difference._asdict() for name, difference in self.differences.items()}
        return {"file": self.file, "metrics": self.metrics, "differences": differences}


@dataclass(frozen=True)
class Evaluation:
    """``metrics`` of the whole set with their 95 % bootstrap ``intervals``, and every photo's.

    ``photos``: the worst first, by CIDEr or else by the last metric. ``fingerprint``: of the references and the
    tokenizer. ``warnings``: sentences on what the scores leave out or can't tell.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    photos: tuple[ScoredPhoto, ...]
    fingerprint: str
    objects: Objects | None = None
    against: Comparison | None = None
    warnings: tuple[str, ...] = ()

    @property
    def distinct(self) -> int:
        """Return the number of distinct captions."""
        return len({photo.caption for photo in self.photos})

    @property
    def repeats(self) -> float:
        """Return the share of captions that say the same three words twice."""
        return sum(repeats(photo.caption.split()) for photo in self.photos) / len(self.photos)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``wordgaze evaluate --json`` writes."""
        values: dict[str, Any] = {
            "metrics": self.metrics,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "images": len(self.photos),
            "references": sum(len(photo.references) for photo in self.photos),
            "distinct": self.distinct,
            "repeats": self.repeats,
            "words_per_caption": sum(len(p.caption.split()) for p in self.photos) / len(self.photos),
            "fingerprint": self.fingerprint,
        }
        if self.objects is not None:
            values["chair"] = self.objects._asdict()
        if self.against is not None:
            values["against"] = self.against.to_dict()
        return values

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the table's rows: name, value and interval."""
        values = self.to_dict()
        rows = [
            (name, f"{value:.4f}", "{:.3f} to {:.3f}".format(*self.intervals[name]))
            for name, value in self.metrics.items()
        ]
        if self.objects is not None:
            rows += [(f"chair {name}", str(value), "") for name, value in self.objects._asdict().items()]
        return rows + [
            (name, f"{value:.4f}" if isinstance(value, float) else str(value), "")
            for name, value in values.items()
            if not isinstance(value, dict)
        ]

    def comparison_rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Return rows of metric, our value, theirs, the difference, its interval, and how sure ours is better."""
        if self.against is None:
            return []
        theirs = self.against.metrics
        return [
            (
                name,
                f"{self.metrics[name]:.4f}",
                f"{theirs[name]:.4f}",
                f"{value:+.4f}",
                f"{low:+.3f} to {high:+.3f}",
                f"{better:.1%}",
            )
            for name, (value, low, high, better) in self.against.differences.items()
        ]


class CaptionEvaluator:
    """Scores captions against references, which are read, checked and prepared before any caption is made.

    ``photos`` come with their references. ``against``: a results file to compare with. ``instances``: a COCO instances
    file, for CHAIR on those photos that it lists. Raises DataError, and ConfigError where a metric can't be had.
    """

    def __init__(
        self,
        photos: Iterable[CaptionedPhoto],
        metrics: Sequence[str] = DEFAULT_METRICS,
        *,
        against: str | os.PathLike[str] | None = None,
        instances: str | os.PathLike[str] | None = None,
    ) -> None:
        metric_names = choose_metrics(metrics)
        notes = photos.notes if isinstance(photos, CaptionSet) else ()
        self.photos = {photo.photo_id: photo for photo in photos}
        references = {photo_id: photo.captions for photo_id, photo in self.photos.items()}
        # Files first, so that mistakes in them show at once.
        other_results = None if against is None else results_of(against, self.photos)
        self._boxed = {} if instances is None else categories_seen(Path(instances), self.photos)
        self._scorer = CaptionScorer(references, metric_names)
        self._fingerprint = fingerprint(references)
        self._words = {photo_id: tokenize_all(references[photo_id]) for photo_id in self._boxed}
        texts = [text for photo in self.photos.values() for text in photo.captions]
        self._warnings: tuple[str, ...] = (*notes, *doubts(texts, "references"))
        self._against: tuple[str, Scores, Scores] | None = None
        if against is not None and other_results is not None:
            captions, warnings = other_results
            self._warnings += (
                *warnings,
                *doubts(list(captions.values()), f"captions of {os.fspath(against)}"),
            )
            scores = self._scorer.score(captions).scores
            self._against = os.fspath(against), scores, self._chair(captions)[1]

    def evaluate(self, captions: Mapping[PhotoId, str], warnings: Sequence[str] = ()) -> Evaluation:
        """Score one caption a photo; raise DataError where the photos differ."""
        scored = self._scorer.score(captions)
        objects, chair_scores = self._chair(captions)
        absent = dict(zip(self._boxed, objects.hallucinated, strict=True))
        ranked_by = "CIDEr" if "CIDEr" in scored.metrics else list(scored.metrics)[-1]
        photos = [
            ScoredPhoto(
                photo_id,
                None if photo.path == NO_FILE else photo.path,
                captions[photo_id],
                photo.captions,
                scored.per_photo[photo_id],
                absent.get(photo_id),
                photo.packed,
            )
            for photo_id, photo in self.photos.items()
        ]
        caption_warnings = doubts(list(captions.values()), "captions")
        comparison = None
        if self._against is not None:
            file, scores, other_chair = self._against
            totals = {name: float(score.total) for name, score in {**scores, **other_chair}.items()}
            differences = {**_compare(scored.scores, scores), **_compare(chair_scores, other_chair)}
            comparison = Comparison(file, totals, differences)
        overlaps = [scored.metrics[name] for name in ("Bleu_1", "ROUGE_L") if name in scored.metrics]
        # BLEU is never quite 0.
        if any(captions.values()) and overlaps and max(overlaps) < 1e-6:
            caption_warnings.append(_NO_COMMON_WORD)
        few = len(photos) < CIDER_PHOTOS and "CIDEr" in scored.metrics
        return Evaluation(
            {**scored.metrics, **{name: score.total for name, score in chair_scores.items()}},
            {**intervals(scored.scores), **(intervals(chair_scores) if chair_scores else {})},
            tuple(sorted(photos, key=lambda photo: photo.scores[ranked_by])),
            self._fingerprint,
            Objects(len(self._boxed), sum(map(len, objects.named))) if self._boxed else None,
            comparison,
            (*warnings, *caption_warnings, *self._warnings, *([_few(len(photos))] if few else [])),
        )

    def _chair(self, captions: Mapping[PhotoId, str]) -> tuple[Chair, Scores]:
        """Return CHAIR of the boxed photos, and its scores, which are empty where there are no such photos."""
        words = tokenize_all(captions[photo_id] for photo_id in self._boxed)
        objects = chair(words, list(self._words.values()), list(self._boxed.values()))
        return objects, objects.scores() if self._boxed else {}


def _compare(ours: Scores, theirs: Scores) -> dict[str, Difference]:
    return compare(ours, theirs) if ours else {}


_NO_COMMON_WORD = (
    "no caption shares a word with its photo's references, so all scores are 0; check that they are in the same "
    "language, and of the same photos"
)


def _few(photos: int) -> str:
    return (
        f"CIDEr means little with {photos} photo{'s' if photos > 1 else ''}: it weights words by how few photos' "
        f"references have them, and fewer than {CIDER_PHOTOS} photos don't tell frequent from rare words"
    )


def choose_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Return the metrics of ``names``, in any case; raise ConfigError for an unknown one."""
    known = {name.lower(): name for name in METRICS}
    metrics = []
    for name in names:
        if name.lower() not in known:
            raise ConfigError(f"{name} is not a metric; choose from {', '.join(METRICS)}.")
        metrics.append(known[name.lower()])
    return tuple(dict.fromkeys(metrics)) or DEFAULT_METRICS


def evaluate_model(
    captioner: Captioner,
    evaluator: CaptionEvaluator,
    *,
    options: GenerationOptions | None = None,
    batch_size: int | str | None = None,
    strict: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Caption the evaluator's photos and score the captions.

    ``options``, ``batch_size`` and ``strict`` as of ``caption_files``, whose warnings go with the scores. ``advance``
    is called after each photo. Raises DataError where a photo can't be read: scores of the rest would not compare.
    """
    captions = caption_share(
        captioner, evaluator, options=options, batch_size=batch_size, strict=strict, advance=advance
    )
    return evaluator.evaluate(captions.texts, captions.warnings)


@dataclass
class Captions:
    """What a model says of photos, and what may be wrong with these; ``error``: why one could not be read."""

    texts: dict[PhotoId, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None


def evaluate_together(
    captioner: Captioner, evaluator: CaptionEvaluator, others: Processes, **options: Any
) -> Evaluation | None:
    """Return what :func:`evaluate_model` does in the first of several processes, which share the photos, else None.

    Each photo is captioned by one process and counts once. ``options`` as there.
    """
    share = Captions()
    try:
        share = caption_share(captioner, evaluator, others, **options)
    except DataError as error:
        # The others wait for this process: they must hear of it.
        share.error = str(error)
    shares = others.gather(share)
    if not others.is_first:
        return None
    for share in shares:
        if share.error is not None:
            raise DataError(share.error)
    texts = {photo_id: text for share in shares for photo_id, text in share.texts.items()}
    assert texts.keys() == evaluator.photos.keys()
    in_order = {photo_id: texts[photo_id] for photo_id in evaluator.photos}
    return evaluator.evaluate(in_order, [warning for share in shares for warning in share.warnings])


def caption_share(
    captioner: Captioner,
    evaluator: CaptionEvaluator,
    others: Processes = ALONE,
    *,
    options: GenerationOptions | None = None,
    batch_size: int | str | None = None,
    strict: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Captions:
    """Caption this process's share of the evaluator's photos; all else as of :func:`evaluate_model`."""
    # Here, since scoring a results file needs no torch.
    from wordgaze.tasks.caption_files import caption_files

    sized: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    photos = list(others.share(list(evaluator.photos.values())))
    captions = Captions()
    results = caption_files(captioner, photos, options, strict=strict, **sized)
    for photo, result in zip(photos, results, strict=True):
        captions.warnings += [f"{one_line(result.file)}: {warning}" for warning in result.warnings]
        if result.caption is None:
            count = len(evaluator.photos)
            raise DataError(f"{one_line(result.file)}: {result.error} (one of {count} photos to score).")
        captions.texts[photo.photo_id] = result.caption.text
        advance()
    return captions


def evaluate_results(results: str | os.PathLike[str], evaluator: CaptionEvaluator) -> Evaluation:
    """Score the captions of a results file, in any format of :func:`~wordgaze.data.results.read_results`.

    Captions of photos without references are left out, with a warning. Raises DataError where a photo has no caption.
    """
    return evaluator.evaluate(*results_of(results, evaluator.photos))


def save_per_photo(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Write each photo's caption, references and scores, worst first, as .json or .csv by the suffix of ``path``."""
    path = Path(path)
    check_per_photo_path(path)
    rows = [photo.to_dict() for photo in evaluation.photos]
    text = io.StringIO(newline="")
    # Bytes of a file name that are not text become escapes in JSON, and stay as they are in CSV.
    if path.suffix.lower() == ".json":
        write_text(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n", errors="backslashreplace")
        return
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    for row in rows:
        writer.writerow({k: " | ".join(v) if isinstance(v, list) else v for k, v in row.items()})
    write_text(path, text.getvalue(), errors="surrogateescape")


def check_per_photo_path(path: str | os.PathLike[str]) -> None:
    """Raise ConfigError where :func:`save_per_photo` could not tell what to write."""
    if Path(path).suffix.lower() not in PER_PHOTO_SUFFIXES:
        raise ConfigError(
            f"{os.fspath(path)}: the name does not tell the format; end it in {' or '.join(PER_PHOTO_SUFFIXES)}."
        )
