"""What was measured of a model, as sections of its card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.bundled.card import PROSE
from scripts.common.markdown import table
from wordgaze.data.instances import read_instances
from wordgaze.evaluation.by_category import HARDLY, RELIABLY, CategoryResult, PhotoRecord, by_category
from wordgaze.evaluation.calibration import RIGHT_CIDER
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.evaluation.score import score_captions
from wordgaze.tasks.calibrate import CalibrationPhoto, read_calibration_photos

FEWEST = 20
"""Photos of a category, for a row of its own."""

LISTED = 12

Photos = Mapping[str, Sequence[CalibrationPhoto]]
"""The scored photos of each set."""


def measured_sections(folder: Path, instances: Path, padded: Sequence[Path], beams: int) -> str:
    """Return the card's sections on scores, categories, confidence, and the listed results."""
    calibration = _read(folder / "calibration.json")
    sets = list(calibration["sets"])
    scores = {name: _read(folder / "scores" / f"{name}.json") for name in sets}
    photos = {name: read_calibration_photos(folder / "photos" / f"{name}.json") for name in sets}
    check(scores, photos, calibration)
    everything = [photo for in_set in photos.values() for photo in in_set]
    results = by_category(photo_records(everything, instances), FEWEST)
    return PROSE.fill(
        "measured",
        beams=beams,
        scores=score_table(scores, photos),
        padded=_padded(padded) if padded else "",
        chair="\n".join(_chair(name, result) for name, result in scores.items() if "chair" in result),
        fewest=FEWEST,
        categories=category_table(results),
        **_verdicts(results),
        right_cider=RIGHT_CIDER,
        folds=calibration["folds"],
        differing=calibration["differing"] or "no",
        reliability=reliability_table(calibration),
        calibration="\n".join([*_of_sets(calibration), _usually_wrong(calibration)]),
        listed=listed_table(photos, calibration),
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def check(scores: dict[str, Any], photos: Photos, calibration: dict[str, Any]) -> None:
    """End the script where the files are not of the same captions."""
    for name, in_set in photos.items():
        mean = sum(photo.cider for photo in in_set) / len(in_set)
        right = {caption["image_id"]: caption["right"] for caption in calibration["captions"][name]}
        same = [right.get(photo.photo_id, photo.right) == photo.right for photo in in_set]
        if abs(mean - scores[name]["metrics"]["CIDEr"]) > 1e-6 or not all(same):
            raise SystemExit(
                f"The measurements of {name} are of different captions; run `python -m scripts.bundled.measure` again."
            )


def photo_records(photos: Iterable[CalibrationPhoto], instances: Path) -> list[PhotoRecord]:
    """Return what ``by_category`` takes, with boxes of the photos that were scored by boxes."""
    boxes = {str(photo_id): of_photo for photo_id, of_photo in read_instances(instances).boxes.items()}
    photos = list(photos)
    if any(photo.boxed and str(photo.photo_id) not in boxes for photo in photos):
        raise SystemExit(f"{instances} is not the file of boxes that the photos were scored by; give --instances.")
    return [
        PhotoRecord(
            tokenize_all([photo.caption])[0],
            tokenize_all(photo.references),
            photo.cider,
            {box.category for box in boxes[str(photo.photo_id)]} if photo.boxed else (),
        )
        for photo in photos
    ]


def score_table(scores: dict[str, Any], photos: Photos) -> str:
    rows = []
    for name, result in scores.items():
        metrics, intervals = result["metrics"], result["intervals"]
        values = [f"{metrics[key]:.3f} ({span(intervals[key])})" for key in ("CIDEr", "Bleu_4", "ROUGE_L")]
        distinct, person = result["distinct"] / result["images"], person_cider(photos[name])
        rows.append([name, result["images"], values[0], f"{person:.2f}", *values[1:]])
        rows[-1] += [f"{distinct:.0%}", f"{result['repeats']:.1%}"]
    columns = ["set", "photos", "CIDEr", "a person", "BLEU-4", "ROUGE-L", "distinct captions", "repeats"]
    return table(columns, rows)


def person_cider(photos: Sequence[CalibrationPhoto]) -> float:
    """Return the mean CIDEr of people's captions, one of each photo at a time, against the others of their photos."""
    turns = min(len(photo.references) for photo in photos)
    if turns < 2:
        raise SystemExit("A person's caption can't be scored: some photos have no other reference.")
    totals = []
    for turn in range(turns):
        candidates = {photo.photo_id: photo.references[turn] for photo in photos}
        others = {photo.photo_id: [*photo.references[:turn], *photo.references[turn + 1 :]] for photo in photos}
        totals.append(score_captions(candidates, others, ["CIDEr"]).metrics["CIDEr"])
    return sum(totals) / turns


def _padded(paths: Sequence[Path]) -> str:
    """Describe the scores of the other way of fitting a photo into the input."""
    ciders = {path.stem: _read(path)["metrics"]["CIDEr"] for path in paths}
    return PROSE.fill("padded", values=", ".join(f"{cider:.3f} on {name}" for name, cider in ciders.items()))


def _chair(name: str, result: dict[str, Any]) -> str:
    metrics, intervals, chair = result["metrics"], result["intervals"], result["chair"]
    return PROSE.fill(
        "chair",
        name=name,
        **chair,
        captions=f"{metrics['CHAIRs']:.1%}",
        captions_interval=span(intervals["CHAIRs"], ".1%"),
        objects=f"{metrics['CHAIRi']:.1%}",
        objects_interval=span(intervals["CHAIRi"], ".1%"),
    )


def category_table(results: Sequence[CategoryResult]) -> str:
    rows = [
        [
            result.category,
            result.photos,
            result.boxed,
            part(result.named),
            f"{part(result.named_by_most)} of {result.named_by_most.n}",
            f"{part(result.right)} of {result.right.n}",
            f"{result.cider:.2f} ({span(result.cider_interval, '.2f')})",
            result.verdict,
        ]
        for result in results
    ]
    return table(["category", "photos", "boxed", "named", "of most", "precision", "CIDEr", ""], rows)


def _verdicts(results: Sequence[CategoryResult]) -> dict[str, str]:
    """Return the categories of each verdict, and the rule's limits."""
    groups = {"right": "right", "guesswork": "guesswork", "hardly_named": "hardly named"}
    names = {
        group: ", ".join(result.category for result in results if result.verdict == verdict) or "none"
        for group, verdict in groups.items()
    }
    return {"reliably": f"{RELIABLY:.0%}", "hardly": f"{HARDLY:.0%}", **names}


def reliability_table(calibration: dict[str, Any]) -> str:
    rows = [
        [f"{row['confidence']:.1f}", row["right"]["n"], f"{row['mean']:.3f}", part(row["right"])]
        for row in calibration["reliability"]
    ]
    return table(["confidence", "captions", "mean", "right"], rows)


def _of_sets(calibration: dict[str, Any]) -> list[str]:
    return [
        PROSE.fill(
            "calibration",
            name=name,
            confidence=f"{figures['mean_confidence']:.3f}",
            right=part(figures["right"]),
            error=f"{figures['calibration_error']:.3f}",
            error_of_chance=span(figures["calibration_error_of_chance"]),
            area=f"{figures['area_under_roc']:.1%}",
        )
        for name, figures in {"all": calibration, **calibration["sets"]}.items()
    ]


def _usually_wrong(calibration: dict[str, Any]) -> str:
    threshold = calibration["usually_wrong"]
    if threshold is None:
        return PROSE.fill("no_threshold")
    wrong = threshold["wrong"]
    return PROSE.fill(
        "usually_wrong",
        below=f"{threshold['below']:.2f}",
        wrong=f"{wrong['value']:.1%}",
        captions=wrong["n"],
        interval=span((wrong["low"], wrong["high"]), ".1%"),
    )


def listed_table(photos: Photos, calibration: dict[str, Any]) -> str:
    rows = []
    for name, in_set in photos.items():
        sure = {row["image_id"]: row["confidence"] for row in calibration["captions"][name]}
        for rank, photo in listed(in_set, LISTED // len(photos)):
            confidence = f"{sure[photo.photo_id]:.2f}" if photo.photo_id in sure else ""
            position, absent = f"{rank + 1} of {len(in_set)}", ", ".join(photo.absent)
            rows.append([name, photo.photo_id, position, f"{photo.cider:.2f}", confidence, absent, photo.caption])
    return table(["set", "image_id", "place", "CIDEr", "confidence", "not there", "caption"], rows)


def listed(photos: Sequence[CalibrationPhoto], count: int) -> list[tuple[int, CalibrationPhoto]]:
    """Return the worst by CIDEr, the best, and those evenly between, after their ranks."""
    ordered = sorted(photos, key=lambda photo: photo.cider)
    ranks = [round(index * (len(ordered) - 1) / (count - 1)) for index in range(count)]
    return [(rank, ordered[rank]) for rank in ranks]


def part(share: Any) -> str:
    """Return ``61% (57 to 65)``, of a ``Share`` or of one in JSON; a dash for a share of nothing."""
    values = share if isinstance(share, dict) else share._asdict()
    if values["n"] == 0:
        return "–"
    return f"{values['value']:.0%} ({100 * values['low']:.0f} to {100 * values['high']:.0f})"


def span(interval: Sequence[float], form: str = ".3f") -> str:
    low, high = interval
    return f"{low:{form}} to {high:{form}}"
