"""Puts a trained run into the package: float16 weights, the run's log, and a card with its scores.

python scripts/bundle.py RUN                                    # weights and log
wordgaze evaluate ... --json flickr.json; wordgaze evaluate ... --json coco.json
python scripts/bundle.py RUN --scores flickr.json coco.json     # the card
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import yaml

from wordgaze.hub import ModelParts, load_folder, save_folder
from wordgaze.tasks.train import parse_config

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "src" / "wordgaze" / "bundled"
CONFIG = ROOT / "configs" / "bundled.yaml"
LOG = ROOT / "docs" / "bundled-log.csv"

CARD = """---
license: apache-2.0
library_name: wordgaze
pipeline_tag: image-to-text
tags:
- image-captioning
- cross-attention
---

# wordgaze's bundled captioner

Photo in, English caption out, with the cross-attention that shows for every word where the model looked.
{parameters:.1f} M parameters: a ViT-Ti/16 at {size} x {size} (patches of 16 x 16 pixels, a {grid} x {grid} grid) and a
GPT-2-shaped decoder with cross-attention ({layers} layers of width {width}, {vocabulary} tokens).

## Where it comes from

The encoder was initialised from ViT-Ti/16 AugReg, pretrained on ImageNet-21k and ImageNet-1k (Steiner et al. 2022,
Apache-2.0; timm's `vit_tiny_patch16_224.augreg_in21k_ft_in1k`), and fine-tuned as a whole with the decoder, which
started from random weights. The tokenizer is byte-level BPE learned from the training captions and further text.

- **Data**: {photos} photos with {captions} captions: Flickr8k's training split and unassigned photos, Flickr30k photos
  that are not in Flickr8k, and COCO photos. The photos belong to their authors and are not distributed here; Flickr8k
  and Flickr30k are for research. Some of the COCO photos lie in Karpathy's test and validation splits (128 and 114),
  so no score on those splits can be claimed for this model.
- **Command**: `wordgaze train --config configs/bundled.yaml` ({steps} steps, seed {seed}, {hours:.1f} hours on two CPU
  cores, bfloat16); the log is `docs/bundled-log.csv`.
- **Chosen** by the mean greedy CIDEr on the two validation sets below, after each of {epochs} epochs (averaged
  weights). During the run validation photos were padded (`crop: pad`); `crop: center` was chosen afterwards, by the
  figures below. The run was killed at step 800 and went on from its checkpoint. In the log, the scores in the row of
  step 700 are those of step 350, whose row has none; later rows hold their own.

## Scores

Beam {beams}, float32, Penn Treebank tokens, five references a photo; 95 % bootstrap intervals over photos where given.

{scores}

{padded}For scale, a person's caption scored against the other four: CIDEr 0.84 on Flickr8k's validation split, 0.97 on
these COCO photos (simple tokens).

## What it is bad at

It is small and has seen few photos. It names what is frequent in Flickr and COCO photos (people, dogs, sports, streets,
kitchens) and guesses at the rest; counts, small objects, text, and left and right are often wrong. It repeats the
prejudices of its captions: colours of clothes, sex and age are stated with no doubt. Do not use it where a wrong
caption does harm.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--scores", type=Path, nargs="*", default=[])
    parser.add_argument(
        "--padded", type=Path, nargs="*", default=[], help="the same sets, evaluated with crop: pad"
    )
    arguments = parser.parse_args()
    parts = load_folder(arguments.run)
    parts.preprocessing = replace(parts.preprocessing, crop=parse_config(CONFIG).data.crop)
    text = card(arguments.run, parts, arguments.scores, arguments.padded)
    save_folder(parts, BUNDLED, card=text, dtype="float16")
    shutil.copyfile(arguments.run / "log.csv", LOG)
    print(f"{BUNDLED}: {sum(path.stat().st_size for path in BUNDLED.iterdir()) / 1e6:.1f} MB")


def card(run: Path, parts: ModelParts, scores: list[Path], padded: list[Path]) -> str:
    """The card's text: every number is read from the run or from an evaluation's JSON."""
    config = yaml.safe_load((run / "training.yaml").read_text(encoding="utf-8"))
    rows = [line.split(",") for line in (run / "log.csv").read_text(encoding="utf-8").splitlines()[1:]]
    photos = captions = 0
    for source in config["data"]["train"]:
        content = json.loads(Path(source["captions"]).read_text(encoding="utf-8"))
        photos, captions = photos + len(content["images"]), captions + len(content["annotations"])
    model, decoder = parts.model, parts.model.config.decoder
    return CARD.format(
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        size=parts.preprocessing.size[0],
        grid=model.grid[0],
        layers=decoder.layers,
        width=decoder.width,
        vocabulary=decoder.vocab_size,
        photos=f"{photos:,}",
        captions=f"{captions:,}",
        steps=rows[-1][0],
        seed=config["train"]["seed"],
        hours=float(rows[-1][2]) / 3600,
        epochs=config["train"]["epochs"],
        beams=parts.generation.num_beams,
        scores=table(scores) if scores else "Not measured yet.",
        padded=padded_sentence(padded) if padded else "",
    )


def padded_sentence(paths: list[Path]) -> str:
    """What the other way of fitting a photo into the input gives."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    values = ", ".join(f"{result['metrics']['CIDEr']:.3f} on {name}" for name, result in results.items())
    return (
        "Photos are cropped to their central square. Shown whole, with padding (`crop: pad` in `preprocessor.json`),\n"
        f"the same weights score CIDEr {values}.\n\n"
    )


def table(scores: list[Path]) -> str:
    """A row an evaluation; intervals where the JSON has them."""
    lines = ["| set | photos | CIDEr | BLEU-4 | ROUGE-L | distinct captions |", "|---|---|---|---|---|---|"]
    for path in scores:
        result = json.loads(path.read_text(encoding="utf-8"))
        intervals = result.get("intervals", {})

        def value(name: str, result: dict = result, intervals: dict = intervals) -> str:
            low, high = intervals.get(name, (None, None))
            return f"{result['metrics'][name]:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")

        share = f"{result['distinct'] / result['images']:.0%}"
        cells = [path.stem, str(result["images"]), value("CIDEr"), value("Bleu_4"), value("ROUGE_L"), share]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
