"""How a run of training ends by SIGTERM or Ctrl-C: after a checkpoint, and then by the signal itself."""

from __future__ import annotations

import signal
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from wordgaze.signals import StopSignals
from wordgaze.training.callbacks import OnMessage
from wordgaze.training.checkpoint_file import LAST
from wordgaze.training.checkpoints import SaveCheckpoints


class StopAfterCheckpoint(Callback):
    """Ends a run that has received a signal, once what it has learned is saved.

    Of several processes, of which one may have received it, all end together, within ``every`` steps.
    """

    def __init__(self, signals: StopSignals, checkpoints: SaveCheckpoints, on_message: OnMessage, every: int) -> None:
        self.signals = signals
        self.checkpoints = checkpoints
        self.on_message = on_message
        self.every = every

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.install()
        self.signals.waits = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.install()
        self.signals.waits = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = trainer.world_size == 1 or trainer.global_step % self.every == 0
        if self.checkpoints.can_save and due and self._is_received(trainer):
            self.checkpoints.keep(trainer)
            raise KeyboardInterrupt

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # SaveCheckpoints keeps what was learned before it.
        if trainer.world_size == 1 and self.signals.received is not None:
            raise KeyboardInterrupt

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_received(trainer):
            raise KeyboardInterrupt
        self.signals.waits = trainer.state.fn == "fit"

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.waits = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.signals.waits = False
        if isinstance(exception, KeyboardInterrupt) and self.signals.received is not None:
            name, last = signal.Signals(self.signals.received).name, self.checkpoints.folder / LAST
            resumes = f"resumes from {last}" if last.exists() else "begins anew: there was no step to save yet"
            self.on_message(f"stopped by {name}; the same command {resumes}")

    def _is_received(self, trainer: Trainer) -> bool:
        """Return whether this or another process has received a signal."""
        received = self.signals.received is not None
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(received, all=False):
            self.signals.received = self.signals.received or signal.SIGTERM
        return self.signals.received is not None
