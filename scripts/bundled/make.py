"""Puts a trained model into the package: float16 weights, the logs of its training, and the card.

    python -m scripts.bundled.make --stage CONFIG... RUN               # the weights
    python -m scripts.bundled.measure src/wordgaze/bundled measured    # what the card says of them
    python -m scripts.bundled.make --stage CONFIG... RUN --measured measured

A stage's CONFIGs are those of its `wordgaze train` in make.sh, in their order. A model of several stages has a --stage
for each, in the order in which they were run; the last RUN holds the weights, unless
--weights names another folder (the mean of several, as `wordgaze average` writes it). Every number of the card is read
from the runs or from the files in `measured`; the same files make the same card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from scripts import ROOT, SHARED_DATA
from scripts.bundled.card import card
from scripts.bundled.results import measured_sections
from scripts.bundled.stages import Stage
from scripts.common.arguments import check_files, script_parser
from wordgaze.files import model_files, write_text
from wordgaze.folder import load_folder, save_folder
from wordgaze.generation.confidence import Confidence

BUNDLED = ROOT / "src" / "wordgaze" / "bundled"
DOCS = ROOT / "docs"
BOXES = SHARED_DATA / "coco" / "instances_val.json"


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--stage",
        type=Path,
        nargs="+",
        action="append",
        required=True,
        metavar=("CONFIG", "RUN"),
        help="the configs of a stage, in their order, and the folder of its run",
    )
    parser.add_argument("--weights", type=Path, help="the model folder to take, otherwise the last RUN")
    parser.add_argument("--measured", type=Path, help="the folder that scripts.bundled.measure wrote")
    parser.add_argument("--padded", type=Path, nargs="*", default=[], help="scores of the sets with crop: pad")
    parser.add_argument("--instances", type=Path, default=BOXES, help="the boxes that the photos were judged by")
    parser.add_argument("--hardware", default="two CPU cores", help="what the hours were spent on")
    parser.add_argument(
        "--on",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "HARDWARE"),
        help="what a stage's were spent on, by its config's name, where that was something else",
    )
    parser.add_argument("--notes", type=Path, help="Markdown to add on the training")
    parser.add_argument("--out", type=Path, default=BUNDLED, help="the model folder to write")
    parser.add_argument("--logs", type=Path, default=DOCS, help="the folder for the logs")
    arguments = parser.parse_args()
    if any(len(given) < 2 for given in arguments.stage):
        parser.error("--stage needs a config and the folder of its run: --stage CONFIG... RUN")
    stages = [Stage(config, run, tuple(before)) for *before, config, run in arguments.stage]
    check_files(parser, *_files(arguments, stages))
    parts = load_folder(arguments.weights or stages[-1].run)
    measured = ""
    if arguments.measured is not None:
        values = json.loads((arguments.measured / "calibration.json").read_text(encoding="utf-8"))
        parts.confidence = Confidence.from_dict(values["confidence"])
        measured = measured_sections(
            arguments.measured, arguments.instances, arguments.padded, parts.generation.num_beams
        )
    hardware = [dict(arguments.on).get(stage.config.stem, arguments.hardware) for stage in stages]
    text = card(parts, stages, measured, hardware, arguments.notes)
    save_folder(parts, arguments.out, card=text, dtype="float16")
    for stage in stages:
        write_text(arguments.logs / stage.log_name, stage.log.read_bytes().decode())
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


def _files(arguments: argparse.Namespace, stages: Sequence[Stage]) -> tuple[list[Path], list[Path]]:
    """Return what is written, and what is read."""
    logs = [arguments.logs / stage.log_name for stage in stages]
    given = [arguments.measured, arguments.instances, arguments.notes, *arguments.padded]
    for stage in stages:
        given += [*stage.before, stage.config, stage.log, stage.run / "training.yaml"]
    given += model_files(arguments.weights or stages[-1].run)
    return [*model_files(arguments.out), *logs], [path for path in given if path is not None]


if __name__ == "__main__":
    main()
