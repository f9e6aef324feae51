"""What a run would take, before it begins: parameters, memory, steps and time. Nothing is written."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wordgaze.data.captions import CaptionSet
from wordgaze.folder import ModelParts
from wordgaze.training.callbacks import OnMessage
from wordgaze.training.config import EncoderOptions, TrainingConfig
from wordgaze.training.dataset import collate_photos, collate_training
from wordgaze.training.devices import check_devices, choose_precision, count_devices, device_of, is_bfloat16
from wordgaze.training.drawn import DrawnSources
from wordgaze.training.fit import choose_inputs, compile_layers, freeze_encoder, make_data_module, self_critical_step
from wordgaze.training.kept_photos import KeptPhotos
from wordgaze.training.load_data import TrainingData, load_data
from wordgaze.training.module import CaptionModule
from wordgaze.training.run_folder import RunFolder
from wordgaze.training.starting_model import starting_model

_SAMPLE = 4
"""Batches of training photos that the measurement sees."""
_SECONDS, _LEAST, _MOST = 10.0, 3, 20
"""How long, and how many, steps are measured after the first."""
_WORKING = 1.15
"""A backward pass holds some gradients of activations beside the activations themselves."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a run, estimated from a step on a few photos.

    ``before``: what the process holds before the first step; on a GPU, the weights. ``state``: gradients, Adam's two
    averages and the weights' own. ``step``: activations of a whole batch, or the checkpoint that is read at the end.
    """

    before: int
    state: int
    step: int

    @property
    def total(self) -> int:
        return self.before + self.state + self.step


@dataclass(frozen=True)
class Plan:
    """A run as it would be; ``step_seconds`` and ``validation_seconds`` are None where it would not fit the memory.

    ``parts``: (name, parameters, of these trained). ``measured``: the peak of the steps that were measured, in bytes.
    ``fill_seconds``: to compute the frozen layers' output, before the first step.
    """

    parts: tuple[tuple[str, int, int], ...]
    photos: int
    captions: int
    validation: dict[str, int]
    steps: int
    steps_per_epoch: int
    done: int
    validations: int
    memory: Memory
    available: int | None
    measured: int | None
    step_seconds: float | None
    validation_seconds: float
    fill_seconds: float
    out: Path

    @property
    def seconds(self) -> float | None:
        """Return how long the rest of the run would take."""
        if self.step_seconds is None:
            return None
        left = self.steps - self.done
        return self.fill_seconds + left * self.step_seconds + self.validations * self.validation_seconds

    def rows(self) -> list[tuple[str, str]]:
        """Return what ``wordgaze train --dry-run`` prints: names, and a line each."""
        size = sum(own for _, own, _ in self.parts)
        trained = sum(learning for _, _, learning in self.parts)
        each = ", ".join(f"{name} {_millions(own)} ({_millions(learning)})" for name, own, learning in self.parts)
        sets = ", ".join(f"{name} {count:,}" for name, count in self.validation.items()) or "none"
        resumed = f", {self.done:,} of them done" if self.done else ""
        rows = [
            ("parameters", f"{_millions(size)}: {_millions(trained)} trained, {_millions(size - trained)} frozen"),
            ("of these", f"{each}: all (trained)"),
            ("photos", f"{self.photos:,} with {self.captions:,} captions; validation: {sets}"),
            ("steps", f"{self.steps:,}, {self.steps_per_epoch:,} an epoch{resumed}; {self.validations:,} validations"),
            ("memory", self._memory()),
        ]
        if self.seconds is None:
            rows.append(("time", "not measured: it would not fit; lower data.batch_size, raise train.accumulate"))
        else:
            fill = f", {_duration(self.fill_seconds)} for frozen features" if self.fill_seconds else ""
            rows.append(
                (
                    "time",
                    f"about {_duration(self.seconds)}: {self.step_seconds:.3g} s a step, "
                    f"{_duration(self.validation_seconds)} a validation{fill}",
                )
            )
        return [*rows, ("writes into", f"{self.out} (nothing was written now)")]

    def _memory(self) -> str:
        of = "" if self.available is None else f" of {_gibibytes(self.available)} that are free"
        measured = "" if self.measured is None else f"; at its peak the measurement took {_gibibytes(self.measured)}"
        parts = ", ".join(
            f"{_gibibytes(value)} {what}"
            for what, value in (
                ("before the first step", self.memory.before),
                ("for gradients, Adam and averages", self.memory.state),
                ("for a batch", self.memory.step),
            )
        )
        return f"about {_gibibytes(self.memory.total)}{of} ({parts}){measured}"


def make_plan(
    config: TrainingConfig, out: str | Path, *, restart: bool = False, on_message: OnMessage = lambda line: None
) -> Plan:
    """Return what ``wordgaze train`` would do with ``config``; check all that it checks, and measure a few steps.

    Several devices are not started: what is measured is one of them.
    """
    check_devices(config.train.accelerator, config.train.devices)
    folder = RunFolder(out, config, (), restart)
    folder.open()
    config.check()
    with DrawnSources(folder) as drawn, TemporaryDirectory(prefix="wordgaze-") as scratch:
        data = load_data(config.data, drawn, on_message, KeptPhotos.in_checkpoint(folder.checkpoint))
        pl.seed_everything(config.train.seed, workers=True, verbose=False)
        start = starting_model(data, folder.tokenizer(), config.encoder, config.decoder, config.tokenizer, config.train)
        folder.check_tokenizer(start.parts.tokenizer)
        data = data.without_empty(start.parts.tokenizer, on_message)
        encoder = config.encoder
        if encoder.cache is not None:
            encoder = replace(encoder, cache=scratch, cache_views=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            measured = _Measurement(start.parts, _sample(data), encoder, config, on_message)
            return measured.plan(data, folder, start.is_initial)


def _sample(data: TrainingData) -> TrainingData:
    """Return a few batches of the training photos, those with the longest captions first, as they lie on the disk."""
    count = _SAMPLE * data.options.batch_size
    stride = max(1, len(data.training) // count)
    photos = [replace(photo, path=data.drawn.current(photo.path)) for photo in data.training.photos[::stride][:count]]
    photos.sort(key=lambda photo: -max(map(len, photo.captions)))
    validation = {
        name: replace(
            captions,
            photos=tuple(
                replace(photo, path=data.drawn.current(photo.path))
                for photo in captions.photos[: 2 * data.options.batch_size]
            ),
        )
        for name, captions in data.validation.items()
    }
    return replace(data, training=CaptionSet(tuple(photos), data.training.description), validation=validation)


class _Measurement:
    """A few steps of a run, on a ``sample`` of its photos."""

    def __init__(
        self,
        parts: ModelParts,
        sample: TrainingData,
        encoder: EncoderOptions,
        config: TrainingConfig,
        on_message: OnMessage,
    ) -> None:
        self.parts, self.sample, self.config = parts, sample, config
        train = config.train
        frozen = freeze_encoder(parts, encoder)
        began = time.perf_counter()
        views, inputs = choose_inputs(parts, sample, frozen, encoder, train, True, lambda line: None)
        self.fill_seconds = (time.perf_counter() - began) / len(sample.training) if encoder.cache else 0.0
        self.data_module = make_data_module(parts, sample, views, train.seed)
        self.module = CaptionModule(
            parts.model,
            parts.tokenizer,
            inputs,
            sample.validation_photos,
            encoder=encoder,
            train=train,
            generation=config.generation,
            self_critical=self_critical_step(parts, sample, train),
        )

    def plan(self, data: TrainingData, folder: RunFolder, is_initial: bool) -> Plan:
        """Return the plan of the run on all of ``data``."""
        train, options = self.config.train, data.options
        memory, available = self._memory(), _available(device_of(train.accelerator))
        fits = available is None or memory.total - memory.before < available
        step_seconds, measured = self._step_seconds() if fits else (None, None)
        batches = len(data.training) // count_devices(train.accelerator, train.devices) // options.batch_size
        per_epoch = math.ceil(batches / train.accumulate)
        steps = per_epoch * train.epochs if train.max_steps < 0 else min(train.max_steps, per_epoch * train.epochs)
        done = 0 if folder.checkpoint is None else int(folder.checkpoint["global_step"])
        epochs = math.ceil((steps - done) / per_epoch)
        # Once before the first step, too, for a model that captions already; and where the run ends.
        validations = (math.ceil(epochs / train.validate_every) + (is_initial and not done)) if data.validation else 0
        photos = sum(map(len, data.validation.values()))
        return Plan(
            parts=tuple(_count(self.parts.model)),
            photos=len(data.training),
            captions=data.captions,
            validation={name: len(captions) for name, captions in data.validation.items()},
            steps=steps,
            steps_per_epoch=per_epoch,
            done=done,
            validations=validations,
            memory=memory,
            available=available,
            measured=measured,
            step_seconds=step_seconds,
            validation_seconds=self._validation_seconds() * photos if data.validation else 0.0,
            fill_seconds=self.fill_seconds * len(data.training) * self.config.encoder.cache_views,
            out=folder.path,
        )

    def _memory(self) -> Memory:
        """Return the estimate, from activations of two and of four photos: they grow with the batch."""
        model, train, batch_size = self.parts.model, self.config.train, self.data_module.batch_size
        device = device_of(train.accelerator)
        weights = _bytes([*model.parameters(), *model.buffers()])
        learning = _bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
        before = weights if device.type == "cuda" else _resident()
        self.module.to(device).train()
        few, more = min(2, batch_size), min(4, batch_size)
        small = self._activations(few, device)
        each = (self._activations(more, device) - small) / (more - few) if more > few else 0.0
        self.module.cpu()
        activations = small + each * (batch_size - few)
        average = weights if train.ema_decay else 0
        # The best checkpoint is read at the end, all of it, while the optimizer is still there.
        checkpoint = weights + average + 2 * learning if self.sample.validation and device.type == "cpu" else 0
        return Memory(before, 3 * learning + average, max(round(_WORKING * activations), checkpoint))

    def _activations(self, count: int, device: torch.device) -> int:
        """Return the bytes that a step on ``count`` photos keeps for its backward pass."""
        kept: dict[int, int] = {parameter.untyped_storage().data_ptr(): 0 for parameter in self.module.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept.setdefault(storage.data_ptr(), storage.nbytes())
            return tensor

        items = [self.data_module.train_set[(0, index)] for index in range(count)]
        batch = collate_training(items, pad_id=self.data_module.pad_id, max_length=self.data_module.max_length)
        batch = self.module.transfer_batch_to_device(batch, device, 0)
        train = self.config.train
        bfloat16 = is_bfloat16(train.precision, train.accelerator)
        # Without dropout's masks a pass would look smaller than it is.
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
        ):
            loss = self.module.training_step(batch, 0)
        del loss
        return sum(kept.values())

    def _step_seconds(self) -> tuple[float, int | None]:
        """Return the median seconds of a step, and the peak of the process's memory."""
        train, clock = self.config.train, _Clock(self.config.train.accumulate)
        callbacks: list[pl.Callback] = [clock]
        if train.ema_decay:
            callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(train.ema_decay)))
        if train.compile:
            compile_layers(self.parts.model)
        trainer = pl.Trainer(
            accelerator=train.accelerator,
            devices=1,
            precision=choose_precision(train.precision, train.accelerator),
            max_epochs=-1,
            max_steps=_MOST + 2,
            gradient_clip_val=train.gradient_clip or None,
            accumulate_grad_batches=train.accumulate,
            callbacks=callbacks,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(self.module, self.data_module)
        if self.module.device.type == "cuda":
            return clock.median, torch.cuda.max_memory_allocated()
        return clock.median, _peak()

    def _validation_seconds(self) -> float:
        """Return the seconds that a validation takes for a photo."""
        dataset = next(iter(self.data_module.validation_sets.values()))
        batch = collate_photos([dataset[index] for index in range(len(dataset))])
        device = device_of(self.config.train.accelerator)
        self.module.to(device).eval()
        self.module.on_validation_epoch_start()
        with torch.inference_mode():
            batch = self.module.transfer_batch_to_device(batch, device, 0)
            began = time.perf_counter()
            self.module.validation_step(batch, 0, 0)
        return (time.perf_counter() - began) / len(dataset)


class _Clock(pl.Callback):
    """Takes the time of steps, and ends the measurement; the first step is not counted."""

    def __init__(self, accumulate: int) -> None:
        self.accumulate = accumulate
        self.times: list[float] = []

    @property
    def median(self) -> float:
        seconds = sorted(later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False))
        return seconds[len(seconds) // 2]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.fit_loop._should_accumulate():
            return
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        measured = len(self.times) - 1
        if (measured >= _LEAST and self.times[-1] - self.times[0] >= _SECONDS) or measured >= _MOST:
            trainer.should_stop = True


def _count(model: nn.Module) -> Iterator[tuple[str, int, int]]:
    for name, part in model.named_children():
        parameters = list(part.parameters())
        if parameters:
            learning = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
            yield name, sum(parameter.numel() for parameter in parameters), learning


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _resident() -> int:
    """Return the bytes that this process holds; where the system does not say, the most that it has held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _peak()


def _peak() -> int:
    # In KiB, on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _available(device: torch.device) -> int | None:
    """Return the bytes that are free, or None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    [kib] = [line.split()[1] for line in lines if line.startswith("MemAvailable")]
    return int(kib) * 1024


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M"


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
