"""A training run: from a config to a model folder, resumed where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning.pytorch as pl

from wordgaze.folder import ModelParts, save_folder
from wordgaze.generation.options import GenerationOptions
from wordgaze.signals import StopSignals
from wordgaze.training.callbacks import OnMessage
from wordgaze.training.card import make_card
from wordgaze.training.config import TrainingConfig
from wordgaze.training.devices import check_devices
from wordgaze.training.drawn import DrawnSources
from wordgaze.training.fit import fit
from wordgaze.training.kept_photos import KeptPhotos
from wordgaze.training.load_data import load_data
from wordgaze.training.loggers import DrawCaption
from wordgaze.training.run_folder import RunFolder
from wordgaze.training.starting_model import starting_model


@dataclass(frozen=True)
class TrainingResult:
    """``folder`` is a model folder with the best averaged weights; ``cider`` is theirs on the validation photos.

    ``first``: whether this is the first, or only, of the processes that have trained.
    """

    folder: Path
    cider: float | None
    steps: int
    first: bool = True


def _silent(line: str) -> None:
    """Say nothing, by default and in the processes of further devices, which would say what the first one says."""


def train(
    config: TrainingConfig,
    out: str | Path,
    *,
    restart: bool = False,
    on_message: OnMessage = _silent,
    callbacks: Sequence[pl.Callback] = (),
    inputs: Iterable[str | Path] = (),
    draw: DrawCaption | None = None,
    command: str | None = None,
) -> TrainingResult:
    """Train, or resume from ``out``/checkpoints/last.ckpt, and leave ``out`` a model folder.

    ``on_message`` is given the lines that a person may want to read meanwhile; ``callbacks`` are Lightning's.
    ``inputs`` are files beside those of the config that must not be written over, such as the config itself. ``draw``
    makes the pictures for ``train.loggers``; the card says the ``command`` that made the model. Nothing is written or
    deleted before everything has been checked.
    """
    check_devices(config.train.accelerator, config.train.devices)
    folder = RunFolder(out, config, inputs, restart)
    folder.open()
    config.check()
    if not folder.first:
        on_message = _silent
    signals = StopSignals()
    with signals.caught(), folder.locked(), DrawnSources(folder) as drawn:
        data = load_data(config.data, drawn, on_message, KeptPhotos.in_checkpoint(folder.checkpoint))
        pl.seed_everything(config.train.seed, workers=True, verbose=False)
        # That a feature map's network has weights for a head it has not is no news.
        logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
        start = starting_model(data, folder.tokenizer(), config.encoder, config.decoder, config.tokenizer, config.train)
        folder.check_tokenizer(start.parts.tokenizer)
        data = data.without_empty(start.parts.tokenizer, on_message)
        fitted = fit(
            start, data, folder, config.encoder, config.train, config.generation, on_message, signals, callbacks, draw
        )
        if folder.first:
            save(start.parts, config.generation, folder.path, make_card(config, data, fitted, command))
    return TrainingResult(folder.path, fitted.cider, fitted.steps, folder.first)


def save(parts: ModelParts, generation: GenerationOptions, folder: Path, card: str) -> None:
    """Write the model folder; without options of its own a run keeps those of the model that it started from."""
    if generation == GenerationOptions():
        generation = parts.generation
    parts.model.float().eval()
    # The confidence of the model that the run started from is not that of the trained one.
    save_folder(replace(parts, generation=generation, confidence=None), folder, card=card)
