"""Lightning's loggers beside ``log.csv``: TensorBoard and Weights & Biases, with pictures of sample captions.

``log.csv`` itself is ours: a run that resumes drops the rows that it will write again, which Lightning's CSVLogger
can't.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from wordgaze.data.photos import PhotoSource
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import ConfigError, WordgazeError, first_line
from wordgaze.folder import ModelParts
from wordgaze.training.callbacks import OnMessage, sample_indices
from wordgaze.training.run_folder import TENSORBOARD, RunFolder

DrawCaption = Callable[[ModelParts, PhotoSource], Image.Image]
"""(a model, a photo) → the photo with its caption, under the map of each word."""
_RUN = "LoggedRun"
PICTURES = 4
"""Photos drawn of each set after a validation."""


def make_loggers(names: Sequence[str], folder: RunFolder, run_id: str) -> list[Logger]:
    """Return Lightning's loggers of these ``names``; raise ConfigError where a package is missing."""
    return [_make_logger(name, folder, run_id) for name in dict.fromkeys(names)]


def _make_logger(name: str, folder: RunFolder, run_id: str) -> Logger:
    try:
        if name == "tensorboard":
            # What was logged after the checkpoint will be logged again.
            purge = None if folder.checkpoint is None else int(folder.checkpoint["global_step"]) + 1
            return TensorBoardLogger(folder.path, name="", version=TENSORBOARD, purge_step=purge)
        title = folder.path.resolve().name
        return WandbLogger(project="wordgaze", name=title, save_dir=folder.path, id=run_id)
    except ImportError as error:
        raise ConfigError(
            f"train.loggers names {name}, which is not installed ({first_line(error)}); "
            f'pip install "wordgaze[{name}]", or leave it out.'
        ) from error


def logged_run_id(checkpoint: Mapping[str, Any] | None) -> str:
    """Return the id under which Weights & Biases knows the run of a checkpoint, or a new one."""
    known = {} if checkpoint is None else checkpoint["callbacks"].get(_RUN, {})
    return str(known.get("id") or uuid.uuid4().hex[:12])


class LoggedRun(Callback):
    """Keeps the run's ``run_id`` in checkpoints, so that a run that resumes goes on in the same one there."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    @property
    def state_key(self) -> str:
        return _RUN

    def state_dict(self) -> dict[str, Any]:
        return {"id": self.run_id}


class SamplePictures(Callback):
    """Logs pictures of a few validation photos: each with its caption, and with a map for every word.

    They show the weights that the validation has scored: the average, where there is one. ``draw`` is given a copy of
    the model on the CPU, and changes nothing that the run goes on with.
    """

    def __init__(
        self,
        parts: ModelParts,
        validation: Mapping[str, Sequence[CaptionedPhoto]],
        draw: DrawCaption,
        on_message: OnMessage,
        count: int = PICTURES,
    ) -> None:
        self.parts = parts
        self.validation = validation
        self.draw = draw
        self.on_message = on_message
        self.count = count

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # At the end of the last set's last batch, while the averaged weights are still in place.
        last = dataloader_idx == len(self.validation) - 1 and batch_idx == trainer.num_val_batches[dataloader_idx] - 1
        if not last or not trainer.loggers:
            return
        # Gradient maps need what inference mode forbids; whatever is random here must not shift the run's numbers.
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            parts = replace(self.parts, model=copy.deepcopy(self.parts.model).cpu().float().eval())
            for name, photos in self.validation.items():
                for number, index in enumerate(sample_indices(len(photos), self.count), start=1):
                    self._log(trainer, parts, f"samples/{name}/{number}", photos[index])

    def _log(self, trainer: Trainer, parts: ModelParts, tag: str, photo: CaptionedPhoto) -> None:
        try:
            picture = self.draw(parts, photo.source).convert("RGB")
        except WordgazeError as error:
            self.on_message(f"no picture of {photo.path}: {error}")
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(tag, np.asarray(picture), trainer.global_step, dataformats="HWC")
            elif isinstance(logger, WandbLogger):
                logger.log_image(tag, [picture], step=trainer.global_step)
