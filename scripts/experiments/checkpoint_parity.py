"""Compares a converted checkpoint with transformers' own model of it, real weights included.

    python -m scripts.experiments.checkpoint_parity ID [PHOTO...] [--photos N]

ID: what `wordgaze convert` takes. On PHOTOs, or on N drawn scenes: the pixels (transformers' PIL processor), logits and
cross-attention of transformers' own greedy captions, and the ids of greedy and beam searches. Prints one table; exit
status 1: something differs by more than it may.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scripts.common.arguments import script_parser
from scripts.common.markdown import table
from wordgaze.captioning.captions import generate_captions
from wordgaze.convert.load import convert_from
from wordgaze.data.photos import open_photo
from wordgaze.data.shapes import draw_scene
from wordgaze.data.transform import PhotoTransform
from wordgaze.folder import ModelParts
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.torch_stepper import TorchStepper
from wordgaze.hub import resolve

TIE = 1e-5
"""Captions whose scores differ by less are as good."""


@dataclass(frozen=True)
class Reference:
    """A BLIP or VisionEncoderDecoderModel of transformers."""

    model: Any

    @torch.no_grad()
    def forced(self, pixel_values: Tensor, input_ids: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return logits (B, T, V) and, per layer, cross-attention (B, heads, T, S) of ``input_ids`` (B, T)."""
        if hasattr(self.model, "text_decoder"):
            states = self.model.vision_model(pixel_values).last_hidden_state
            output = self.model.text_decoder(input_ids, encoder_hidden_states=states, output_attentions=True)
        else:
            output = self.model(pixel_values, decoder_input_ids=input_ids, output_attentions=True)
        return output.logits, output.cross_attentions

    def captions(self, parts: ModelParts, pixel_values: Tensor, options: GenerationOptions) -> list[tuple[int, ...]]:
        """Return the ids that its own search finds, from the start to the end token; ``parts`` are of our model."""
        ids = parts.tokenizer
        # We never write these two; where the start is also the end, it may be written.
        suppressed = sorted({ids.bos_id, ids.pad_id} - {ids.eos_id})
        rows = self.model.generate(
            pixel_values=pixel_values,
            max_new_tokens=options.max_length,
            min_length=options.min_length,  # theirs counts the start token, ours the end instead
            num_beams=options.num_beams,
            length_penalty=options.length_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            early_stopping=options.early_stopping,
            do_sample=False,
            **({"suppress_tokens": suppressed} if suppressed else {}),
        ).tolist()
        ends = [row.index(ids.eos_id, 1) + 1 if ids.eos_id in row[1:] else len(row) for row in rows]
        return [tuple(row[:end]) for row, end in zip(rows, ends, strict=True)]

    def score(self, pixel_values: Tensor, ids: Sequence[int], options: GenerationOptions) -> float:
        """Return what a search ranks the caption of one photo by."""
        logits, _ = self.forced(pixel_values, torch.tensor([ids[:-1]]))
        log_probs = logits[0].double().log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
        return float(log_probs.sum() / len(log_probs) ** options.length_penalty)


@dataclass(frozen=True)
class SameCaptions:
    """How many captions of two searches are the same, and how far apart in score those are that differ."""

    same: int
    distances: tuple[float, ...]

    @property
    def fine(self) -> bool:
        return all(distance < TIE for distance in self.distances)


def compare_captions(
    reference: Reference, parts: ModelParts, pixel_values: Tensor, options: GenerationOptions
) -> SameCaptions:
    """Search with both models."""
    expected = reference.captions(parts, pixel_values, options)
    with torch.no_grad():
        results = generate_captions(parts, TorchStepper(parts.model, parts.model.encode(pixel_values)), options)
    distances = []
    for number, ids in enumerate(expected):
        ours = results[number][0].token_ids
        if ours != ids:
            pixels = pixel_values[number : number + 1]
            scores = (reference.score(pixels, caption, options) for caption in (ours, ids))
            distances.append(abs(next(scores) - next(scores)))
    return SameCaptions(len(expected) - len(distances), tuple(distances))


def compare_forced(
    reference: Reference, parts: ModelParts, pixel_values: Tensor, input_ids: Tensor
) -> tuple[float, float]:
    """Return the largest differences of logits and of cross-attention rows over ``input_ids`` (B, T)."""
    logits, maps = reference.forced(pixel_values, input_ids)
    with torch.no_grad():
        output = parts.model(input_ids, parts.model.encode(pixel_values), output_attentions=True)
    assert output.cross_attentions is not None
    pairs = zip(output.cross_attentions, maps, strict=True)
    return _largest(output.logits, logits), max(_largest(ours, theirs) for ours, theirs in pairs)


def compare_pixels(folder: Path, parts: ModelParts, photo: Image.Image) -> float:
    """Return the largest difference to transformers' PIL processor, in levels of 255."""
    import transformers

    file = folder / "preprocessor_config.json"
    values = json.loads(file.read_text()) if file.is_file() else {}
    if not values:
        values = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    name = values.get("image_processor_type") or values.get("feature_extractor_type") or "ViTImageProcessor"
    name = name.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    processor = getattr(transformers, f"{name}Pil").from_pretrained(folder)
    theirs = torch.from_numpy(np.asarray(processor(photo)["pixel_values"][0]))
    ours, _ = PhotoTransform(parts.preprocessing)(photo)
    return _largest(ours * 255 * (std := torch.tensor(parts.preprocessing.std)[:, None, None]), theirs * 255 * std)


def _largest(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max())


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("id", help="a checkpoint's folder, or its name on the hub")
    parser.add_argument("photo", nargs="*", type=Path)
    parser.add_argument("--photos", type=int, default=8, help="how many scenes are drawn where no PHOTO is given")
    arguments = parser.parse_args()
    import transformers

    folder = resolve(arguments.id)
    conversion = convert_from(arguments.id, folder)  # which fetches the rest into the folder
    parts = conversion.parts
    model = getattr(transformers, conversion.architecture).from_pretrained(folder, attn_implementation="eager").eval()
    reference = Reference(model)
    photos = [open_photo(path) for path in arguments.photo]
    photos = photos or [draw_scene(seed, 240).image for seed in range(arguments.photos)]
    transform = PhotoTransform(parts.preprocessing)
    pixel_values = torch.stack([transform(photo)[0] for photo in photos])

    own = parts.generation
    rows = [("pixels, levels of 255", max(compare_pixels(folder, parts, photo) for photo in photos), 1.001)]
    greedy = GenerationOptions(num_beams=1, max_length=own.max_length, no_repeat_ngram_size=0)
    captions = reference.captions(parts, pixel_values, greedy)
    differences = [
        compare_forced(reference, parts, pixel_values[number : number + 1], torch.tensor([ids[:-1]]))
        for number, ids in enumerate(captions)
    ]
    rows.append(("logits", max(logits for logits, _ in differences), 1e-3))
    rows.append(("cross-attention rows", max(maps for _, maps in differences), 1e-4))
    fine = all(difference <= allowed for _, difference, allowed in rows)
    shown = [(what, f"{difference:.1e}", f"{allowed:.0e}") for what, difference, allowed in rows]
    for name, options in {
        "greedy": greedy,
        "3 beams": GenerationOptions(num_beams=3, max_length=own.max_length, no_repeat_ngram_size=0),
        "its own search": own,
    }.items():
        result = compare_captions(reference, parts, pixel_values, options)
        fine = fine and result.fine
        apart = f", others apart by {max(result.distances):.1e}" if result.distances else ""
        shown.append((f"captions, {name}", f"{result.same} of {len(photos)} the same{apart}", "the same, or ties"))
    print(f"{arguments.id}: {conversion.summary}")
    print(table(("what", "largest difference", "allowed"), shown))
    for ids in captions[:3]:
        print(f"greedy: {parts.tokenizer.decode(ids)}")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
