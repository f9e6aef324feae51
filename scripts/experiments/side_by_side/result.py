"""An arm's captions of the validation photos, scored and timed, and all of it as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.common.timing import timed
from wordgaze.data.photos import open_photo
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import PhotoTransform
from wordgaze.evaluation.score import fingerprint
from wordgaze.files import write_text
from wordgaze.tasks.evaluate import CaptionEvaluator

from .budget import Plan
from .common import Caption, Task, Trained, digest

BATCH = 32
TIMED = 64  # photos
PACKAGES = ("wordgaze", "torch", "timm", "transformers", "tokenizers", "lightning")


def result(task: Task, arm: str, plan: Plan, trained: Trained) -> dict[str, Any]:
    """Return all that is known about an arm's run; ``same`` must be equal where results are compared."""
    config, progress = task.config, trained.progress
    references = {photo.photo_id: photo.captions for photo in task.photos}
    captions = sum(map(len, references.values()))
    photos_seen = progress.steps * config.data.batch_size
    captions_seen = photos_seen * trained.captions_per_photo
    return {
        "arm": arm,
        "same": {
            "minutes": plan.minutes,
            "photos": len(task.photos),
            "captions": captions,
            "training_fingerprint": fingerprint(references),
            "validation_photos": len(task.validation),
            "tokenizer": digest(Path(str(config.tokenizer.file)).read_bytes()),
            "vocabulary": task.tokenizer.vocab_size,
            "encoder": config.encoder.shape.name,
            "preprocessing": task.preprocessing.to_dict(),
            "augmentation": vars(config.data.augmentation),
            "batch_size": config.data.batch_size,
            "max_length": config.data.max_length,
            "generation": config.generation.to_dict(),
            "bfloat16": task.bfloat16,
            "device": task.device.type,
            "processor": platform.machine() + " " + torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        },
        "seed": config.train.seed,
        "settings": plan.settings,
        "parameters": trained.parameters,
        "encoder_parameters": trained.encoder_parameters,
        "training": {
            "steps": progress.steps,
            "planned_steps": plan.steps,
            "measured_step_seconds": plan.step_seconds,
            "seconds": progress.seconds,
            "photos_per_second": photos_seen / progress.seconds,
            "photos_seen": photos_seen,
            "captions_seen": captions_seen,
            "epochs_of_photos": photos_seen / len(task.photos),
            "epochs_of_captions": captions_seen / captions,
        },
        **_scores(task, trained.caption),
        "seconds_per_photo": {
            str(batch): seconds_per_photo(trained.caption, _pixels(task, task.validation[:TIMED]), batch)
            for batch in (1, BATCH)
        },
    }


def _scores(task: Task, caption: Caption) -> dict[str, Any]:
    photos = task.validation
    captions: dict[Any, str] = {}
    with torch.inference_mode():
        for first in range(0, len(photos), BATCH):
            subset = photos[first : first + BATCH]
            texts = caption(_pixels(task, subset))
            captions.update({photo.photo_id: text for photo, text in zip(subset, texts, strict=True)})
    evaluation = CaptionEvaluator(photos).evaluate(captions)
    ciders = {scored.photo_id: scored.scores["CIDEr"] for scored in evaluation.photos}
    return {
        **evaluation.to_dict(),
        "photos": [
            {"image_id": photo.photo_id, "caption": captions[photo.photo_id], "CIDEr": ciders[photo.photo_id]}
            for photo in photos
        ],
    }


def seconds_per_photo(caption: Caption, pixel_values: Tensor, batch: int) -> float:
    """Time captions of ``pixel_values`` (n, 3, H, W), ``batch`` at a time, after a first batch as warm-up."""
    with torch.inference_mode():
        caption(pixel_values[:batch])
        seconds, _ = timed(lambda: [caption(values) for values in pixel_values.split(batch)])
    return seconds / len(pixel_values)


def _pixels(task: Task, photos: Sequence[CaptionedPhoto]) -> Tensor:
    transform = PhotoTransform(task.preprocessing)
    return torch.stack([transform(open_photo(photo.path))[0] for photo in photos])


def save(values: dict[str, Any], file: Path) -> None:
    """Write one photo a line, and all else indented."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(_lines(values)))


def _lines(values: dict[str, Any]) -> Iterator[str]:
    rest = {name: value for name, value in values.items() if name != "photos"}
    yield json.dumps(rest, indent=1, ensure_ascii=False)[:-2] + ',\n "photos": [\n'
    rows = (json.dumps(photo, ensure_ascii=False) for photo in values["photos"])
    yield ",\n".join(f"  {row}" for row in rows) + "\n ]\n}\n"
