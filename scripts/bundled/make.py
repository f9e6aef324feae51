"""Puts a trained model into the package: float16 weights, the logs of its training, and the card.

    python -m scripts.bundled.make --stage configs/bundled.yaml RUN    # the weights
    python -m scripts.bundled.measure src/wordgaze/bundled measured    # what the card says of them
    python -m scripts.bundled.make --stage configs/bundled.yaml RUN --measured measured

A model of several stages has a --stage for each, in their order; the last RUN holds the weights, unless
--weights names another folder (the mean of several, as `wordgaze average` writes it). Every number of the card is read
from the runs or from the files in `measured`; the same files make the same card.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts import ROOT, SHARED_DATA
from wordgaze.data.annotations import read_instances
from wordgaze.data.transform import Preprocessing
from wordgaze.evaluation.by_category import HARDLY, RELIABLY, CategoryResult, Described, by_category
from wordgaze.evaluation.calibration import RIGHT_CIDER
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.evaluation.score import score_captions
from wordgaze.files import check_script, model_files
from wordgaze.folder import ModelParts, load_folder, save_folder
from wordgaze.generation.confidence import Confidence
from wordgaze.tasks.calibrate import JudgedPhoto, read_judged
from wordgaze.tasks.train import parse_config
from wordgaze.training.config import TrainingConfig

BUNDLED = ROOT / "src" / "wordgaze" / "bundled"
DOCS = ROOT / "docs"
BOXES = SHARED_DATA / "coco" / "instances_val.json"

ENCODER, BESIDE = "vit_tiny_patch16_224", "tf_efficientnet_lite2"  # what the card's text speaks of
# Where a run found its parts: each machine's own.
PLACES = {("train", "initial_model"), ("encoder", "beside_pretrained"), ("encoder", "cache")}
FEWEST = 20  # photos of a category, for a row of its own
LISTED = 12
WIDTH = 120

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
{parameters:.1f} M parameters: a ViT-Ti/16 at {height} x {width} (patches of 16 x 16 pixels, a {down} x {across} grid),
{beside}and a GPT-2-shaped decoder with cross-attention ({layers} layers of width {decoder_width}, {vocabulary} tokens).
{shown}

## Where it comes from

The ViT was initialised from ViT-Ti/16 AugReg, pretrained on ImageNet-21k and ImageNet-1k (Steiner et al. 2022,
Apache-2.0; timm's `vit_tiny_patch16_224.augreg_in21k_ft_in1k`), and fine-tuned as a whole with the decoder, which
started from random weights. {beside_origin}The tokenizer is byte-level BPE learned from the training captions and
further text.

- **Data**: {photos:,} photos with {captions:,} captions: Flickr8k's training split and unassigned photos,
  Flickr30k photos that are not in Flickr8k, and COCO photos. The photos belong to their authors and are not
  distributed here; Flickr8k and Flickr30k are for research. Some of the COCO photos lie in Karpathy's test and
  validation splits (128 and 114), so no score on those splits can be claimed for this model.
{stages}
{notes}
{measured}## What it should not be used for

It is small and has seen few photos. Counts, small objects, text, and left and right are often wrong. It repeats the
prejudices of its captions: colours of clothes, sex and age are stated with no doubt. Do not use it where a wrong
caption does harm.
"""

MEASURED = """## Scores

Beam {beams}, float32, Penn Treebank tokens; 95 % bootstrap intervals over photos. "A person" is the CIDEr of a person's
caption against the others of its photo. "Repeats" are captions that say the same three words twice.

{scores}

{padded}The validation photos chose the checkpoint and the settings, so photos that the model has never been near may
score a little less. All below is of the same photos and captions.

## What it is good and bad at

{chair}

By what is in the photo, for COCO's categories with at least {fewest} photos. "Photos": the boxes or a person's
caption say that it is there ("boxed": the boxes). "Named": how many captions of these name it; "of most": of the photos
where most people do. "Precision": how many of the captions that name it are of a photo that has it.

{categories}

{verdicts}

## How sure it is

`wordgaze caption --confidence` prints how likely a caption is right. Right is: its own CIDEr is at least
{right_cider}, and it names no object that is in neither boxes nor references (of photos without boxes the references
alone say what is there).
The confidence is a logistic regression on the mean log-probability of the caption's words, the least word's, the end's,
and the number of words, for the best caption of the model's own search. All figures are of regressions that had
not seen the photo ({folds}-fold); {differing} photos were left out because their captions came out
differently the second time.

{reliability}

{calibration}

## Twelve results

Chosen by number: of each set's photos, ordered by CIDEr, the worst, the best, and those evenly between.

{listed}

"""


BESIDE_IS = (
    "added to each patch what EfficientNet-Lite2 has there (its feature map of stride 16 and its last features, of "
    "stride 32), "
)
BESIDE_FROM = """EfficientNet-Lite2 (Tan and Le 2019, Apache-2.0; timm's `tf_efficientnet_lite2.in1k`) is as ImageNet-1k
left it{learned}. """
UPPER_LEARNED = " up to its feature map of stride 16, and fine-tuned with the decoder behind it"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training: the config it was started with, and the folder it left."""

    config: Path
    run: Path

    @cached_property
    def wanted(self) -> TrainingConfig:
        """What the config says."""
        return parse_config(self.config)

    @cached_property
    def had(self) -> TrainingConfig:
        """What the run was trained with: its config and what was said on the command line."""
        return parse_config(self.run / "training.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stage", type=Path, nargs=2, action="append", required=True, metavar=("CONFIG", "RUN")
    )
    parser.add_argument("--weights", type=Path, help="the model folder to take, otherwise the last RUN")
    parser.add_argument("--measured", type=Path, help="the folder that scripts.bundled.measure wrote")
    parser.add_argument(
        "--padded", type=Path, nargs="*", default=[], help="scores of the sets with crop: pad"
    )
    parser.add_argument(
        "--instances", type=Path, default=BOXES, help="the boxes that the photos were judged by"
    )
    parser.add_argument("--hardware", default="two CPU cores", help="what the hours were spent on")
    parser.add_argument(
        "--on",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "HARDWARE"),
        help="what a stage's were spent on, by its config's name, where that was something else",
    )
    parser.add_argument("--notes", type=Path, help="Markdown to add on the training")
    parser.add_argument("--out", type=Path, default=BUNDLED, help="the model folder to write")
    parser.add_argument("--logs", type=Path, default=DOCS, help="the folder for the logs")
    arguments = parser.parse_args()
    stages = [Stage(*pair) for pair in arguments.stage]
    check_script(parser, *_files(arguments, stages))
    parts = load_folder(arguments.weights or stages[-1].run)
    measured = ""
    if arguments.measured is not None:
        values = json.loads((arguments.measured / "calibration.json").read_text(encoding="utf-8"))
        parts.confidence = Confidence.from_dict(values["confidence"])
        measured = measured_sections(
            arguments.measured, arguments.instances, arguments.padded, parts.generation.num_beams
        )
    hardware = [dict(arguments.on).get(stage.config.stem, arguments.hardware) for stage in stages]
    text = card(parts, stages, measured, hardware, arguments.notes)
    save_folder(parts, arguments.out, card=text, dtype="float16")
    for stage in stages:
        shutil.copyfile(stage.run / "log.csv", arguments.logs / log_name(stage))
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


def _files(arguments: argparse.Namespace, stages: Sequence[Stage]) -> tuple[list[Path], list[Path]]:
    """Return what is written, and what is read."""
    logs = [arguments.logs / log_name(stage) for stage in stages]
    given = [arguments.measured, arguments.instances, arguments.notes, *arguments.padded]
    for stage in stages:
        given += [stage.config, stage.run / "log.csv", stage.run / "training.yaml"]
    given += model_files(arguments.weights or stages[-1].run)
    return [*model_files(arguments.out), *logs], [path for path in given if path is not None]


def card(
    parts: ModelParts,
    stages: Sequence[Stage],
    measured: str,
    hardware: Sequence[str],
    notes: Path | None = None,
) -> str:
    """The card's text; ``measured``: what ``measured_sections`` makes of the model's measurements.

    ``hardware``: what each stage ran on.
    """
    model, decoder = parts.model, parts.model.config.decoder
    encoder = model.config.encoder
    if encoder.name != ENCODER or encoder.beside not in (None, BESIDE):
        raise SystemExit(
            f"The card speaks of {ENCODER} and {BESIDE}, the model has {encoder.name} and {encoder.beside}; "
            "change the text."
        )
    photos = captions = 0
    for source in stages[0].had.data.train:
        content = json.loads(Path(source.captions).read_text(encoding="utf-8"))
        photos, captions = photos + len(content["images"]), captions + len(content["annotations"])
    height, width = parts.preprocessing.size
    frozen = [stage.had.encoder.freeze for stage in stages[1:]]
    upper_learned = any(isinstance(freeze, int) and freeze < len(model.encoder.layers()) for freeze in frozen)
    text = CARD.format(
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        height=height,
        width=width,
        down=model.grid[0],
        across=model.grid[1],
        beside=BESIDE_IS if encoder.beside else "",
        shown=shown_sentence(parts.preprocessing),
        beside_origin=BESIDE_FROM.format(learned=UPPER_LEARNED if upper_learned else "")
        if encoder.beside
        else "",
        layers=decoder.layers,
        decoder_width=decoder.width,
        vocabulary=decoder.vocab_size,
        photos=photos,
        captions=captions,
        stages="\n".join(map(stage_line, stages, hardware)),
        notes="" if notes is None else notes.read_text(encoding="utf-8").strip() + "\n",
        measured=measured or "## Scores\n\nNot measured yet.\n\n",
    )
    return wrapped(text)


def shown_sentence(preprocessing: Preprocessing) -> str:
    """What of a photo the model is shown, and how often."""
    shown = {"center": "the middle of a photo", "pad": "a whole photo with a plain border"}
    squeezed = f"; first its longer side is squeezed, by a factor of at most {preprocessing.stretch:.2f}"
    twice = (
        " It looks twice, the second time at the mirrored photo, and takes the mean of both views' patches."
    )
    return (
        f"It sees {shown[preprocessing.crop]}{squeezed if preprocessing.stretch > 1 else ''}."
        f"{twice if preprocessing.mirrored else ''}"
    )


# --- The training ----------------------------------------------------------------------------------------------


def log_name(stage: Stage) -> str:
    seed = stage.had.train.seed
    other = f"-seed{seed}" if seed != stage.wanted.train.seed else ""
    return f"{stage.config.stem}{other}-log.csv"


def stage_line(stage: Stage, hardware: str) -> str:
    """The command of a stage, what it took, and the best of its epochs."""
    with (stage.run / "log.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    config = stage.had
    best = max((row for row in rows if row["CIDEr"]), key=lambda row: float(row["CIDEr"]))
    minutes = max(float(row["seconds"]) for row in rows) / 60
    took = f"{minutes / 60:.1f} hours" if minutes > 10 else f"{minutes:.1f} minutes"
    return (
        f"- **Command**: `{command(stage)}` ({rows[-1]['step']} steps, seed {config.train.seed}, {took} on "
        f"{hardware}; the log is `docs/{log_name(stage)}`). The weights are those after epoch "
        f"{int(best['epoch']) + 1} of {config.train.epochs}, the best by the mean greedy CIDEr on the validation sets, "
        f"{float(best['CIDEr']):.3f}."
    )


def command(stage: Stage) -> str:
    """The command that repeats the run: the config, and what the run had otherwise, where those are plain values."""
    wanted, had = map(dataclasses.asdict, (stage.wanted, stage.had))
    words = ["wordgaze train --config", f"configs/{stage.config.name}"]
    for group, values in had.items():
        for name, value in values.items():
            if value == wanted[group][name] or (group, name) in PLACES:
                continue
            if not isinstance(value, bool | int | float | str):
                raise SystemExit(
                    f"{stage.run} was trained with another {group}.{name} than {stage.config} says."
                )
            words.append(f"--{group}.{name} {value}")
    return " ".join(words)


# --- What was measured -----------------------------------------------------------------------------------------


def measured_sections(folder: Path, instances: Path, padded: Sequence[Path], beams: int) -> str:
    """The card's sections on scores, categories, confidence, and the listed results."""
    calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    sets = list(calibration["sets"])
    scores = {
        name: json.loads((folder / "scores" / f"{name}.json").read_text(encoding="utf-8")) for name in sets
    }
    photos = {name: read_judged(folder / "photos" / f"{name}.json") for name in sets}
    check(scores, photos, calibration)
    everything = [photo for some in photos.values() for photo in some]
    results = by_category(describe(everything, instances), FEWEST)
    return MEASURED.format(
        beams=beams,
        scores=score_table(scores, photos),
        padded=padded_sentence(padded) if padded else "",
        chair="\n".join(chair_sentence(name, one) for name, one in scores.items() if "chair" in one),
        fewest=FEWEST,
        categories=category_table(results),
        verdicts=verdicts(results),
        right_cider=RIGHT_CIDER,
        folds=calibration["folds"],
        differing=calibration["differing"] or "no",
        reliability=reliability_table(calibration),
        calibration=calibration_sentences(calibration),
        listed=listed_table(photos, calibration),
    )


def check(
    scores: dict[str, Any], photos: dict[str, tuple[JudgedPhoto, ...]], calibration: dict[str, Any]
) -> None:
    """Ends where the files are not of the same captions."""
    for name, some in photos.items():
        mean = sum(photo.cider for photo in some) / len(some)
        sure = {one["image_id"]: one["right"] for one in calibration["captions"][name]}
        same = [sure.get(photo.photo_id, photo.right) == photo.right for photo in some]
        if abs(mean - scores[name]["metrics"]["CIDEr"]) > 1e-6 or not all(same):
            raise SystemExit(
                f"The measurements of {name} are of different captions; run scripts.bundled.measure again."
            )


def describe(photos: Iterable[JudgedPhoto], instances: Path) -> list[Described]:
    """What ``by_category`` takes; boxes are of the photos that were judged by boxes."""
    boxes = {str(photo_id): found for photo_id, found in read_instances(instances).boxes.items()}
    photos = list(photos)
    if any(photo.boxed and str(photo.photo_id) not in boxes for photo in photos):
        raise SystemExit(
            f"{instances} is not the file of boxes that the photos were judged by; give --instances."
        )
    return [
        Described(
            tokenize_all([photo.caption])[0],
            tokenize_all(photo.references),
            photo.cider,
            {box.category for box in boxes[str(photo.photo_id)]} if photo.boxed else (),
        )
        for photo in photos
    ]


def score_table(scores: dict[str, Any], photos: dict[str, tuple[JudgedPhoto, ...]]) -> str:
    rows = []
    for name, result in scores.items():
        metrics, intervals = result["metrics"], result["intervals"]
        values = [f"{metrics[one]:.3f} ({span(intervals[one])})" for one in ("CIDEr", "Bleu_4", "ROUGE_L")]
        distinct, person = result["distinct"] / result["images"], person_cider(photos[name])
        rows.append([name, result["images"], values[0], f"{person:.2f}", *values[1:]])
        rows[-1] += [f"{distinct:.0%}", f"{result['repeats']:.1%}"]
    columns = ["set", "photos", "CIDEr", "a person", "BLEU-4", "ROUGE-L", "distinct captions", "repeats"]
    return table(columns, rows)


def person_cider(photos: Sequence[JudgedPhoto]) -> float:
    """The mean CIDEr of people's captions against the others of their photos, one caption of each photo at a time."""
    turns = min(len(photo.references) for photo in photos)
    if turns < 2:
        raise SystemExit("A person's caption can't be scored: some photos have no other reference.")
    totals = []
    for turn in range(turns):
        said = {photo.photo_id: photo.references[turn] for photo in photos}
        others = {
            photo.photo_id: [*photo.references[:turn], *photo.references[turn + 1 :]] for photo in photos
        }
        totals.append(score_captions(said, others, ["CIDEr"]).metrics["CIDEr"])
    return sum(totals) / turns


def padded_sentence(paths: Sequence[Path]) -> str:
    """What the other way of fitting a photo into the input gives."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    values = ", ".join(f"{result['metrics']['CIDEr']:.3f} on {name}" for name, result in results.items())
    return (
        "Shown whole, with a plain border (`crop: pad` in `preprocessor.json`), "
        f"the same weights score CIDEr {values}.\n\n"
    )


def chair_sentence(name: str, result: dict[str, Any]) -> str:
    metrics, intervals, chair = result["metrics"], result["intervals"], result["chair"]
    return (
        f"Objects that are not there (CHAIR, the {chair['images']} photos of {name} with boxes): "
        f"{metrics['CHAIRs']:.1%} of the captions ({span(intervals['CHAIRs'], '.1%')}) "
        f"name one; {metrics['CHAIRi']:.1%} of the {chair['mentions']} names of objects are wrong "
        f"({span(intervals['CHAIRi'], '.1%')})."
    )


def category_table(results: Sequence[CategoryResult]) -> str:
    rows = [
        [
            one.category,
            one.photos,
            one.boxed,
            part(one.named),
            f"{part(one.named_by_most)} of {one.named_by_most.n}",
            f"{part(one.right)} of {one.right.n}",
            f"{one.cider:.2f} ({span(one.cider_interval, '.2f')})",
            one.verdict,
        ]
        for one in results
    ]
    return table(["category", "photos", "boxed", "named", "of most", "precision", "CIDEr", ""], rows)


def verdicts(results: Sequence[CategoryResult]) -> str:
    """Which categories are which, and the rule."""
    groups = {
        "right": f"Right when named (the interval of the precision begins above {RELIABLY:.0%})",
        "guesswork": f"Guesswork (it ends below {RELIABLY:.0%})",
        "hardly named": f'Hardly ever named (the interval of "named" ends below {HARDLY:.0%})',
    }
    lines = []
    for verdict, words in groups.items():
        names = ", ".join(one.category for one in results if one.verdict == verdict)
        lines.append(f"- {words}: {names or 'none'}.")
    return "\n".join(lines)


def reliability_table(calibration: dict[str, Any]) -> str:
    rows = [
        [f"{row['confidence']:.1f}", row["right"]["n"], f"{row['mean']:.3f}", part(row["right"])]
        for row in calibration["reliability"]
    ]
    return table(["confidence", "captions", "mean", "right"], rows)


def calibration_sentences(calibration: dict[str, Any]) -> str:
    lines = []
    for name, one in {"all": calibration, **calibration["sets"]}.items():
        lines.append(
            f"- {name}: mean confidence {one['mean_confidence']:.3f}, right {part(one['right'])}; expected "
            f"calibration error {one['calibration_error']:.3f} (of a perfect confidence: "
            f"{span(one['calibration_error_of_chance'])}); of a right and a wrong caption the right one has the "
            f"higher confidence {one['area_under_roc']:.1%} of the time."
        )
    found = calibration["usually_wrong"]
    if found is None:
        lines.append("- No threshold was found below which captions are usually wrong.")
    else:
        wrong = found["wrong"]
        lines.append(
            f"- **Below {found['below']:.2f} captions are usually wrong**: {wrong['value']:.1%} of {wrong['n']} "
            f"({span((wrong['low'], wrong['high']), '.1%')}). It is the highest threshold at which so many as two "
            "thirds are wrong and that interval begins above one half."
        )
    return "\n".join(lines)


def listed_table(photos: dict[str, tuple[JudgedPhoto, ...]], calibration: dict[str, Any]) -> str:
    rows = []
    for name, some in photos.items():
        sure = {one["image_id"]: one["confidence"] for one in calibration["captions"][name]}
        for rank, photo in listed(some, LISTED // len(photos)):
            confidence = f"{sure[photo.photo_id]:.2f}" if photo.photo_id in sure else ""
            place, absent = f"{rank + 1} of {len(some)}", ", ".join(photo.absent)
            rows.append(
                [name, photo.photo_id, place, f"{photo.cider:.2f}", confidence, absent, photo.caption]
            )
    return table(["set", "image_id", "place", "CIDEr", "confidence", "not there", "caption"], rows)


def listed(photos: Sequence[JudgedPhoto], count: int) -> list[tuple[int, JudgedPhoto]]:
    """The worst by CIDEr, the best, and those evenly between, each behind its place."""
    ordered = sorted(photos, key=lambda photo: photo.cider)
    places = [round(index * (len(ordered) - 1) / (count - 1)) for index in range(count)]
    return [(place, ordered[place]) for place in places]


# --- Text ------------------------------------------------------------------------------------------------------


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def wrapped(text: str) -> str:
    """Paragraphs and lists in lines of at most ``WIDTH``; headings, tables and the front matter as they are."""
    blocks = []
    for block in re.sub(r"\n{3,}", "\n\n", text).strip().split("\n\n"):
        if block.startswith("- "):
            items = block.removeprefix("- ").split("\n- ")
            block = "\n".join("- " + fill(item, WIDTH - 2).replace("\n", "\n  ") for item in items)
        elif not block.startswith(("#", "|", "---")):
            block = fill(block, WIDTH)
        blocks.append(block)
    return "\n\n".join(blocks) + "\n"


def fill(text: str, width: int) -> str:
    return textwrap.fill(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)


def part(share: Any) -> str:
    """``61% (57 to 65)``, of a ``Share`` or of one in JSON; a dash for a share of nothing."""
    values = share if isinstance(share, dict) else share._asdict()
    if values["n"] == 0:
        return "–"
    return f"{values['value']:.0%} ({100 * values['low']:.0f} to {100 * values['high']:.0f})"


def span(interval: Sequence[float], form: str = ".3f") -> str:
    low, high = interval
    return f"{low:{form}} to {high:{form}}"


if __name__ == "__main__":
    main()
