"""Measures a model on the validation photos, and writes everything that its card says about it.

    python -m scripts.bundled.measure MODEL OUT [--data ../shared/data]

OUT gets what the commands that it prints write: `scores/SET.json` and `photos/SET.json` of `wordgaze evaluate`, and
`calibration.json` of `wordgaze calibrate`, which also puts `confidence.json` into MODEL. `scripts.bundled.make` makes
the card of these files.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from scripts import SHARED_DATA
from scripts.common.arguments import check_files, script_parser
from wordgaze.files import model_files

SETS = ("flickr", "coco")  # folders of the data


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=SHARED_DATA)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    scores = [arguments.out / kind / f"{name}.json" for kind in ("scores", "photos") for name in SETS]
    given = [arguments.data / name / f"{kind}_val.json" for kind in ("captions", "instances") for name in SETS]
    check_files(parser, [*scores, arguments.out / "calibration.json"], [*given, *model_files(arguments.model)])
    for command in commands(arguments.model, arguments.out, arguments.data, arguments.device):
        print("$", shlex.join(command), flush=True)
        subprocess.run([sys.executable, *command], check=True)


def commands(model: Path, out: Path, data: Path, device: str) -> list[list[str]]:
    """Return the arguments of Python for each command, and make the folders that they write to."""
    for name in ("scores", "photos"):
        (out / name).mkdir(parents=True, exist_ok=True)
    arguments, per_image = [], []
    for name in SETS:
        folder, photos = data / name, out / "photos" / f"{name}.json"
        boxes = folder / "instances_val.json"
        command = ["-m", "wordgaze", "evaluate", "--model", model, "--device", device]
        command += ["--images", folder / "photos", "--captions", folder / "captions_val.json"]
        command += ["--instances", boxes] if boxes.is_file() else []
        arguments.append([*command, "--json", out / "scores" / f"{name}.json", "--per-image", photos])
        per_image.append(photos)
    calibrate = ["-m", "wordgaze", "calibrate", model, *per_image, "--device", device]
    arguments.append([*calibrate, "--json", out / "calibration.json"])
    return [[str(part) for part in command] for command in arguments]


if __name__ == "__main__":
    main()
