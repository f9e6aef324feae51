"""What a run writes down while it goes: a log, sample captions, messages; and when it ends early."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from wordgaze.data.readers.caption_file import CaptionedPhoto

ALIKE = 0.05  # a smaller share of different captions is a model that does not look
OnMessage = Callable[[str], None]


class TrainingLog(Callback):
    """Appends to ``log.csv``: a row every ``every`` steps, and one after each validation; times in seconds.

    Lightning's CSVLogger holds all rows in memory and writes its own folder anew; of this file a run that resumes keeps
    the rows up to its checkpoint, and times go on. ``measured``: what a step logs besides its loss.
    """

    def __init__(
        self, path: Path, every: int, batch_size: int, validation: Sequence[str], measured: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.every = every
        self.batch_size = batch_size
        self.measured = measured
        scores = [f"{kind}/{name}" for name in validation for kind in ("CIDEr", "distinct")]
        self.scores = ("CIDEr", *scores)
        self.columns = [
            "step",
            "epoch",
            "seconds",
            "photos_per_second",
            "learning_rate",
            "loss",
            *measured,
            *self.scores,
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
        photos = (step - self._last[1]) * self.batch_size * trainer.accumulate_grad_batches * trainer.world_size
        self._append(
            step=step,
            epoch=trainer.current_epoch,
            photos_per_second=photos / (now - self._last[0]),
            learning_rate=max(group["lr"] for group in trainer.optimizers[0].param_groups),
            loss=float(outputs["loss"]) * trainer.accumulate_grad_batches,
            **{name: float(trainer.callback_metrics[name]) for name in self.measured},
        )
        self._last = (now, step)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name in self.scores}
        self._append(step=trainer.global_step, epoch=trainer.current_epoch, **scores)
        self._last = (time.monotonic(), trainer.global_step)

    def _elapsed(self) -> float:
        return self.seconds + (time.monotonic() - self._began if self._began else 0.0)

    def _append(self, **values: float) -> None:
        values["seconds"] = self._elapsed()
        row = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if new:
                writer.writeheader()
            writer.writerow(row)


def sample_indices(photos: int, count: int) -> Sequence[int]:
    """Return ``count`` indices, or fewer, spread over that many photos: the same ones each time."""
    return range(0, photos, max(1, photos // count))[:count]


class SampleCaptions(Callback):
    """Appends captions of a few validation photos to ``samples.csv`` after each epoch; warns when all are alike."""

    def __init__(
        self,
        path: Path,
        validation: Mapping[str, Sequence[CaptionedPhoto]],
        on_message: OnMessage,
        count: int = 8,
    ) -> None:
        self.path = path
        self.on_message = on_message
        self.validation = validation
        self.count = count

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        captions: Mapping[str, list[str]] = pl_module.captions  # type: ignore[assignment]
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "set", "photo", "caption", "reference"])
            for name, photos in self.validation.items():
                for index in sample_indices(len(photos), self.count):
                    photo = photos[index]
                    row = [
                        trainer.global_step,
                        name,
                        photo.path.name,
                        captions[name][index],
                        photo.captions[0],
                    ]
                    writer.writerow(row)
        for name, texts in captions.items():
            if len(texts) >= 20 and len(set(texts)) < max(2, ALIKE * len(texts)):
                self.on_message(
                    f"WARNING: only {len(set(texts))} different captions for the {len(texts)} photos of {name!r} "
                    f"({texts[0]!r}): the model does not look at the photos. Early in a run this passes; "
                    "later, lower the learning rates or train longer."
                )


class ProgressMessages(Callback):
    """Gives a line after each validation."""

    def __init__(self, on_message: OnMessage) -> None:
        self.on_message = on_message

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("CIDEr/")}
        line = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.on_message(f"epoch {trainer.current_epoch + 1}  step {trainer.global_step}  {line}")


class EarlyStopping(Callback):
    """Ends the run after ``count`` validations in a row that were no better than the best CIDEr before them.

    Lightning's own does not count the validation before the first step, which says what a run has to beat.
    """

    def __init__(self, count: int, on_message: OnMessage) -> None:
        self.count = count
        self.on_message = on_message
        self.best = -1.0
        self.waited = 0

    @property
    def state_key(self) -> str:
        return "Patience"  # its name in checkpoints

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.waited = state_dict["best"], state_dict["waited"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        cider = float(trainer.callback_metrics["CIDEr"])
        self.waited = 0 if cider > self.best else self.waited + 1
        self.best = max(self.best, cider)
        if self.waited >= self.count:
            trainer.should_stop = True
            self.on_message(
                f"CIDEr has not risen above {self.best:.3f} in {self.waited} validations: the run ends here"
            )
