"""What cross-attention costs: counted, and measured in time and memory.

Measured: the median time of a call, and the peak of what torch allocates in it, as torch's own profiler reports it.
That counts the kernels' workspace too, to the byte and alike in each run; the resident set of the process is coarser,
and a test sees that both agree on one large table of weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from scripts.common.timing import median_seconds
from wordgaze.captioner import Captioner
from wordgaze.model.attention import Attention
from wordgaze.model.cache import DecoderCache
from wordgaze.model.decoder import Decoder

LONGEST = 32  # words of a caption, when its cost is shown
WAYS = ("fused", "explicit", "fused, keys and values anew")
CACHED = ("nothing", "patches", "patches and words")  # from one word to the next


def write(
    decoder: Decoder, states: Tensor, ids: Tensor, cached: str, output_attentions: bool = False
) -> Iterator[Tensor]:
    """Yield logits (1, V) after each of ``ids`` (1, T), as a search asks for them; ``cached``: one of ``CACHED``."""
    cache = decoder.start(states)
    for stop in range(1, ids.shape[1] + 1):
        new = ids[:, :stop]
        if cached == "patches and words":
            new = ids[:, stop - 1 : stop]
        elif cached == "patches":
            cache = DecoderCache(cache.patches)
        elif stop > 1:
            cache = decoder.start(states)
        only_last = torch.zeros_like(new, dtype=torch.bool)
        only_last[:, -1] = True
        yield decoder(new, cache, output_attentions, only_last).logits


@torch.inference_mode()
def multiply_adds(decoder: Decoder, states: Tensor, ids: Tensor) -> dict[str, list[int]]:
    """Return the multiply-adds up to each word, by what is cached; torch counts them while they run."""
    counts: dict[str, list[int]] = {}
    for cached in CACHED:
        # Weights are asked for, since torch does not count what its fused kernel does on a CPU.
        with FlopCounterMode(display=False) as counter:
            steps = write(decoder, states, ids, cached, output_attentions=True)
            counts[cached] = [counter.get_total_flops() // 2 for _ in steps]
    return counts


def peak_bytes(work: Callable[[], Any]) -> int:
    """Return the most memory that torch holds at once during ``work``, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event["args"] for event in events if event.get("name") == "[memory]"]
    before = changes[0]["Total Allocated"] - changes[0]["Bytes"]
    return max(change["Total Allocated"] for change in changes) - before


@torch.inference_mode()
def measure(captioner: Captioner, quick: bool) -> dict[str, Any]:
    """Measure one cross-attention against N and against T, and whole captions."""
    decoder, patches = captioner.model.decoder, captioner.model.grid[0] * captioner.model.grid[1]
    at_least = 0.02 if quick else 0.3
    words = 4 if quick else 16
    many_patches = [49, 196] if quick else [49, 196, 784, 3136, 12544]
    many_words = [1, 8] if quick else [1, 4, 16, 64, 256, 1024]
    lengths = [2, 4] if quick else [4, 8, 16, LONGEST]
    states = torch.randn(1, patches, decoder.config.width)
    captions = [measure_caption(decoder, states, length, at_least) for length in lengths]
    cross = decoder.blocks[-1].cross_attention
    return {
        "quick": quick,
        "torch": torch.__version__.split("+")[0],
        "threads": torch.get_num_threads(),
        "width": decoder.config.width,
        "heads": decoder.config.heads,
        "layers": decoder.config.layers,
        "grid_patches": patches,
        "over_patches": [measure_attention(cross, words, count, at_least) for count in many_patches],
        "over_words": [measure_attention(cross, count, patches, at_least) for count in many_words],
        "captions": captions,
    }


def measure_caption(decoder: Decoder, states: Tensor, length: int, at_least: float) -> dict[str, Any]:
    """Return the seconds of a caption of ``length`` tokens, by what is cached from word to word."""
    ids = torch.randint(decoder.config.vocab_size, (1, length))

    def write_all(cached: str) -> list[Tensor]:
        return list(write(decoder, states, ids, cached))

    seconds = {cached: median_seconds(partial(write_all, cached), at_least) for cached in CACHED}
    return {"words": length, "seconds": seconds}


def measure_attention(cross: Attention, words: int, patches: int, at_least: float) -> dict[str, Any]:
    """Return the seconds and bytes of one cross-attention, in each of the ``WAYS``."""
    width = cross.output.weight.shape[0]
    hidden, source = torch.randn(1, words, width), torch.randn(1, patches, width)
    key, value = cross.key_value(source)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: cross(hidden, key, value),
        lambda: cross(hidden, key, value, output_attentions=True),
        lambda: cross(hidden, *cross.key_value(source)),
    )
    measured = {
        name: {"seconds": median_seconds(work, at_least), "bytes": peak_bytes(work)}
        for name, work in zip(WAYS, calls, strict=True)
    }
    return {"words": words, "patches": patches, **measured}
