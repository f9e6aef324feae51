"""What ends a run, or is left out of it: a loss that is not finite, photos that can't be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import DataError
from wordgaze.training.callbacks import OnMessage
from wordgaze.training.checkpoints import SaveCheckpoints, not_finite
from wordgaze.training.dataset import PhotoBatch, TrainingBatch


class FiniteLoss(Callback):
    """Ends a run whose loss is not finite: at once on a CPU; where asking costs time, every ``every`` steps."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._losses: list[tuple[int, Tensor]] = []  # since the last check, each with its step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        step = trainer.global_step + (not stepped)
        self._losses.append((step, outputs["loss"].detach()))
        if self.at_once(trainer) or trainer.is_last_batch or (stepped and step % self.every == 0):
            self._check(trainer)

    @staticmethod
    def at_once(trainer: Trainer) -> bool:
        return trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu"

    def _check(self, trainer: Trainer) -> None:
        steps, losses = zip(*self._losses, strict=True)
        self._losses = []
        finite = torch.stack(losses).isfinite().tolist()
        # Of several processes, all must end together.
        if trainer.strategy.reduce_boolean_decision(all(finite), all=True):
            return
        step = steps[finite.index(False)] if False in finite else steps[0]
        raise not_finite("The loss is", step)


class RisingLoss(Callback):
    """Says once, as it happens, that a run's loss has risen far above the lowest: it diverges, though not to infinity.

    Compared are means of at least ``every`` steps. Of cross-entropy alone: a self-critical loss goes around 0.
    """

    _STEPS = 10  # in a mean, at least
    _FACTOR, _TIMES = 1.3, 2  # so far above the lowest mean, so often in a row

    def __init__(self, every: int, on_message: OnMessage) -> None:
        self.every = max(every, self._STEPS)
        self.on_message = on_message
        self.lowest: float | None = None
        self.above = 0
        self._losses: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "above": self.above}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest, self.above = state_dict["lowest"], state_dict["above"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)
        if len(self._losses) < self.every * trainer.accumulate_grad_batches:
            return
        mean, self._losses = float(torch.stack(self._losses).mean()), []
        if self.lowest is None or mean <= self.lowest:
            self.lowest = mean
        self.above = self.above + 1 if mean > self._FACTOR * self.lowest else 0
        if self.above == self._TIMES and trainer.is_global_zero:
            self.on_message(
                f"WARNING: the loss has risen from {self.lowest:.2f} to {mean:.2f} at step {trainer.global_step}: the "
                "run diverges. Train again with half the train.learning_rate and encoder.learning_rate, or more "
                "train.warmup_steps, into another --out or with --restart."
            )


class BrokenPhotos(Callback):
    """Reports once of each photo that it can't be read, and at the end how many there were.

    If they are to ``stop`` the run, one to validate on does so when its scores are saved; and of several processes, of
    which each sees some photos, all end together, within ``every`` steps.
    """

    def __init__(
        self,
        validation: Mapping[str, Sequence[CaptionedPhoto]],
        checkpoints: SaveCheckpoints,
        on_message: OnMessage,
        stop: bool,
        every: int,
    ) -> None:
        self.validation = validation
        self.checkpoints = checkpoints
        self.on_message = on_message
        self.stop = stop
        self.every = every
        self._broken: dict[str, str] = {}  # why, by path
        self._reported: set[str] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TrainingBatch, batch_idx: int
    ) -> None:
        self._broken |= {str(path): reason for path, reason in batch.broken.items()}
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.world_size == 1:
            self._report()
        elif stepped and trainer.global_step % self.every == 0 and not trainer.is_last_batch:
            self._gather(trainer)
            if self.stop and self._broken:
                self.checkpoints.save(trainer)
                self._end()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: PhotoBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        photos = list(self.validation.values())[dataloader_idx]
        self._broken |= {str(photos[index].path): reason for index, reason in batch.broken.items()}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._gather(trainer)
        if self.stop and self._broken:
            self._end()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._gather(trainer)
        if self._broken:
            self.on_message(
                f"{len(self._broken)} photos could not be read while training; the run continued without them"
            )

    def _gather(self, trainer: Trainer) -> None:
        if trainer.world_size > 1:
            shares: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, self._broken)
            for share in shares:
                self._broken |= share
        self._report()

    def _report(self) -> None:
        for path, reason in self._broken.items():
            if path not in self._reported and not self.stop:
                self._reported.add(path)
                self.on_message(f"left out: the photo {path} {reason}")

    def _end(self) -> None:
        path, reason = next(iter(self._broken.items()))
        raise DataError(
            f"The photo {path} can't be used: it {reason}; or set data.on_broken to skip, to train without it."
        )
