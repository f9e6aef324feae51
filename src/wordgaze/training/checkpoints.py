"""When a run's state is written, so that none of it is lost, and none of it is worthless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from wordgaze.errors import ModelError, first_line


class Checkpoints(Callback):
    """Writes ``last.ckpt`` every ``every`` steps, at the end of each epoch and of the run, and ``best.ckpt``.

    The best is the one with the highest CIDEr; epochs are validated every ``validate_every``, or never (0). A file is
    written beside the old one and then takes its place, so that there is always a whole one; none is written of weights
    that are not finite.
    """

    def __init__(self, folder: Path, every: int, validate_every: int) -> None:
        self.folder = folder
        self.every = every
        self.validate_every = validate_every
        self.best: float | None = None
        self._between_steps = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._between_steps = False

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

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        cider = float(trainer.callback_metrics["CIDEr"])
        better = self.best is None or cider > self.best
        if better:
            self.best = cider
            self.save(trainer, "best.ckpt")
        if trainer.state.fn == "fit":  # the first weights' own score is no step to go on from
            self.save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A photo that can't be read, or Ctrl-C while photos are loaded: what was trained until then is kept."""
        if self._between_steps and trainer.training and trainer.world_size == 1:
            self._between_steps = False
            self.save(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for weights in (
            "state_dict",
            "current_model_state",
        ):  # with an average, the second are those that learn
            for name, tensor in checkpoint.get(weights, {}).items():
                if tensor.is_floating_point() and not tensor.isfinite().all():
                    raise not_finite(f"The weights {name.removeprefix('model.')} are", trainer.global_step)

    def save(self, trainer: Trainer, name: str = "last.ckpt") -> None:
        new = self.folder / f"{name}.new"
        try:
            trainer.save_checkpoint(new)
            if trainer.is_global_zero:
                new.replace(self.folder / name)
        except (OSError, RuntimeError) as error:  # torch's, of a full disk
            raise ModelError(
                f"The checkpoint {self.folder / name} can't be written ({first_line(error)}), and the one before "
                "stays; free space, and the same command goes on from there."
            ) from error


def not_finite(what: str, step: int) -> ModelError:
    return ModelError(
        f"{what} not finite at step {step}: the run ends here, and checkpoints of before are kept. Train again with a "
        "lower train.learning_rate and encoder.learning_rate, or more train.warmup_steps, into another --out or with "
        "--restart."
    )
