"""Compares the captions of exported models, by ONNX Runtime, with those of the model itself, by PyTorch in float32.

    python -m scripts.experiments.onnx_parity EXPORTED... [--model DIR] [--captions FILE...] [--count N] [--json OUT]

EXPORTED: what `wordgaze export` has written of the model. For each file of captions a table: how many captions are the
same, token for token; of the others, how many are ties, where PyTorch itself chose by less than rounding moves; the
largest difference of a log-probability; CIDEr, and its difference from PyTorch's with a 95 % interval.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts import SHARED_DATA
from scripts.common.arguments import check_files, script_parser
from scripts.common.markdown import table
from wordgaze.data.captions import read_captions
from wordgaze.data.photos import open_photo
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import PhotoTransform
from wordgaze.evaluation.bootstrap import compare
from wordgaze.evaluation.score import CaptionScorer
from wordgaze.export.session import OnnxModel
from wordgaze.files import model_files, write_text
from wordgaze.folder import ModelParts, load_folder
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import search
from wordgaze.generation.stepper import NEVER, Continuations, LogProbs, Stepper
from wordgaze.generation.torch_stepper import TorchStepper
from wordgaze.hub import resolve

TIE = 1e-4
"""Rounding moves a caption's log-probability by about a tenth of this."""
BATCH = 8
PYTORCH = "PyTorch"

Encode = Callable[[np.ndarray], np.ndarray]
Start = Callable[[np.ndarray], Stepper]


@dataclass(frozen=True)
class Backend:
    """``encode``: pixel values (B, 3, H, W) → states; ``start``: states → a stepper."""

    encode: Encode
    start: Start


def torch_backend(parts: ModelParts) -> Backend:
    """Return PyTorch's arithmetic of a model."""
    encode = parts.model.encode_with_hflip if parts.preprocessing.hflip_tta else parts.model.encode

    @torch.inference_mode()
    def states(pixel_values: np.ndarray) -> np.ndarray:
        return encode(torch.from_numpy(pixel_values)).numpy()

    return Backend(states, lambda states: TorchStepper(parts.model, torch.from_numpy(states)))


def onnx_backend(folder: Path, parts: ModelParts) -> Backend:
    """Return ONNX Runtime's of an exported folder."""
    model = OnnxModel.load(folder)
    return Backend(lambda pixel_values: model.encode(pixel_values, parts.preprocessing.hflip_tta), model.stepper)


def captions_of(
    parts: ModelParts, backend: Backend, pixel_values: np.ndarray, options: GenerationOptions
) -> list[GeneratedCaption]:
    """Return the best caption of each photo."""
    batches = (pixel_values[start : start + BATCH] for start in range(0, len(pixel_values), BATCH))
    return [caption for batch in batches for caption in _batch(parts, backend, batch, options)]


def _batch(
    parts: ModelParts, backend: Backend, pixel_values: np.ndarray, options: GenerationOptions
) -> list[GeneratedCaption]:
    return [best for best, *_ in _search(parts, backend.start(backend.encode(pixel_values)), options)]


def smallest_margin(parts: ModelParts, backend: Backend, pixel_values: np.ndarray, options: GenerationOptions) -> float:
    """Return by how little the search for a photo's caption (1, 3, H, W) took what it took rather than another."""
    stepper = _Margins(backend.start(backend.encode(pixel_values)), options)
    best, *others = _search(parts, stepper, options.override(num_captions=min(2, options.num_beams)))[0]
    return min([stepper.smallest, *(abs(best.score - other.score) for other in others)])


def _search(parts: ModelParts, stepper: Stepper, options: GenerationOptions) -> list[list[GeneratedCaption]]:
    ids = parts.tokenizer
    prompt = ids.encode_prompt(options.prompt)
    return search(stepper, options, bos_id=ids.bos_id, eos_id=ids.eos_id, pad_id=ids.pad_id, prompt_ids=prompt)


class _Margins:
    """A stepper that remembers the ``smallest`` distance between neighbors among the continuations that mattered."""

    def __init__(self, stepper: Stepper, options: GenerationOptions) -> None:
        self.num_photos, self.reorder, self.keep_photos = stepper.num_photos, stepper.reorder, stepper.keep_photos
        self.smallest = float("inf")
        self._stepper, self._count = stepper, 2 * options.num_beams

    def step(self, ids: np.ndarray) -> LogProbs:
        return _MarginLogProbs(self._stepper.step(ids), self, self._count)

    def add(self, totals: np.ndarray) -> None:
        kept = totals[totals > NEVER]
        self.smallest = min([self.smallest, *(kept[:-1] - kept[1:]).tolist()])


class _MarginLogProbs:
    def __init__(self, log_probs: LogProbs, margins: _Margins, count: int) -> None:
        self.forbid, self.sample = log_probs.forbid, log_probs.sample
        self._log_probs, self._margins, self._count = log_probs, margins, count

    def likeliest(self) -> tuple[np.ndarray, np.ndarray]:
        self._margins.add(self._log_probs.continuations(np.zeros((1, 1), np.float32), 2).totals[0])
        return self._log_probs.likeliest()

    def continuations(self, totals: np.ndarray, count: int) -> Continuations:
        self._margins.add(self._log_probs.continuations(totals, count + 1).totals[0])
        return self._log_probs.continuations(totals, count)


def pixel_values_of(parts: ModelParts, photos: Sequence[CaptionedPhoto]) -> np.ndarray:
    """Return the photos as the model takes them (B, 3, H, W)."""
    transform = PhotoTransform(parts.preprocessing)
    return np.stack([np.asarray(transform(open_photo(photo.path))[0]) for photo in photos])


def parity(parts: ModelParts, exported: Sequence[Path], photos: Sequence[CaptionedPhoto]) -> dict[str, dict[str, Any]]:
    """Return for PyTorch and each exported folder what the table shows."""
    pixel_values, options = pixel_values_of(parts, photos), parts.generation
    reference = torch_backend(parts)
    expected = captions_of(parts, reference, pixel_values, options)
    ids = [photo.photo_id for photo in photos]
    scorer = CaptionScorer({photo.photo_id: photo.captions for photo in photos}, ["CIDEr"])

    def scores(captions: Sequence[GeneratedCaption]) -> Any:
        texts = [parts.tokenizer.decode(caption.token_ids) for caption in captions]
        return scorer.score(dict(zip(ids, texts, strict=True))).scores

    of_torch = scores(expected)
    rows: dict[str, dict[str, Any]] = {PYTORCH: {"photos": len(photos), "CIDEr": of_torch["CIDEr"].total}}
    for folder in exported:
        captions = captions_of(parts, onnx_backend(folder, parts), pixel_values, options)
        pairs = list(zip(captions, expected, strict=True))
        other = [index for index, (ours, theirs) in enumerate(pairs) if ours.token_ids != theirs.token_ids]
        margins = [smallest_margin(parts, reference, pixel_values[index : index + 1], options) for index in other]
        moved = [
            np.abs(np.subtract(ours.token_log_probs, theirs.token_log_probs)).max()
            for ours, theirs in pairs
            if ours.token_ids == theirs.token_ids
        ]
        found = scores(captions)
        difference = compare(found, of_torch)["CIDEr"]
        rows[str(folder)] = {
            "photos": len(photos),
            "same": len(photos) - len(other),
            "ties": sum(margin < TIE for margin in margins),
            "log_probability_moves": float(max(moved, default=0)),
            "CIDEr": found["CIDEr"].total,
            "CIDEr_difference": [difference.value, difference.low, difference.high],
        }
    return rows


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("exported", type=Path, nargs="+")
    parser.add_argument("--model", help="the model folder that was exported; the bundled one by default")
    files = [SHARED_DATA / name / "captions_val.json" for name in ("flickr", "coco")]
    parser.add_argument("--captions", type=Path, nargs="+", default=files)
    parser.add_argument("--count", type=int, help="how many photos of each file, evenly spread; all by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    outputs = [] if arguments.json is None else [arguments.json]
    check_files(parser, outputs, [*arguments.captions, *arguments.exported, *model_files(arguments.model)])
    parts = load_folder(resolve(arguments.model))
    results = {}
    for file in arguments.captions:
        every = list(read_captions(file))
        count = min(arguments.count or len(every), len(every))
        photos = [every[len(every) * index // count] for index in range(count)]
        rows = results[str(file)] = parity(parts, arguments.exported, photos)
        print(f"{file.parent.name}, {count} photos\n")
        print(table(["by", "same captions", "ties", "log-probabilities move by", "CIDEr", "difference"], _lines(rows)))
        print(flush=True)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(results, indent=1) + "\n")


def _lines(rows: dict[str, dict[str, Any]]) -> list[list[object]]:
    lines: list[list[object]] = []
    for name, row in rows.items():
        if name == PYTORCH:
            lines.append([name, row["photos"], "", "", f"{row['CIDEr']:.4f}", ""])
            continue
        difference = "{:+.4f} ({:+.4f} to {:+.4f})".format(*row["CIDEr_difference"])
        moves = f"{row['log_probability_moves']:.1g}"
        lines.append([name, row["same"], row["ties"], moves, f"{row['CIDEr']:.4f}", difference])
    return lines


if __name__ == "__main__":
    main()
