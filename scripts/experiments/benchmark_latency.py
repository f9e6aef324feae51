"""Times a caption of one photo, from opening the file, against the encoder alone; one thread, model loaded.

    python -m scripts.experiments.benchmark_latency [PHOTO...] [--model DIR] [--num-beams 3] [--rounds 20] [--json OUT]

Both are timed in turns, photo by photo; the ratio is that of the medians. The photo is demo/kingfisher.jpg unless some
are named. The machine should do nothing else.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from scripts import ROOT
from scripts.common.arguments import check_files, script_parser
from scripts.common.timing import timed
from wordgaze.captioner import Captioner
from wordgaze.data.photos import open_photo
from wordgaze.files import model_files, write_text

PHOTO = ROOT / "demo" / "kingfisher.jpg"


def measure(captioner: Captioner, photos: Sequence[Path], num_beams: int, rounds: int) -> dict[str, Any]:
    """Return medians in seconds, and their ratio."""
    captions, encodings = [], []
    with torch.inference_mode():
        for turn in range(rounds + 2):  # the first two warm up
            for photo in photos:
                pixel_values = captioner.transform(open_photo(photo))[0][None]
                whole, _ = timed(lambda photo=photo: captioner.caption(photo, num_beams=num_beams))  # type: ignore[misc]
                alone, _ = timed(lambda pixels=pixel_values: captioner.model.encode(pixels))  # type: ignore[misc]
                if turn > 1:
                    captions.append(whole)
                    encodings.append(alone)
    whole, alone = statistics.median(captions), statistics.median(encodings)
    return {
        "photos": len(photos),
        "rounds": rounds,
        "num_beams": num_beams,
        "threads": torch.get_num_threads(),
        "caption_seconds": whole,
        "encoder_seconds": alone,
        "ratio": whole / alone,
    }


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("photos", type=Path, nargs="*", default=[PHOTO])
    parser.add_argument("--model", help="a model folder; the bundled one by default")
    parser.add_argument("--num-beams", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    outputs = [] if arguments.json is None else [arguments.json]
    check_files(parser, outputs, [*arguments.photos, *model_files(arguments.model)])
    torch.set_num_threads(1)
    captioner = Captioner.from_pretrained(arguments.model, "cpu")
    result = measure(captioner, arguments.photos, arguments.num_beams, arguments.rounds)
    print(
        f"one thread, beam {result['num_beams']}: from file to caption {1e3 * result['caption_seconds']:.0f} ms, the "
        f"encoder alone {1e3 * result['encoder_seconds']:.0f} ms: {result['ratio']:.2f} times as long"
    )
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
