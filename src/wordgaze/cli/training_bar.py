"""The bar of a training run, on a terminal."""

from __future__ import annotations

from typing import Any

# Before Lightning, which imports torchvision.
from wordgaze import compat as compat

# isort: split
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingBar(Callback):
    """Shows steps done, loss, photos a second and the time left."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:.1f} photos/s  left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._task: Any = None

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        total = int(trainer.estimated_stepping_batches)
        self._task = self._bar.add_task("", total=total, completed=trainer.global_step, epoch=1, loss=0.0, rate=0.0)
        self._bar.start()

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        speed = self._bar.tasks[0].speed or 0.0
        self._bar.update(
            self._task,
            completed=trainer.global_step,
            epoch=trainer.current_epoch + 1,
            loss=float(outputs["loss"]) * trainer.accumulate_grad_batches,
            rate=speed * self.batch_size * trainer.accumulate_grad_batches * trainer.world_size,
        )

    @rank_zero_only
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._bar.stop()
