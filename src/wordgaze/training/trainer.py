"""Lightning's Trainer, with what a run of ours does beside its steps."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wordgaze.errors import ConfigError, first_line
from wordgaze.signals import StopSignals
from wordgaze.training.callbacks import (
    EarlyStopping,
    OnMessage,
    ProgressMessages,
    SampleCaptions,
    TrainingLog,
)
from wordgaze.training.checkpoint_file import CheckpointFiles
from wordgaze.training.checkpoints import SaveCheckpoints
from wordgaze.training.config import TrainOptions, logger_names
from wordgaze.training.devices import choose_precision, count_devices
from wordgaze.training.load_data import TrainingData
from wordgaze.training.loggers import LoggedRun, logged_run_id, make_loggers
from wordgaze.training.run_folder import RunFolder
from wordgaze.training.self_critical import MEASURES
from wordgaze.training.sharded import sharding
from wordgaze.training.stop import StopAfterCheckpoint
from wordgaze.training.watch import BrokenPhotos, FiniteLoss, RisingLoss


def make_trainer(
    train: TrainOptions,
    data: TrainingData,
    folder: RunFolder,
    on_message: OnMessage,
    signals: StopSignals,
    more: Sequence[pl.Callback] = (),
) -> pl.Trainer:
    """Return a Trainer, with ``more`` callbacks; raise ConfigError where its devices or loggers don't work here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    run_id = logged_run_id(folder.checkpoint)
    loggers = make_loggers(logger_names(train.loggers), folder, run_id)
    if loggers:
        more = (*more, LoggedRun(run_id))
    try:
        return pl.Trainer(
            accelerator=train.accelerator,
            devices=train.devices,
            strategy=sharding(count_devices(train.accelerator, train.devices))
            if train.strategy == "fsdp"
            else train.strategy,
            precision=choose_precision(train.precision, train.accelerator),
            max_epochs=train.epochs,
            max_steps=train.max_steps,
            check_val_every_n_epoch=train.validate_every,
            gradient_clip_val=train.gradient_clip or None,
            accumulate_grad_batches=train.accumulate,
            callbacks=_callbacks(train, data, folder, on_message, signals, more),
            logger=loggers or False,
            # SaveCheckpoints instead of ModelCheckpoint, which keeps no whole file before the last, and none of a
            # validation that was interrupted.
            enable_checkpointing=False,
            plugins=[CheckpointFiles()],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the data module's own sampler shares the photos out
            log_every_n_steps=train.log_every,
        )
    except MisconfigurationException as error:
        raise ConfigError(
            f"train.accelerator {train.accelerator!r} with train.devices {train.devices!r} does not work here "
            f"({first_line(error)}); give 'cpu' or 'auto'."
        ) from error


def _callbacks(
    train: TrainOptions,
    data: TrainingData,
    folder: RunFolder,
    on_message: OnMessage,
    signals: StopSignals,
    more: Sequence[pl.Callback],
) -> list[pl.Callback]:
    photos, names = data.validation_photos, list(data.validation)
    measured = MEASURES if train.objective == "scst" else ()
    callbacks: list[pl.Callback] = [FiniteLoss(train.log_every)]
    if train.objective == "cross_entropy":
        callbacks.append(RisingLoss(train.log_every, on_message))
    if train.ema_decay:
        # By interpolation, which leaves frozen weights as they are; the weighted sum of EMAWeightAveraging rounds them.
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(train.ema_decay)))
    callbacks += [
        TrainingLog(folder.log, train.log_every, data.options.batch_size, names, measured),
        SampleCaptions(folder.samples, photos, on_message),
        ProgressMessages(on_message),
    ]
    if train.patience:
        callbacks.append(EarlyStopping(train.patience, on_message))
    validate_every = train.validate_every if names else 0
    checkpoints = SaveCheckpoints(folder.checkpoints, train.checkpoint_every, validate_every)
    stop = data.options.on_broken == "stop"
    broken = BrokenPhotos(photos, checkpoints, on_message, stop, train.log_every)
    stopping = StopAfterCheckpoint(signals, checkpoints, on_message, train.log_every)
    return [*callbacks, *more, checkpoints, broken, stopping]
