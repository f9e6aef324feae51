"""Fits the confidence that `wordgaze caption --confidence` prints, puts it into the model folder, says if it holds.

    wordgaze evaluate --model DIR --images PHOTOS --captions FILE [--instances FILE] --per-image val.json
    python scripts/calibrate.py DIR val.json [MORE.json ...] [--json OUT]

On photos that DIR was not trained on. Every figure is of a regression fitted without the photo (ten folds); the one
that is written is fitted on all of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from wordgaze.captioner import Captioner
from wordgaze.files import check_script, model_files, write_text
from wordgaze.hub import CONFIDENCE, save_confidence
from wordgaze.tasks.calibrate import calibrate, read_judged


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("judged", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, help="all figures, and each photo's confidence")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    written = arguments.model / CONFIDENCE
    outputs = [written] if arguments.json is None else [written, arguments.json]
    kept = [file for file in model_files(arguments.model) if file != written]
    check_script(parser, outputs, [*arguments.judged, *kept])
    photos = [photo for path in arguments.judged for photo in read_judged(path)]
    found = calibrate(Captioner.from_pretrained(arguments.model, arguments.device), photos)
    save_confidence(found.confidence, arguments.model)
    values = found.to_dict()
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(values, indent=1) + "\n")
    print("\n".join(lines(values)))


def lines(values: dict[str, Any]) -> list[str]:
    """The reliability table, and what else says whether the confidence holds."""
    found = [f"{'confidence':>10}  {'captions':>8}  {'mean':>5}  right (95 % interval)"]
    for row in values["reliability"]:
        right = row["right"]
        found.append(f"{row['confidence']:>10.1f}  {right['n']:>8}  {row['mean']:>5.3f}  {text(right)}")
    for name, some in {"all": values, **values["sets"]}.items():
        low, high = some["calibration_error_of_chance"]
        area = some["area_under_roc"]
        found.append(
            f"{name}: {some['photos']} captions, mean confidence {some['mean_confidence']:.3f}, right "
            f"{text(some['right'])}; expected calibration error {some['calibration_error']:.3f} (a perfect "
            f"confidence's {low:.3f} to {high:.3f}), area under ROC {'-' if area is None else f'{area:.3f}'}"
        )
    wrong = values["usually_wrong"]
    found.append(
        "no threshold below which captions are usually wrong"
        if wrong is None
        else f"below {wrong['below']:.2f} usually wrong: {text(wrong['wrong'])} of {wrong['wrong']['n']} captions"
    )
    if values["differing"]:
        found.append(f"left out: {values['differing']} captions that differ from those judged")
    return found


def text(share: dict[str, float]) -> str:
    """``0.612 (0.571 to 0.655)``."""
    return f"{share['value']:.3f} ({share['low']:.3f} to {share['high']:.3f})"


if __name__ == "__main__":
    main()
