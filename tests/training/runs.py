"""What a training run leaves, as tests compare it."""

import csv
from dataclasses import fields, replace

import lightning.pytorch as pl
from safetensors.torch import load_file

from wordgaze.tasks.train import train
from wordgaze.training.config import DecoderOptions, EncoderOptions, TokenizerOptions


class Interrupt(pl.Callback):
    """Press Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def weights_of(folder):
    """Return the tensors of a model folder by name."""
    return load_file(folder / "model.safetensors")


def rows_of(path):
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def losses_of(folder):
    """Return the logged losses of a run by step."""
    return {int(row["step"]): row["loss"] for row in rows_of(folder / "log.csv") if row["loss"]}


def untimed(row):
    """Return a row of a log without what differs from run to run."""
    return {name: value for name, value in row.items() if name not in ("seconds", "photos_per_second")}


def self_critical(small_config, tmp_path, **options):
    """Train a model; return the config of a self-critical run that starts from it."""
    parent = train(small_config(train={"epochs": 2}), tmp_path / "parent")
    fields = {"objective": "scst", "initial_model": str(parent.folder), "samples": 3, "learning_rate": 1e-4}
    config = small_config(train=fields | options)
    sizes = {"tokenizer": TokenizerOptions(), "encoder": EncoderOptions(), "decoder": DecoderOptions()}
    return replace(config, **sizes)


def with_settings(options, **settings):
    """Return a group's options with other values of some settings, those of its shape too."""
    shape = getattr(options, "shape", None)
    if shape is not None:
        names = {field.name for field in fields(shape)} & settings.keys()
        settings["shape"] = replace(shape, **{name: settings.pop(name) for name in names})
    return replace(options, **settings)
