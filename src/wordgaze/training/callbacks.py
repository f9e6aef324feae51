"""What a run writes down while it goes: a log, sample captions, progress, a warning."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from wordgaze.data.annotations import CaptionedPhoto

ALIKE = 0.05  # a smaller share of different captions is a model that does not look


class TrainingLog(Callback):
    """Appends to ``log.csv``: a row every ``every`` steps, and one after each validation; times in seconds.

    A run that goes on from a checkpoint first drops the rows behind it.
    """

    def __init__(self, path: Path, every: int, batch_size: int, validation: Sequence[str]) -> None:
        self.path = path
        self.every = every
        self.batch_size = batch_size
        scores = [f"{kind}/{name}" for name in validation for kind in ("CIDEr", "distinct")]
        self.columns = [
            "step",
            "epoch",
            "seconds",
            "photos_per_second",
            "learning_rate",
            "loss",
            "CIDEr",
            *scores,
        ]
        self.seconds = 0.0
        self._began = 0.0
        self._last = (0.0, 0)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _drop_rows_behind(self.path, trainer.global_step)
        if not self.path.exists():
            with self.path.open("w", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns).writeheader()
        self._began = time.monotonic()
        self._last = (self._began, trainer.global_step)

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.every or step == self._last[1]:
            return
        now = time.monotonic()
        photos = (
            (step - self._last[1]) * self.batch_size * trainer.accumulate_grad_batches * trainer.world_size
        )
        self._append(
            step=step,
            epoch=trainer.current_epoch,
            photos_per_second=photos / (now - self._last[0]),
            learning_rate=max(group["lr"] for group in trainer.optimizers[0].param_groups),
            loss=float(outputs["loss"]) * trainer.accumulate_grad_batches,
        )
        self._last = (now, step)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        scores = {
            name: float(value) for name, value in trainer.callback_metrics.items() if name in self.columns
        }
        scores.pop("loss", None)
        self._append(step=trainer.global_step, epoch=trainer.current_epoch, **scores)
        self._last = (time.monotonic(), trainer.global_step)

    def _elapsed(self) -> float:
        return self.seconds + (time.monotonic() - self._began if self._began else 0.0)

    def _append(self, **values: float) -> None:
        values["seconds"] = self._elapsed()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            row = {
                name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()
            }
            csv.DictWriter(file, self.columns).writerow(row)


class Checkpoints(Callback):
    """Writes ``last.ckpt`` every ``every`` steps and after each validation, and ``best.ckpt`` at the best CIDEr.

    A file is written beside the old one and then takes its place, so that there is always a whole one.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder
        self.every = every
        self.best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Not on an epoch's last batch: one who goes on from there would have no validation of that epoch.
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and trainer.global_step % self.every == 0 and not trainer.is_last_batch:
            self._save(trainer, "last.ckpt")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        cider = float(trainer.callback_metrics["CIDEr"])
        better = self.best is None or cider > self.best
        if better:
            self.best = cider
            self._save(trainer, "best.ckpt")
        self._save(trainer, "last.ckpt")

    def _save(self, trainer: Trainer, name: str) -> None:
        new = self.folder / f"{name}.new"
        trainer.save_checkpoint(new)
        if trainer.is_global_zero:
            os.replace(new, self.folder / name)


class SampleCaptions(Callback):
    """Appends captions of a few validation photos to ``samples.csv`` after each epoch; warns when all are alike."""

    def __init__(
        self, path: Path, validation: Mapping[str, Sequence[CaptionedPhoto]], count: int = 8
    ) -> None:
        self.path = path
        self.validation = validation
        self.count = count

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _drop_rows_behind(self.path, trainer.global_step)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        captions: Mapping[str, list[str]] = pl_module.captions  # type: ignore[assignment]
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "set", "photo", "caption", "reference"])
            for name, photos in self.validation.items():
                stride = max(1, len(photos) // self.count)
                for index in list(range(0, len(photos), stride))[: self.count]:
                    photo = photos[index]
                    row = [
                        trainer.global_step,
                        name,
                        photo.path.name,
                        captions[name][index],
                        photo.captions[0],
                    ]
                    writer.writerow(row)
        for name, found in captions.items():
            if len(found) >= 20 and len(set(found)) < max(2, ALIKE * len(found)):
                print(
                    f"wordgaze: WARNING: only {len(set(found))} different captions for the {len(found)} photos of "
                    f"{name!r} ({found[0]!r}): the model does not look at the photos. Early in a run this passes; "
                    "later, lower the learning rates or train longer.",
                    file=sys.stderr,
                )


class Progress(Callback):
    """One line after each epoch; on a terminal also a bar with rate and time left."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._bar: Any = None
        self._task: Any = None

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:.1f} photos/s  left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        total = int(trainer.estimated_stepping_batches)
        self._task = self._bar.add_task(
            "", total=total, completed=trainer.global_step, epoch=1, loss=0.0, rate=0.0
        )
        self._bar.start()

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is None:
            return
        speed = self._bar.tasks[0].speed or 0.0
        self._bar.update(
            self._task,
            completed=trainer.global_step,
            epoch=trainer.current_epoch + 1,
            loss=float(outputs["loss"]) * trainer.accumulate_grad_batches,
            rate=speed * self.batch_size * trainer.accumulate_grad_batches * trainer.world_size,
        )

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        scores = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("CIDEr/")}
        line = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        print(f"epoch {trainer.current_epoch + 1}  step {trainer.global_step}  {line}", file=sys.stderr)

    @rank_zero_only
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _drop_rows_behind(path: Path, step: int) -> None:
    """Of a run that goes on from a checkpoint: what it wrote behind it will be written again."""
    if not path.exists():
        return
    if step == 0:
        path.unlink()
        return
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) <= step)])
