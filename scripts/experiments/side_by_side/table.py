"""The results as the README shows them, and whether they may be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.markdown import table
from wordgaze.errors import DataError
from wordgaze.evaluation.bootstrap import compare
from wordgaze.evaluation.metric import mean_score

NAMES = {
    "ours": "wordgaze",
    "hugging_face": "Hugging Face `VisionEncoderDecoderModel`",
    "lstm": "LSTM with attention (Xu et al. 2015)",
}
"""Of each arm, in the order of the table."""

_HEADER = (
    *("captioner", "CIDEr", "ours ahead by", "BLEU-4", "distinct", "parameters", "steps"),
    *("photos a second, training", "views of a photo", "seconds a photo, alone", "of 32"),
)


def load(folder: Path) -> list[dict[str, Any]]:
    """Return the results in ``folder``, ours first; raise DataError where they are not of the same task."""
    order = list(NAMES)
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    results.sort(key=lambda result: order.index(result["arm"]))
    for other in results[1:]:
        names = {**results[0]["same"], **other["same"]}
        different = [name for name in names if results[0]["same"].get(name) != other["same"].get(name)]
        different += ["fingerprint"] * (results[0]["fingerprint"] != other["fingerprint"])
        if different:
            raise DataError(
                f"{folder}: {results[0]['arm']} and {other['arm']} differ in {', '.join(different)}, so their scores "
                "don't compare; run one of them again."
            )
    return results


def markdown(results: list[dict[str, Any]]) -> str:
    """Return a row for each result; ``ours ahead by``: in CIDEr, with a 95 % bootstrap interval over photos."""
    return table(_HEADER, [_row(result, results) for result in results])


def _row(result: dict[str, Any], results: list[dict[str, Any]]) -> list[str]:
    low, high = result["intervals"]["CIDEr"]
    training, seconds = result["training"], result["seconds_per_photo"]
    return [
        NAMES[result["arm"]],
        f"{result['metrics']['CIDEr']:.3f} ({low:.3f} to {high:.3f})",
        _more(results[0], result) if results[0]["arm"] == "ours" and result["arm"] != "ours" else "",
        f"{result['metrics']['Bleu_4']:.3f}",
        f"{result['distinct'] / result['images']:.0%}",
        f"{result['parameters'] / 1e6:.1f} M",
        str(training["steps"]),
        f"{training['photos_per_second']:.0f}",
        f"{training['epochs_of_photos']:.1f}",
        *(f"{seconds[batch]:.3f}" for batch in ("1", "32")),
    ]


def _more(ours: dict[str, Any], other: dict[str, Any]) -> str:
    scores = []
    for result in (ours, other):
        by_photo = {photo["image_id"]: photo["CIDEr"] for photo in result["photos"]}
        values = np.array([by_photo[photo["image_id"]] for photo in ours["photos"]])
        scores.append({"CIDEr": mean_score(values, float(values.mean()))})
    value, low, high, _ = compare(*scores)["CIDEr"]
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
