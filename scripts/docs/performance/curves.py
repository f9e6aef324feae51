"""What a step of beam search costs against the words already written, and what memory it takes against the beams."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.common.timing import timed
from scripts.docs.cross_attention.cost import peak_bytes
from wordgaze.captioner import Captioner
from wordgaze.captioning.captions import generate_captions
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.stepper import Stepper
from wordgaze.generation.torch_stepper import fast_stepper
from wordgaze.tasks.bench import load_bench_captioner, machine
from wordgaze.tasks.bench_decoders import TransformersDecoder, transformers_decoder
from wordgaze.text.tokenizer import SpecialIds

MODELS = ("bundled",)
PHOTOS, BEAMS, WORDS = 8, 5, 16
MANY_BEAMS = (1, 2, 4, 8)


def measure(quick: bool) -> dict[str, Any]:
    """Return the curves of ``MODELS``; ``quick``: tiny, only to see that it works."""
    return {"machine": machine("cpu"), "quick": quick, "models": {name: measure_model(name, quick) for name in MODELS}}


def measure_model(name: str, quick: bool) -> dict[str, Any]:
    """Return what steps of ``BEAMS`` beams of ``PHOTOS`` photos take, and the memory of a search by its beams."""
    captioner = load_bench_captioner(None if name == "bundled" else name, "cpu", "float32")[1]
    config = captioner.model.config.decoder
    patches = captioner.model.num_prefix + captioner.model.grid[0] * captioner.model.grid[1]
    photos, words, rounds = (2, 4, 2) if quick else (PHOTOS, min(config.positions, 64) - 1, 5)
    torch.manual_seed(0)
    states = torch.randn(photos, patches, config.states_width)
    # Before transformers' copy of the weights is there.
    curve = step_curve(captioner, states, words, rounds)
    many = MANY_BEAMS[:2] if quick else MANY_BEAMS
    ids = SpecialIds(captioner.tokenizer.bos_id, captioner.tokenizer.eos_id, captioner.tokenizer.pad_id)
    partner = transformers_decoder(captioner.model.decoder, ids)
    return {
        "photos": photos,
        "beams": BEAMS,
        "steps": curve,
        "memory": [search_memory(captioner, partner, states, beams, 2 if quick else WORDS) for beams in many],
    }


@torch.inference_mode()
def step_curve(captioner: Captioner, states: Tensor, words: int, rounds: int) -> list[dict[str, float]]:
    """Return, for each number of words written, the median seconds of a step with its reordering.

    ``reading_seconds``: of copying as much as all keys and values of these words once, and once with their rows in
    another order, to compare with.
    """
    config, rng = captioner.model.config.decoder, np.random.default_rng(0)
    rows = len(states) * BEAMS
    steps: list[list[float]] = [[] for _ in range(words)]
    reads: list[list[float]] = [[] for _ in range(words)]
    for _ in range(1 + rounds):
        stepper: Stepper = fast_stepper(captioner.model, states)
        stepper.step(np.zeros((len(states), 1), np.int64))
        stepper.reorder(np.arange(len(states)).repeat(BEAMS))
        for written in range(1, words):
            ids = rng.integers(3, config.vocab_size, (rows, 1))
            parents = np.arange(rows) // BEAMS * BEAMS + rng.integers(0, BEAMS, rows)
            steps[written].append(timed(partial(_step, stepper, ids, parents))[0])
            # Filled: pages that nothing was written to cost less to read.
            cache = torch.ones(written, rows, 2 * config.layers * config.width)
            reads[written].append(timed(partial(_read_and_reorder, cache, torch.from_numpy(parents)))[0])
    # The first round warms up; the first step has one row a photo.
    return [
        {"words": written, "seconds": median(steps[written][1:]), "reading_seconds": median(reads[written][1:])}
        for written in range(1, words)
    ]


def _step(stepper: Stepper, ids: np.ndarray, parents: np.ndarray) -> None:
    stepper.step(ids)
    stepper.reorder(parents)


def _read_and_reorder(cache: Tensor, rows: Tensor) -> None:
    cache.clone()
    cache.index_select(1, rows)


def search_memory(
    captioner: Captioner, partner: TransformersDecoder | None, states: Tensor, beams: int, words: int
) -> dict[str, Any]:
    """Return the most bytes that torch holds during a search, beyond the weights and states, on both sides.

    ``text_cache_bytes``: of the keys and values of all words of all beams, once.
    """
    config = captioner.model.config.decoder
    options = GenerationOptions(num_beams=beams, min_length=words, max_length=words, no_repeat_ngram_size=0)

    def ours() -> Any:
        return generate_captions(captioner.parts, fast_stepper(captioner.model, states), options)

    ours()
    theirs = None if partner is None else peak_bytes(partial(partner.generate, states, replace(options)))
    return {
        "beams": beams,
        "words": words,
        "bytes": peak_bytes(ours),
        "transformers_bytes": theirs,
        "text_cache_bytes": len(states) * beams * words * 2 * config.layers * config.width * 4,
    }
