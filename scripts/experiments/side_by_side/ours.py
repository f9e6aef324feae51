"""Our arm: ``wordgaze train`` on the config as it stands, stopped by the clock."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict, replace
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from wordgaze.captioner import Captioner
from wordgaze.files import write_text
from wordgaze.folder import load_folder
from wordgaze.tasks.train import train
from wordgaze.training.config import TrainingConfig
from wordgaze.training.settings import settings_of

from . import budget
from .budget import Plan
from .common import Progress, Task, Trained


class Clock(pl.Callback):
    """Ends a run after ``limit`` seconds of training; those before a checkpoint count after an interruption."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.ends: list[float] = []  # of each step
        self.finished = math.nan  # seconds when the run ended
        self._before = 0.0
        self._began = math.nan

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        float(outputs["loss"])  # waits for the device
        self.ends.append(time.monotonic())
        if self.seconds >= self.limit:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.finished = self.seconds


def settings(task: Task) -> dict[str, Any]:
    config = task.config
    return {
        "encoder": settings_of(config.encoder),
        "decoder": settings_of(config.decoder),
        "train": settings_of(config.train),
        "captions_per_photo": config.data.captions_per_photo,
    }


def measure(task: Task) -> float:
    """Return the seconds of a step; the run is thrown away."""
    clock, folder = Clock(math.inf), task.folder / "measurement"
    train(_of_length(task, budget.WARM_UP + budget.MEASURED), folder, restart=True, callbacks=[clock])
    shutil.rmtree(folder)
    return budget.median_step(clock.ends)


def run(task: Task, plan: Plan) -> Trained:
    folder, finished = task.folder / "run", task.folder / "progress.json"
    if not finished.exists():
        clock = Clock(plan.seconds)
        result = train(_of_length(task, plan.steps), folder, on_message=task.on_message, callbacks=[clock])
        write_text(finished, json.dumps(asdict(Progress(result.steps, clock.finished))))
    parts = load_folder(folder)
    captioner = Captioner(parts, task.device)

    def caption(pixel_values: Tensor) -> list[str]:
        return [result.text for result in captioner.caption_pixels(pixel_values, task.config.generation)]

    progress = Progress(**json.loads(finished.read_text(encoding="utf-8")))
    return Trained.of(parts.model, caption, task.config.data.captions_per_photo, progress)


def _of_length(task: Task, steps: int) -> TrainingConfig:
    """Return the config for ``steps`` steps, with enough epochs for them."""
    data, options = task.config.data, task.config.train
    batches = len(task.photos) // data.batch_size
    epochs = math.ceil(steps / max(1, batches)) + 1
    return replace(task.config, train=replace(options, epochs=epochs, max_steps=steps))
