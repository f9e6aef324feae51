"""Captions a second and peak memory, phase by phase, beside transformers' ``generate`` on the same weights.

What is measured, on the same photos by all:

- **phases** of one batch, one after the other: ``open`` (the files, decoded by one thread), ``preprocess``,
  ``encode`` and ``generate``, with captions of exactly ``words`` tokens on both sides;
- **whole** captioning, from files to text by ``Captioner.caption`` with the model's own options, beside the plain
  forward pass of the encoder alone over the same photos.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordgaze.captioner import Captioner
from wordgaze.captioning.captions import generate_captions
from wordgaze.convert.load import load_model
from wordgaze.data.photos import open_photo
from wordgaze.device import arithmetic, default_allocation, find_device
from wordgaze.generation.limits import check_fits
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.torch_stepper import fast_stepper
from wordgaze.tasks.bench_clock import Rounds, peak_memory, synchronizer, take_turns
from wordgaze.tasks.bench_decoders import TransformersDecoder, transformers_decoder
from wordgaze.tasks.bench_models import SHAPES, random_parts
from wordgaze.text.tokenizer import SpecialIds

BATCH_SIZES = (1, 8, 32)
NUM_BEAMS = (1, 3, 5)
PHASES = ("open", "preprocess", "encode", "generate")
_MOST_BATCHES = 4  # of a run of whole captioning, which decodes one batch while it encodes another


@dataclass(frozen=True)
class BenchOptions:
    """``words``: tokens of every caption whose generation is timed; ``rounds``: the most of any measurement.

    ``generation_only``: the encoder states are random, and nothing but generation is measured.
    """

    batch_sizes: tuple[int, ...] = BATCH_SIZES
    num_beams: tuple[int, ...] = NUM_BEAMS
    words: int = 16
    rounds: int = 5
    generation_only: bool = False

    def most_photos(self) -> int:
        return max(photos_of_whole(batch) for batch in self.batch_sizes)


@dataclass(frozen=True)
class PhaseRow:
    """A phase of one batch: the medians of its rounds; ``ratio``: transformers' seconds over ours.

    ``ratio_low`` and ``ratio_high`` are those of single rounds; ``same_captions``: how many of the batch are the same
    on both sides. All four are None where there is no partner.
    """

    model: str
    device: str
    precision: str
    batch: int
    num_beams: int
    phase: str
    seconds: float
    captions_per_second: float
    ratio: float | None = None
    peak_bytes: int | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    same_captions: int | None = None


@dataclass(frozen=True)
class WholeRow:
    """``photos`` captioned from file to text, and how many times as long that takes as encoding them plainly.

    ``amdahl_limit``: how many times faster the phases together would be with no generation at all than with
    transformers'; ``amdahl_reached``: how many times they are with ours. Both None where there is no partner.
    """

    model: str
    device: str
    precision: str
    batch: int
    num_beams: int
    photos: int
    seconds: float
    captions_per_second: float
    plain_encoding_seconds: float
    over_plain_encoding: float
    over_low: float
    over_high: float
    amdahl_limit: float | None = None
    amdahl_reached: float | None = None


def load_bench_captioner(name: str | None, device: str | None, precision: str) -> tuple[str, Captioner]:
    """Return the name of a model in the table, and its captioner: of the bundled one, a shape, or any ``--model``."""
    if name in SHAPES:
        return name, Captioner(random_parts(SHAPES[name]), device, precision)
    found = find_device(device)
    return name or "bundled", Captioner(load_model(name, found), found, precision)


class Bench:
    """The measurements of one model on one device."""

    def __init__(self, name: str, captioner: Captioner, photos: Sequence[Path], options: BenchOptions) -> None:
        self.name, self.captioner, self.photos, self.options = name, captioner, photos, options
        self.device, self.precision = str(captioner.device), captioner.precision
        self.synchronize = synchronizer(self.device)
        self.greedy = self._exact_options()
        self.partner: TransformersDecoder | None = None
        self._peaks: dict[tuple[int, int, str], int | None] = {}

    def _exact_options(self) -> GenerationOptions:
        """Return the model's options for captions of exactly ``words`` tokens, as both sides search for them."""
        parts, words = self.captioner.parts, self.options.words
        exact = replace(
            parts.generation,
            num_beams=1,
            num_captions=1,
            sample=False,
            prompt="",
            no_repeat_ngram_size=0,
            min_length=words,
            max_length=words,
        )
        check_fits(replace(exact, num_beams=max(self.options.num_beams)), parts.config.decoder)
        return exact

    def measure(self, on_phase: Callable[[list[PhaseRow]], None], on_whole: Callable[[WholeRow], None]) -> Values:
        """Return all rows; those of a batch and beam, or of a whole run, are given to the callbacks when they are done.

        Memory comes first, before transformers' copy of the weights is there.
        """
        rows: list[PhaseRow] = []
        whole: list[WholeRow] = []
        with torch.inference_mode(), arithmetic(self.device, self.precision):
            for batch in self.options.batch_sizes:
                self._measure_memory(batch)
            self.partner = self._make_partner()
            for batch in self.options.batch_sizes:
                before, states = self._before_generation(batch)
                for beams in self.options.num_beams:
                    cell = [replace(row, num_beams=beams) for row in before] + [self._generation(states, beams)]
                    cell = [
                        replace(row, peak_bytes=self._peaks[batch, beams if row.phase == "generate" else 0, row.phase])
                        for row in cell
                    ]
                    on_phase(cell)
                    rows += cell
        for batch in () if self.options.generation_only else self.options.batch_sizes:
            for beams in self.options.num_beams:
                cell = [row for row in rows if (row.batch, row.num_beams) == (batch, beams)]
                whole.append(self._whole(batch, beams, cell))
                on_whole(whole[-1])
        return Values(rows, whole, machine(self.device), asdict(self.options))

    def _make_partner(self) -> TransformersDecoder | None:
        tokenizer = self.captioner.tokenizer
        ids = SpecialIds(tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
        return transformers_decoder(self.captioner.model.decoder, ids)

    def _open(self, photos: Sequence[Path]) -> list[Any]:
        return [open_photo(path) for path in photos]

    def _preprocess(self, images: Sequence[Any]) -> Tensor:
        return torch.stack([self.captioner.transform(image)[0] for image in images])

    def _generate(self, states: Tensor, beams: int) -> list[list[int]]:
        stepper = fast_stepper(self.captioner.model, states)
        generated = generate_captions(self.captioner.parts, stepper, replace(self.greedy, num_beams=beams))
        return [list(captions[0].token_ids) for captions in generated]

    def _measure_memory(self, batch: int) -> None:
        """Note the peak of each phase; these are the first runs, too, which are slower than later ones."""
        peaks = self._peaks
        states = self._random_states(batch) if self.options.generation_only else self._measure_memory_before(batch)
        for beams in self.options.num_beams:
            generate = partial(self._generate, states, beams)
            peaks[batch, beams, "generate"], _ = peak_memory(self.device, generate)

    def _measure_memory_before(self, batch: int) -> Tensor:
        peaks = self._peaks
        peaks[batch, 0, "open"], images = peak_memory(self.device, partial(self._open, self.photos[:batch]))
        peaks[batch, 0, "preprocess"], pixels = peak_memory(self.device, partial(self._preprocess, images))
        peaks[batch, 0, "encode"], states = peak_memory(self.device, partial(self.captioner.encode, pixels))
        return states

    def _random_states(self, batch: int) -> Tensor:
        model = self.captioner.model
        patches = model.num_prefix + model.grid[0] * model.grid[1]
        torch.manual_seed(batch)
        return torch.randn(batch, patches, model.config.decoder.states_width).to(self.device)

    def _before_generation(self, batch: int) -> tuple[list[PhaseRow], Tensor]:
        """Return the rows of the phases before generation, which no number of beams changes, and encoder states."""
        if self.options.generation_only:
            return [], self._random_states(batch)
        images = self._open(self.photos[:batch])
        pixels = self._preprocess(images)
        works: dict[str, Callable[[], Any]] = {
            "open": partial(self._open, self.photos[:batch]),
            "preprocess": partial(self._preprocess, images),
            "encode": partial(self.captioner.encode, pixels),
        }
        rows = [self._row(batch, 1, phase, self._turns(work)) for phase, work in works.items()]
        return rows, self.captioner.encode(pixels)

    def _generation(self, states: Tensor, beams: int) -> PhaseRow:
        ours = partial(self._generate, states, beams)
        if self.partner is None:
            return self._row(len(states), beams, "generate", self._turns(ours))
        theirs = partial(self.partner.generate, states, replace(self.greedy, num_beams=beams))
        same = sum(our_ids == their_ids for our_ids, their_ids in zip(ours(), theirs(), strict=True))
        row = self._row(len(states), beams, "generate", self._turns(ours, theirs))
        return replace(row, same_captions=same)

    def _turns(self, ours: Callable[[], Any], theirs: Callable[[], Any] | None = None) -> Rounds:
        return take_turns(ours, theirs, rounds=self.options.rounds, synchronize=self.synchronize)

    def _row(self, batch: int, beams: int, phase: str, rounds: Rounds) -> PhaseRow:
        low, high = rounds.spread or (None, None)
        return PhaseRow(
            model=self.name,
            device=self.device,
            precision=self.precision,
            batch=batch,
            num_beams=beams,
            phase=phase,
            seconds=rounds.seconds,
            captions_per_second=batch / rounds.seconds,
            ratio=rounds.ratio,
            ratio_low=low,
            ratio_high=high,
        )

    def _whole(self, batch: int, beams: int, phases: Sequence[PhaseRow]) -> WholeRow:
        """Measure captioning of a few batches from file to text, and encoding the same photos plainly, in turns."""
        photos = list(self.photos[: photos_of_whole(batch)])
        with torch.inference_mode():
            batches = [self._preprocess(self._open(photos[i : i + batch])) for i in range(0, len(photos), batch)]
        whole = partial(self.captioner.caption, photos, batch_size=batch, num_beams=beams)
        plain = partial(self._encode_plainly, batches)
        whole()
        plain()
        rounds = self._turns(plain, whole)
        assert rounds.their_seconds is not None and rounds.ratio is not None and rounds.spread is not None
        limit, reached = amdahl(phases)
        return WholeRow(
            model=self.name,
            device=self.device,
            precision=self.precision,
            batch=batch,
            num_beams=beams,
            photos=len(photos),
            seconds=rounds.their_seconds,
            captions_per_second=len(photos) / rounds.their_seconds,
            plain_encoding_seconds=rounds.seconds,
            over_plain_encoding=rounds.ratio,
            over_low=rounds.spread[0],
            over_high=rounds.spread[1],
            amdahl_limit=limit,
            amdahl_reached=reached,
        )

    def _encode_plainly(self, batches: Sequence[Tensor]) -> None:
        """Encode as before there was an ``InferenceEncoder``: timm's own forward pass, glibc's own allocation."""
        model, hflip = self.captioner.model, self.captioner.parts.preprocessing.hflip_tta
        encode = model.encode_with_hflip if hflip else model.encode
        with torch.inference_mode(), arithmetic(self.device, self.precision), default_allocation():
            for pixels in batches:
                encode(pixels.to(self.device))


@dataclass(frozen=True)
class Values:
    """All that a run of the benchmark has measured."""

    rows: list[PhaseRow]
    whole: list[WholeRow]
    machine: dict[str, Any]
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` holds."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "whole": [asdict(row) for row in self.whole],
            "machine": self.machine,
            "settings": self.settings,
        }


def photos_of_whole(batch: int) -> int:
    """Return how many photos a run of whole captioning has: four batches, but no more than 32 photos for that."""
    return max(batch, min(_MOST_BATCHES * batch, max(BATCH_SIZES)))


def amdahl(phases: Sequence[PhaseRow]) -> tuple[float | None, float | None]:
    """Return what no generation, and ours, make of the phases' time together, times faster than with transformers'."""
    generation = next(row for row in phases if row.phase == "generate")
    if generation.ratio is None:
        return None, None
    rest = sum(row.seconds for row in phases if row.phase != "generate")
    with_theirs = rest + generation.seconds * generation.ratio
    return with_theirs / rest, with_theirs / (rest + generation.seconds)


def machine(device: str) -> dict[str, Any]:
    """Return what the figures depend on: processor or GPU, threads, and the libraries' versions."""
    versions = {name: _version(name) for name in ("wordgaze", "torch", "transformers", "timm")}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the processor's name; Linux tells it in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
