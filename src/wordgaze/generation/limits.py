"""Whether a search fits its model and the memory there is, before it begins."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from wordgaze.errors import ConfigError, shown
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.config import DecoderConfig

# Bytes a row of a step takes for each id of the vocabulary: in beam search the logits, their log-softmax, what may
# come, the sums and the work of topk; in sampling also the sorted ones with their order, and three in double precision.
_SEARCHED, _SAMPLED = 24, 56
_ENCODER_MEMORY = 20  # times that of its pixel values; measured on the bundled model's two networks


def check_fits(options: GenerationOptions, decoder: DecoderConfig) -> None:
    """Raise ConfigError when the decoder can't read rows as long as ``options`` allow, or has no so many beams."""
    if options.max_length > decoder.positions:
        raise ConfigError(
            f"max_length is {shown(options.max_length)}, this model reads {decoder.positions} words at most; lower it."
        )
    if not options.sample and options.num_beams > decoder.vocab_size:
        raise ConfigError(
            f"num_beams is {shown(options.num_beams)}, more than the {decoder.vocab_size} tokens that this model "
            "knows; lower it (beyond 10 captions seldom change)."
        )


def check_memory(
    options: GenerationOptions, decoder: DecoderConfig, photos: int, available: int | None
) -> None:
    """Raise ConfigError when a search over ``photos`` at once needs more than ``available`` bytes of memory."""
    name = "num_captions" if options.sample else "num_beams"
    rows = getattr(options, name)
    each = photos * row_bytes(options, decoder)
    if available is None or rows * each <= available:
        return
    most = available // each
    remedy = f"choose {name} of at most {most}" if most else "choose a smaller batch_size"
    if photos > 1 and most:
        remedy += ", or a smaller batch_size"
    at_once = f" for {photos} photos at a time" if photos > 1 else ""
    raise ConfigError(
        f"{name} is {shown(rows)}: searching{at_once} would need about {gigabytes(rows * each)} of memory, and there "
        f"are {gigabytes(available)}; {remedy}."
    )


def check_encoder_memory(batch_size: int, image_size: tuple[int, int], available: int | None) -> None:
    """Raise ConfigError when looking at ``batch_size`` photos at once needs more than ``available`` bytes of memory."""
    height, width = image_size
    needed = batch_size * _ENCODER_MEMORY * 3 * height * width * 4
    if available is not None and needed > available:
        most = max(available * batch_size // needed, 1)
        raise ConfigError(
            f"batch_size is {shown(batch_size)}: looking at so many photos at a time would need about "
            f"{gigabytes(needed)} of memory, and there are {gigabytes(available)}; choose {most} at most."
        )


def row_bytes(options: GenerationOptions, decoder: DecoderConfig) -> int:
    """Return an estimate of the memory that a beam, or a sampled caption, takes at the end of a search."""
    # Keys and values of all layers in float32, and once more while the beams change places.
    cache = 2 * (2 * decoder.layers * decoder.width * 4) * options.max_length
    return cache + decoder.vocab_size * (_SAMPLED if options.sample else _SEARCHED)


def memory(device: torch.device) -> int | None:
    """Return how many bytes the device has, free or not; None where nothing tells."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    # What a container may take; "max" where it has no limit of its own.
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return min(machine, int(Path("/sys/fs/cgroup", file).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return machine


def gigabytes(count: int) -> str:
    """Return a number of bytes as a sentence shows it."""
    return f"{count / 1e9:.0f} GB" if count >= 1e10 else f"{count / 1e9:.1f} GB"
