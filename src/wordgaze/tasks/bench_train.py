"""Steps of training side by side: cached features against none, one encoding for a photo's captions against one each.

Four ways to teach the decoder the same captions of the same photos; each loads a batch, then computes a step, by the
code that ``wordgaze train`` runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.device import fastest_precision
from wordgaze.folder import ModelParts
from wordgaze.tasks.bench import machine
from wordgaze.tasks.bench_clock import Rounds, peak_memory, synchronizer, take_turns
from wordgaze.training.augmentation import TrainTransform
from wordgaze.training.config import EncoderOptions, TrainOptions
from wordgaze.training.dataset import PhotoViews, TrainingBatch, TrainingDataset, Views, collate_training
from wordgaze.training.feature_cache import FeatureCache
from wordgaze.training.frozen import FrozenPart
from wordgaze.training.inputs import CachedInputs, ModelInputs, PixelInputs
from wordgaze.training.module import disable_fused_attention
from wordgaze.training.objectives import cross_entropy, teacher_forced
from wordgaze.training.optimizer import parameter_groups

CAPTIONS = (
    "a blue and orange bird is standing on a thin branch",
    "a small bird with a long beak sits on a branch",
    "a kingfisher on a twig in front of a green background",
    "a colorful bird looks down from a branch",
    "a bird with an orange belly rests on a piece of wood",
)
_MAX_LENGTH = 24


@dataclass(frozen=True)
class TrainBenchOptions:
    """``batch_size`` photos a step, with ``captions_per_photo`` each; ``rounds``: the most of any measurement."""

    batch_size: int = 8
    captions_per_photo: int = 3
    rounds: int = 3


@dataclass(frozen=True)
class Way:
    """A way to train; ``shared``: a photo is encoded once for all its captions, else once for each."""

    name: str
    frozen: bool
    cached: bool = False
    shared: bool = True


PAIRS = (
    (Way("frozen encoder, cached features", True, cached=True), Way("frozen encoder, from pixels", True)),
    (Way("one encoding a photo", False), Way("one encoding a caption", False, shared=False)),
)
"""Each way with the slower one that it takes turns with."""


@dataclass(frozen=True)
class TrainRow:
    """A way to train: seconds to load a batch and to compute a step, the medians of the rounds.

    ``photos_per_second``: of loading and computing one after the other; with worker processes the loading is hidden
    behind the computing. ``ratio``: how many times as long as the way before it a step takes, ``ratio_low`` and
    ``ratio_high`` of single rounds; None for the first of a pair.
    """

    model: str
    device: str
    precision: str
    way: str
    batch: int
    captions_per_photo: int
    load_seconds: float
    compute_seconds: float
    photos_per_second: float
    peak_bytes: int | None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None


class TrainBench:
    """The measurements of one model; ``folder`` takes the cache."""

    def __init__(
        self,
        name: str,
        parts: ModelParts,
        photos: Sequence[Path],
        options: TrainBenchOptions,
        folder: Path,
        device: str,
    ) -> None:
        self.name, self.parts, self.options, self.folder, self.device = name, parts, options, folder, device
        self.precision = fastest_precision(device) if device in ("cpu", "cuda") else "float32"
        self.model = parts.model.to(device)
        if device == "cpu":
            disable_fused_attention(self.model)
        paths = list(photos)[: options.batch_size]
        self.captioned = [CaptionedPhoto(number, path, CAPTIONS) for number, path in enumerate(paths)]
        self.views = PhotoViews(self.captioned, TrainTransform(parts.preprocessing), seed=0)

    def measure(self, on_row: Callable[[TrainRow], None]) -> dict[str, Any]:
        """Return all rows with the machine and the settings; each row is given to ``on_row`` when it is done."""
        rows = []
        for pair in PAIRS:
            # Before the optimizers of both are there.
            peaks = [peak_memory(self.device, TrainingWay(self, way).step)[0] for way in pair]
            ours, theirs = (TrainingWay(self, way) for way in pair)
            ours.step()
            theirs.step()
            loads = self._turns(ours.load, theirs.load)
            steps = self._turns(ours.step, theirs.step)
            rows.append(self._row(pair[0], loads.ours, steps.ours, peaks[0]))
            on_row(rows[-1])
            rows.append(self._row(pair[1], loads.theirs, steps.theirs, peaks[1], steps))
            on_row(rows[-1])
        settings = asdict(self.options)
        return {"rows": [asdict(row) for row in rows], "machine": machine(self.device), "settings": settings}

    def _turns(self, ours: Callable[[], Any], theirs: Callable[[], Any]) -> Rounds:
        return take_turns(ours, theirs, rounds=self.options.rounds, synchronize=synchronizer(self.device))

    def _row(
        self,
        way: Way,
        loads: tuple[float, ...],
        steps: tuple[float, ...],
        peak: int | None,
        beside: Rounds | None = None,
    ) -> TrainRow:
        load, compute, batch = Rounds(loads).seconds, Rounds(steps).seconds, self.options.batch_size
        low, high = (beside.spread if beside is not None else None) or (None, None)
        return TrainRow(
            model=self.name,
            device=self.device,
            precision=self.precision,
            way=way.name,
            batch=batch,
            captions_per_photo=self.options.captions_per_photo,
            load_seconds=load,
            compute_seconds=compute,
            photos_per_second=batch / (load + compute),
            peak_bytes=peak,
            ratio=None if beside is None else beside.ratio,
            ratio_low=low,
            ratio_high=high,
        )


class TrainingWay:
    """A way to train, ready for steps: what loads its batches, and what learns."""

    def __init__(self, bench: TrainBench, way: Way) -> None:
        self.bench, self.way, self.model = bench, way, bench.model
        self.options = TrainOptions()
        self.model.requires_grad_(True)
        self.frozen = FrozenPart(self.model.encoder, "all" if way.frozen else "none")
        self.frozen.freeze()
        self.learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = parameter_groups(self.model, EncoderOptions(), self.options)
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.views: Views = bench.views
        self.inputs: ModelInputs = PixelInputs(self.model, self.frozen)
        if way.cached:
            cached = CachedInputs(self.model, self.frozen)
            cache = FeatureCache(bench.folder / "features", bench.views, 1)
            device, bfloat16 = torch.device(bench.device), bench.precision == "bfloat16"
            self.model.eval()
            cache.fill(lambda pixel_values: cached.compute(pixel_values, device, bfloat16))
            self.views, self.inputs = cache, cached
        self.batch = self.load()

    def load(self) -> TrainingBatch:
        """Return the batch: photos read and changed at random, or their features read, and captions as ids."""
        tokenizer, count = self.bench.parts.tokenizer, self.bench.options.captions_per_photo
        data = TrainingDataset(self.bench.captioned, self.views, tokenizer.encode, count, seed=0)
        items = [data[0, index] for index in range(len(data))]
        return collate_training(items, tokenizer.pad_id, min(_MAX_LENGTH, self.model.config.decoder.positions))

    def step(self) -> None:
        """Learn from the batch."""
        self.backward()
        torch.nn.utils.clip_grad_norm_(self.learning, self.options.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def backward(self) -> None:
        """Add the gradients of the batch's loss to what learns."""
        self.model.train()
        self.frozen.eval()
        # The other way of the pair has other parts that learn.
        self.model.requires_grad_(False)
        for parameter in self.learning:
            parameter.requires_grad_(True)
        device, bfloat16 = self.bench.device, self.bench.precision == "bfloat16"
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            inputs = self.batch.inputs.to(device)
            if not self.way.shared:
                inputs = inputs.repeat_interleave(self.bench.options.captions_per_photo, dim=0)
            states = self.inputs.encode(inputs)
            input_ids, labels = self.batch.input_ids.to(device), self.batch.labels.to(device)
            logits, targets = teacher_forced(self.model, input_ids, labels, states)
            loss = cross_entropy(logits, targets, self.options.label_smoothing)
        loss.backward()
