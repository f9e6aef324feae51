"""Times how soon the command answers, in new processes taken in turns, and says which packages the time goes to.

    python -m scripts.experiments.start_up [PHOTO] [--exported DIR] [--rounds 5] [--threads N] [--json OUT]

`wordgaze --help` is compared with `python -c pass`, and `wordgaze caption PHOTO` with `python -c "import torch, timm"`
and the model's own work: loading and captioning in a process that has imported all. With DIR, which `wordgaze export`
has written, also `wordgaze caption --model DIR PHOTO`. The machine should do nothing else. A first round, not counted,
brings all files into the system's memory. Packages are told by `python -X importtime`, whose sums are larger than
without it.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts import ROOT
from scripts.common.arguments import check_files, script_parser
from wordgaze.files import model_files, write_text

PHOTO = ROOT / "demo" / "kingfisher.jpg"
_WORK = """
import sys, time
import wordgaze.captioner.torch_backend, wordgaze.convert.load
from wordgaze.captioner import Captioner
start = time.perf_counter()
Captioner.from_pretrained(device="cpu").caption(sys.argv[1])
print(time.perf_counter() - start)
"""
_SHOWN = 8
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*([\w.]+)")


def commands(photo: Path, exported: Path | None, threads: int | None) -> dict[str, list[str]]:
    """Return what is timed, as arguments of Python."""
    flags = ["--device", "cpu", *([] if threads is None else ["--threads", str(threads)])]
    found = {
        "pass": ["-c", "pass"],
        "help": ["-m", "wordgaze", "--help"],
        "import torch, timm": ["-c", "from wordgaze import compat\nimport torch, timm"],
        "work": ["-c", _WORK, str(photo)],
        "caption": ["-m", "wordgaze", "caption", *flags, str(photo)],
    }
    if exported is not None:
        found["caption, exported"] = ["-m", "wordgaze", "caption", *flags, "--model", str(exported), str(photo)]
    return found


def seconds_of(name: str, arguments: Sequence[str]) -> float:
    """Return how long a new process takes; of ``work`` what it says itself."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout) if name == "work" else time.perf_counter() - start


def packages(arguments: Sequence[str]) -> dict[str, float]:
    """Return the seconds that importing the modules of each top-level package takes, longest first."""
    command = [sys.executable, "-X", "importtime", *arguments]
    return by_package(subprocess.run(command, capture_output=True, text=True, check=True).stderr)


def by_package(importtime: str) -> dict[str, float]:
    """Return the sums of what ``-X importtime`` has printed, of each module's own time."""
    sums: Counter[str] = Counter()
    for line in importtime.splitlines():
        if match := _IMPORT.match(line):
            sums[match[2].partition(".")[0]] += int(match[1])
    return {name: microseconds / 1e6 for name, microseconds in sums.most_common()}


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return what the times are compared by."""
    return {
        "help / pass": seconds["help"] / seconds["pass"],
        "(caption - work) / import torch, timm": (seconds["caption"] - seconds["work"]) / seconds["import torch, timm"],
    }


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("photo", type=Path, nargs="?", default=PHOTO)
    parser.add_argument("--exported", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    outputs = [] if arguments.json is None else [arguments.json]
    check_files(parser, outputs, [arguments.photo, *model_files(arguments.exported)])
    timed = commands(arguments.photo, arguments.exported, arguments.threads)
    rounds = [{name: seconds_of(name, command) for name, command in timed.items()} for _ in range(arguments.rounds + 1)]
    seconds = {name: statistics.median(turn[name] for turn in rounds[1:]) for name in timed}
    result: dict[str, Any] = {"seconds": seconds, "first_round": rounds[0], "ratios": ratios(seconds), "imports": {}}
    for name, value in seconds.items():
        print(f"{name:<20} {value:7.3f} s   (first {rounds[0][name]:.3f} s)")
    for name, value in result["ratios"].items():
        print(f"{name}: {value:.2f}")
    for name in [name for name in timed if name not in ("pass", "work")]:
        result["imports"][name] = found = packages(timed[name])
        longest = ", ".join(f"{package} {1e3 * value:.0f}" for package, value in list(found.items())[:_SHOWN])
        print(f"imports of {name}, ms of {1e3 * sum(found.values()):.0f}: {longest}")
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
