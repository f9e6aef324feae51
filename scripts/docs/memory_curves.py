"""Draws how much memory many photos take: docs/memory.png, and a line for each curve.

    python -m scripts.docs.memory_curves [--photos 10000] [--calls 5000] [--threads 4] [--model DIR]
                                         [--out docs/memory.png] [--json OUT]

The resident memory of this process, while it captions small photos as `wordgaze caption` does a folder, and then while
several threads call `Captioner.caption` with one photo each. The model is a tiny one of random weights, since what
could grow with the photos is what surrounds the model; `--model` takes another.
"""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from tests.model_folder import draw_photo, make_parts

from scripts import ROOT
from scripts.common.arguments import check_files, script_parser
from wordgaze.captioner import Captioner
from wordgaze.data.listing import photos_in
from wordgaze.files import model_files, write_text, write_whole
from wordgaze.tasks.caption_files import caption_files

_DIFFERENT = 50
_SAMPLES = 100
_FIRST = 100  # photos after which what is loaded once is loaded

Curve = list[tuple[int, float]]
"""How many photos are done, and the resident memory then, in MiB."""


def resident() -> float:
    """Return this process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1024**2


class Sampler:
    """Notes the memory after the first photos, and then a hundred times; called once a photo, from any thread."""

    def __init__(self, total: int) -> None:
        self.curve: Curve = []
        self._marks = {_FIRST, *(total * i // _SAMPLES for i in range(1, _SAMPLES + 1))}
        self._numbers = count(1)

    def __call__(self) -> None:
        number = next(self._numbers)  # one at a time: the counter is C's
        if number in self._marks:
            self.curve.append((number, resident()))


def of_a_folder(captioner: Captioner, files: Sequence[Path], photos: int) -> Curve:
    """Return the curve of ``photos`` photos, the ``files`` over and over, on the command's way."""
    sampler = Sampler(photos)
    repeated = (files[number % len(files)] for number in range(photos))
    for result in caption_files(captioner, repeated, first_at_once=True):
        assert result.caption is not None
        sampler()
    return sampler.curve


def of_calls(captioner: Captioner, files: Sequence[Path], calls: int, threads: int) -> Curve:
    """Return the curve of ``calls`` calls of ``Captioner.caption``, by ``threads`` threads."""
    sampler = Sampler(calls)

    def call(number: int) -> None:
        captioner.caption(files[number % len(files)])
        sampler()

    with ThreadPoolExecutor(threads) as pool:
        numbers = iter(range(calls))
        while some := list(islice(numbers, 1000)):  # futures of all calls would be a curve of their own
            list(pool.map(call, some))
    return sorted(sampler.curve)


def growth(curve: Curve) -> tuple[float, float, float]:
    """Return the memory after the first hundred photos, at the end, and the most from the first hundred on, in MiB."""
    after = [mebibytes for number, mebibytes in curve if number >= _FIRST]
    return after[0], after[-1], max(after)


def draw(curves: dict[str, Curve], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), dpi=110, facecolor="white", layout="constrained")
    for axes, (title, curve) in zip(figure.subplots(1, len(curves), sharey=True), curves.items(), strict=True):
        axes.plot(*zip(*curve, strict=True), color="#0072B2")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("photos")
        axes.set_ylim(0, 1.2 * max(mebibytes for points in curves.values() for _, mebibytes in points))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("resident memory, MiB")
    write_whole(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--model", help="a model folder instead of the tiny random model")
    parser.add_argument("--images", type=Path, help="a folder of photos instead of those that are drawn")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "memory.png")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    outputs = [arguments.out, *([] if arguments.json is None else [arguments.json])]
    check_files(parser, outputs, model_files(arguments.model))
    torch.set_num_threads(1)
    parts = None if arguments.model else make_parts()
    captioner = Captioner.from_pretrained(arguments.model, "cpu") if parts is None else Captioner(parts, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        files = [draw_photo(Path(folder, f"{number}.jpg"), number) for number in range(_DIFFERENT)]
        if arguments.images is not None:
            files = [Path(path) for path in photos_in([arguments.images]).photos]
        runs: dict[str, Callable[[], Curve]] = {
            f"{arguments.photos:,} photos of a folder": lambda: of_a_folder(captioner, files, arguments.photos),
            f"{arguments.calls:,} calls by {arguments.threads} threads": lambda: of_calls(
                captioner, files, arguments.calls, arguments.threads
            ),
        }
        curves = {title: run() for title, run in runs.items()}
    result: dict[str, Any] = {}
    for title, curve in curves.items():
        first, last, most = growth(curve)
        print(f"{title}: {first:.0f} MiB after {_FIRST}, {last:.0f} MiB at the end, {most:.0f} MiB at most")
        result[title] = {"after_100": first, "at_the_end": last, "at_most": most, "curve": curve}
    draw(curves, arguments.out)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
