"""Times many large photos from their files to their captions, against the model alone and against decoding alone.

    python -m scripts.experiments.many_photos [--count 200] [--rounds 2] [--threads 2] [--processes] [--model DIR]
                                              [--photos DIR] [--json OUT]

The photos are JPEGs of 12 megapixels, made of the shared photos as `draft_captions` makes them; a tenth of them differ.
With everything loaded, each round times: the pipeline of `wordgaze caption`; the model alone, on inputs that are ready,
in the same batches; and decoding alone, photo by photo, divided by the cores. The pipeline can't be faster than the
slower of the two; where both run on the same cores, not faster than their sum. With `--processes`, a pipeline whose
photos are decoded by processes instead of threads is timed, too. The machine should do nothing else.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts import SHARED_DATA
from scripts.common.arguments import check_files, script_parser
from scripts.experiments.draft_captions import large_jpegs, make_grain
from wordgaze.captioner import Captioner
from wordgaze.captioning.pipeline import ReadPhoto, caption_photos
from wordgaze.data.listing import photos_in
from wordgaze.data.photos import open_photo
from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.device import set_threads
from wordgaze.files import model_files, write_text
from wordgaze.tasks.caption_files import caption_files

_QUALITY, _PROCESSES = 92, 2
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_photos(sources: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Write ``count`` large photos into ``folder``, every tenth of another picture, and return their paths."""
    grain, files = make_grain(), []
    for number in range(count):
        files.append(folder / f"{number:04}.jpg")
        if number < max(count // 10, 1):
            [data] = large_jpegs(open_photo(sources[number % len(sources)]), grain, [_QUALITY])
            files[-1].write_bytes(data)
        else:
            files[-1].write_bytes(files[number % max(count // 10, 1)].read_bytes())
    return files


class ManyPhotos:
    """The ways to caption ``files``, each a method that returns its captions or inputs."""

    def __init__(self, captioner: Captioner, files: Sequence[Path]) -> None:
        self.captioner, self.files = captioner, files
        self.first_caption = self.without_start_up = 0.0
        self._inputs = [self._input(file) for file in files]

    def pipeline(self) -> list[str]:
        """Return the captions, as the command makes them; remember when the first one came."""
        start, captions = time.perf_counter(), []
        for result in caption_files(self.captioner, self.files, first_at_once=True):
            captions.append(str(result.caption))
            if len(captions) == 1:
                self.first_caption = time.perf_counter() - start
        return captions

    def model(self) -> list[str]:
        """Return the captions of inputs that are ready."""
        return self._captions(ReadPhoto(None, pixel_values) for pixel_values in self._inputs)

    def decoding(self) -> list[Any]:
        """Return the inputs, decoded one by one."""
        return [self._input(file) for file in self.files]

    def processes(self) -> list[str]:
        """Return the captions of inputs that processes have decoded."""
        read = partial(read_input, preprocessing=self.captioner.transform.preprocessing)
        with ProcessPoolExecutor(_PROCESSES, get_context("forkserver")) as pool:
            list(pool.map(read, self.files[:_PROCESSES]))  # they have started
            start = time.perf_counter()
            captions = self._captions(ReadPhoto(None, pixel_values) for pixel_values in pool.map(read, self.files))
            self.without_start_up = time.perf_counter() - start
        return captions

    def _captions(self, photos: Iterator[ReadPhoto[None, Any]]) -> list[str]:
        captioner = self.captioner
        caption = partial(captioner.caption_pixels, options=captioner.generation_options())
        results = caption_photos(photos, caption, captioner.batches("auto"), first_at_once=True)
        return [str(result.caption) for result in results]

    def _input(self, file: Path) -> np.ndarray:
        transform = self.captioner.transform
        return transform.array(open_photo(file, max_reduction=transform.preprocessing.max_reduction))[0]


def read_input(file: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Return a photo's ``pixel_values`` (3, H, W), in a process of its own."""
    return PhotoTransform(preprocessing).array(open_photo(file, max_reduction=preprocessing.max_reduction))[0]


def measure(photos: ManyPhotos, rounds: int, with_processes: bool) -> dict[str, Any]:
    """Return the seconds of each way in each round, and the medians of their ratios."""
    ways: dict[str, Callable[[], list[Any]]] = {
        "pipeline": photos.pipeline,
        "model": photos.model,
        "decoding": photos.decoding,
    }
    if with_processes:
        ways["processes"] = photos.processes
    seconds: dict[str, list[float]] = {way: [] for way in [*ways, "first caption"]}
    expected: list[str] = []
    for _ in range(rounds):
        for way, work in ways.items():
            start = time.perf_counter()
            results = work()
            took = photos.without_start_up if way == "processes" else time.perf_counter() - start
            seconds[way].append(took / CORES if way == "decoding" else took)
            if way != "decoding":
                expected = expected or results
                if results != expected:
                    raise AssertionError(f"The captions of {way} differ from those of the pipeline.")
        seconds["first caption"].append(photos.first_caption)
    model, decoding = seconds["model"], seconds["decoding"]
    result: dict[str, Any] = {"photos": len(photos.files), "cores": CORES, "seconds": seconds}
    for way in (way for way in ("pipeline", "processes") if way in ways):
        walls = list(zip(seconds[way], model, decoding, strict=True))
        result[f"{way}_over_larger"] = statistics.median(wall / max(m, d) for wall, m, d in walls)
        result[f"{way}_over_sum"] = statistics.median(wall / (m + d) for wall, m, d in walls)
    return result


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=CORES, help="of torch; one per core by default")
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--model", help="a model folder; the bundled one by default")
    parser.add_argument("--photos", type=Path, help="a folder of large photos instead of those that are made")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    outputs = [] if arguments.json is None else [arguments.json]
    set_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.photos is None:
            sources = photos_in([SHARED_DATA / "coco" / "photos"]).photos
            files = make_photos([Path(path) for path in sources], Path(folder), arguments.count)
        else:
            files = [Path(path) for path in photos_in([arguments.photos]).photos][: arguments.count]
        check_files(parser, outputs, [*files, *model_files(arguments.model)])
        captioner = Captioner.from_pretrained(arguments.model, "cpu")
        captioner.caption(files[0])
        result = measure(ManyPhotos(captioner, files), arguments.rounds, arguments.processes)
    for way, seconds in result["seconds"].items():
        per_photo = 1 if way == "first caption" else result["photos"]
        print(f"{way}: {1e3 * statistics.median(seconds) / per_photo:.0f} ms" + (" a photo" * (per_photo > 1)))
    for way in ("pipeline", "processes"):
        if f"{way}_over_larger" in result:
            print(
                f"{way}: {result[f'{way}_over_larger']:.2f} times the larger of model and decoding / {CORES} cores, "
                f"{result[f'{way}_over_sum']:.2f} times their sum"
            )
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
