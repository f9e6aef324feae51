"""When a run's state is written, so that none of it is lost, and none of it is worthless."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

from wordgaze.errors import ModelError, first_line
from wordgaze.training.checkpoint_file import BEST, LAST, PREVIOUS, STATE_KEY, take_place


class SaveCheckpoints(Callback):
    """Writes ``last.ckpt`` every ``every`` steps, at the end of each epoch and of the run, and ``best.ckpt``.

    The best is the one with the highest CIDEr; epochs are validated every ``validate_every``, or never (0). A file is
    written beside the old one and then takes its place, so that there is always a whole one; of the last, the one
    before it stays as ``previous.ckpt``. None is written of weights that are not finite.
    """

    def __init__(self, folder: Path, every: int, validate_every: int) -> None:
        self.folder = folder
        self.every = every
        self.validate_every = validate_every
        self.best: float | None = None
        self._between_steps = False
        self._saved = False  # whether the state as it is has been saved
        self._validating = False
        self._averaged = False  # whether the module has the average's weights, for a validation

    @property
    def state_key(self) -> str:
        return STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Without its file a worse one is the best that there is.
        self.best = state_dict["best"] if (self.folder / BEST).exists() else None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._between_steps = self._saved = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_last_batch:
            # Before a validation there is nothing to save: a run that resumed there would go without it.
            validates = self.validate_every and (trainer.current_epoch + 1) % self.validate_every == 0
            if not validates:
                self.save(trainer)
        elif stepped:
            ends = trainer.global_step == trainer.max_steps or trainer.should_stop
            if ends or trainer.global_step % self.every == 0:
                self.save(trainer)
            self._between_steps = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validating = trainer.state.fn == "fit"

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._averaged = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._averaged = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validating = False
        cider = float(trainer.callback_metrics["CIDEr"])
        better = self.best is None or cider > self.best
        if better:
            self.best = cider
            self.save(trainer, BEST)
        if trainer.state.fn == "fit":  # the first weights' own score is no step to resume from
            self.save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lose no step by a photo that can't be read, Ctrl-C while photos are loaded, or anything in a validation."""
        if trainer.world_size > 1:  # the others do not know of it
            return
        if self._validating:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if self._averaged and isinstance(callback, WeightAveraging):
                    callback._swap_models(pl_module)
            self.save(trainer)
        elif self._between_steps and trainer.training:
            self.keep(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._validating:
            # As of a validation whose first batch has begun: whoever resumes there validates before the next epoch.
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for count in (progress["total"], progress["current"]):
                count.update(ready=1, started=1, processed=0, completed=0)
        # With an average, the first are its weights, and the second those that learn.
        for weights in ("state_dict", "current_model_state"):
            for name, tensor in checkpoint.get(weights, {}).items():
                if tensor.is_floating_point() and not tensor.isfinite().all():
                    raise not_finite(f"The weights {name.removeprefix('model.')} are", trainer.global_step)

    @property
    def can_save(self) -> bool:
        """Return whether a run could resume from the state as it is, and lose no step and no validation."""
        return self._between_steps or self._saved

    def keep(self, trainer: Trainer) -> None:
        """Write ``last.ckpt`` unless it holds the state as it is."""
        if not self._saved:
            self.save(trainer)

    def save(self, trainer: Trainer, name: str = LAST) -> None:
        """Write a checkpoint, whole or not at all; raise ModelError where that fails."""
        new = self.folder / f"{name}.new"
        self._saved = self._saved or name == LAST
        try:
            trainer.save_checkpoint(new)
            if trainer.is_global_zero:
                take_place(new, self.folder / name, self.folder / PREVIOUS if name == LAST else None)
        # torch's RuntimeError, of a full disk.
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise ModelError(
                f"The checkpoint {self.folder / name} can't be written ({first_line(error)}), but the one before "
                "is kept; free space, and the same command resumes from it."
            ) from error


def not_finite(what: str, step: int) -> ModelError:
    """Return the error of a run that has diverged: ``what``, such as "The loss is"."""
    return ModelError(
        f"{what} not finite at step {step}: the run ends here, and what it saved before is kept. Train again with a "
        "lower train.learning_rate and encoder.learning_rate, or more train.warmup_steps, into another --out or with "
        "--restart."
    )
