"""How long `wordgaze data check` takes for many photos, and how much memory: it must hold none of them.

    python -m scripts.experiments.check_many [--counts 1000 10000 100000]

Writes that many small photos, no two alike, into a temporary folder, with five captions each, and runs the command in a
process of its own. Prints its seconds and its peak memory, and what 1,000 more photos take.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.common.arguments import script_parser

_SIZE, _PATCHES = (64, 48), (6, 8, 3)


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    args = parser.parse_args()
    before: tuple[int, float] | None = None
    for count in args.counts:
        with tempfile.TemporaryDirectory(prefix="wordgaze-") as folder:
            seconds, peak, last_line = run(make_set(Path(folder), count))
        line = f"{count:>9,} photos: {seconds:7.1f} s, {count / seconds:6,.0f} photos a second, peak {peak:7.1f} MB"
        if before is not None:
            line += f", {1000 * (peak - before[1]) / (count - before[0]):5.2f} MB per 1,000 more"
        print(f"{line} ({last_line})", flush=True)
        before = count, peak


def make_set(folder: Path, count: int) -> Path:
    """Write ``count`` photos and COCO captions for them; return the captions' path."""
    draws = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir()
    for number in range(count):
        coarse = draws.integers(0, 256, _PATCHES, dtype=np.uint8)
        Image.fromarray(coarse).resize(_SIZE, Image.Resampling.BILINEAR).save(photos / f"{number:06}.jpg", quality=80)
    annotations = [
        {"id": 5 * number + nth, "image_id": number, "caption": f"the dog number {number} is seen by person {nth}"}
        for number in range(count)
        for nth in range(5)
    ]
    images = [{"id": number, "file_name": f"{number:06}.jpg"} for number in range(count)]
    path = folder / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


_CHILD = """
import re, sys
from wordgaze.cli.main import main
try:
    main(["data", "check", sys.argv[1]])
finally:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def run(path: Path) -> tuple[float, float, str]:
    """Return the seconds and the peak memory in MB of a check, and the last line that it prints."""
    start = time.perf_counter()
    # By the process itself: what the system counts for a child begins with what this process holds.
    done = subprocess.run([sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    *_, last_line, peak = done.stdout.splitlines()
    return time.perf_counter() - start, int(peak) / 1024, last_line


if __name__ == "__main__":
    main()
