"""Counts the captions that change where large JPEGs are decoded smaller (draft mode) instead of in full.

    python -m scripts.experiments.draft_captions [--captions ../shared/data/coco/captions_val.json] [--count 397]
                                                 [--model DIR] [--json OUT]

Every photo is enlarged to 12 megapixels, given a camera's grain, and saved as JPEG (quality 92, 3 to 4 MB). The margin
is how many pixels per side are left for each that the model takes: wordgaze keeps at least 2. For comparison, the same
photo saved with quality 95 and decoded in full: a difference that nobody sees changes captions, too.
"""

from __future__ import annotations

import io
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from scripts import SHARED_DATA
from scripts.common.arguments import check_files, script_parser
from wordgaze.captioner import Captioner
from wordgaze.data.captions import read_captions
from wordgaze.data.draft import DraftPhoto
from wordgaze.data.photos import open_photo
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.evaluation.bootstrap import compare
from wordgaze.evaluation.score import CaptionScorer
from wordgaze.files import model_files, write_text

PIXELS = 12e6
_GRAIN, _QUALITY, _OTHER_QUALITY, _BATCH = 6, 92, 95, 8
FULL, OTHER = "in full", f"in full, saved with quality {_OTHER_QUALITY}"
MARGINS = {f"margin {margin}": margin for margin in (1, 2, 4)}


def make_grain() -> Image.Image:
    """Return noise about 128, as :func:`large_jpegs` adds it."""
    values = np.random.default_rng(0).normal(128, _GRAIN, (1000, 1000))
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def large_jpegs(photo: Image.Image, grain: Image.Image, qualities: Sequence[int]) -> list[bytes]:
    """Return ``photo`` at 12 megapixels with ``grain``, as a JPEG file of each quality."""
    scale = math.sqrt(PIXELS / (photo.width * photo.height))
    size = round(photo.width * scale), round(photo.height * scale)
    tiled = Image.new("L", size)
    for left in range(0, size[0], grain.width):
        for top in range(0, size[1], grain.height):
            tiled.paste(grain, (left, top))
    large = ImageChops.add(photo.resize(size, Image.Resampling.BICUBIC), tiled.convert("RGB"), offset=-128)
    files = []
    for quality in qualities:
        file = io.BytesIO()
        large.save(file, "JPEG", quality=quality)
        files.append(file.getvalue())
    return files


def wilson(changed: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, changed / count
    center = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (center - half) / (1 + z * z / count), (center + half) / (1 + z * z / count)


class DraftTrial:
    """Captions of large photos, decoded in each of the ways; with the scales and the milliseconds of each."""

    def __init__(self, captioner: Captioner) -> None:
        self.captions: dict[str, list[str]] = {way: [] for way in (FULL, OTHER, *MARGINS)}
        self.milliseconds: dict[str, list[float]] = {way: [] for way in self.captions}
        self.scales: dict[str, set[int]] = {way: set() for way in self.captions}
        self.file_bytes: list[int] = []
        self._captioner, self._grain = captioner, make_grain()

    def add(self, photos: Sequence[Path]) -> None:
        """Caption a batch of photos in every way."""
        pixel_values: dict[str, list[np.ndarray]] = {way: [] for way in self.captions}
        for path in photos:
            file, other = large_jpegs(open_photo(path), self._grain, (_QUALITY, _OTHER_QUALITY))
            self.file_bytes.append(len(file))
            for way in self.captions:
                pixel_values[way].append(self._pixel_values(other if way == OTHER else file, way))
        for way, batch in pixel_values.items():
            captions = self._captioner.caption_pixels(np.stack(batch), self._captioner.generation_options())
            self.captions[way] += map(str, captions)

    def _pixel_values(self, file: bytes, way: str) -> np.ndarray:
        preprocessing, margin = self._captioner.transform.preprocessing, MARGINS.get(way)
        start = time.perf_counter()
        smaller = None if margin is None else lambda size: preprocessing.max_reduction(size) * 2 / margin
        photo = open_photo(file, max_reduction=smaller)
        pixel_values = self._captioner.transform.array(photo)[0]
        self.milliseconds[way].append(1e3 * (time.perf_counter() - start))
        if isinstance(photo, DraftPhoto):
            self.scales[way].add(round(photo.size[0] / photo.image.width))
        return pixel_values

    def result(self, photos: Sequence[CaptionedPhoto]) -> dict[str, Any]:
        """Return for each way how many captions differ from those of full decoding, and the CIDEr of all."""
        scorer = CaptionScorer({photo.photo_id: photo.captions for photo in photos}, ["CIDEr"])
        ids = [photo.photo_id for photo in photos]
        scores = {way: scorer.score(dict(zip(ids, texts, strict=True))).scores for way, texts in self.captions.items()}
        ways = {}
        for way, captions in self.captions.items():
            changed = sum(one != other for one, other in zip(self.captions[FULL], captions, strict=True))
            difference = compare(scores[way], scores[FULL])["CIDEr"]
            ways[way] = {
                "scales": sorted(self.scales[way]),
                "milliseconds": statistics.median(self.milliseconds[way]),
                "changed": changed,
                "share": changed / len(photos),
                "interval": wilson(changed, len(photos)),
                "CIDEr": scores[way]["CIDEr"].total,
                "CIDEr_difference": [difference.value, difference.low, difference.high],
            }
        return {"photos": len(photos), "median_file_bytes": statistics.median(self.file_bytes), "ways": ways}


def describe(way: str, values: dict[str, Any]) -> str:
    """Return a line for people."""
    scales = "".join(f" (1/{scale} of the sides)" for scale in values["scales"])
    difference, low, high = values["CIDEr_difference"]
    line = f"{way}{scales}: {values['milliseconds']:.0f} ms a photo; CIDEr {values['CIDEr']:.3f}"
    if way == FULL:
        return line
    share = "{:.1%} ({:.1%} to {:.1%})".format(values["share"], *values["interval"])
    return f"{line}, {difference:+.3f} ({low:+.3f} to {high:+.3f}); {values['changed']} captions change: {share}"


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--captions", type=Path, default=SHARED_DATA / "coco" / "captions_val.json")
    parser.add_argument("--count", type=int, default=397, help="how many photos, evenly spread over the file's")
    parser.add_argument("--model", help="a model folder; the bundled one by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    every = list(read_captions(arguments.captions))
    photos = [every[len(every) * i // arguments.count] for i in range(min(arguments.count, len(every)))]
    inputs = [arguments.captions, *(photo.path for photo in photos), *model_files(arguments.model)]
    check_files(parser, [] if arguments.json is None else [arguments.json], inputs)
    trial = DraftTrial(Captioner.from_pretrained(arguments.model, "cpu"))
    for start in range(0, len(photos), _BATCH):
        trial.add([photo.path for photo in photos[start : start + _BATCH]])
    result = trial.result(photos)
    print(f"{len(photos)} photos of 12 megapixels, JPEG, {result['median_file_bytes'] / 1e6:.1f} MB in the median")
    for way, values in result["ways"].items():
        print(describe(way, values))
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
