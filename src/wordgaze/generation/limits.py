"""Whether a search fits its model and the memory, checked before it begins. Imports no torch for a CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wordgaze.errors import ConfigError, shown
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.config import DecoderConfig

if TYPE_CHECKING:
    import torch

# Bytes that a row takes in a step for each id of the vocabulary. Beam search: logits, their log-softmax, the allowed
# ones, the sums and topk's own. Sampling also: the sorted ones, their order, and three in double precision.
_BEAM_BYTES, _SAMPLE_BYTES = 24, 56
# The encoder's memory, as a multiple of its pixel values'; measured on the bundled model's two networks.
_ENCODER_FACTOR = 20


def check_fits(options: GenerationOptions, decoder: DecoderConfig, num_given: int = 0) -> None:
    """Raise ConfigError for captions longer than the decoder reads, and for more beams than its vocabulary has ids."""
    if options.max_length + num_given > decoder.positions:
        prompt = f" after a prompt of {shown(num_given)}" if num_given else ""
        raise ConfigError(
            f"max_length is {shown(options.max_length)}{prompt}, but this model reads at most {decoder.positions} "
            "tokens; lower it."
        )
    if not options.sample and options.num_beams > decoder.vocab_size:
        raise ConfigError(
            f"num_beams is {shown(options.num_beams)}, more than the {decoder.vocab_size} tokens that this model "
            "knows; lower it (beyond 10, captions rarely change)."
        )


def check_memory(options: GenerationOptions, decoder: DecoderConfig, photos: int, available: int | None) -> None:
    """Raise ConfigError when a search over ``photos`` at once needs more than ``available`` bytes of memory."""
    name = "num_captions" if options.sample else "num_beams"
    rows = getattr(options, name)
    per_row = photos * row_bytes(options, decoder)
    if available is None or rows * per_row <= available:
        return
    limit = available // per_row
    remedy = f"choose {name} of at most {limit}" if limit else "choose a smaller batch_size"
    if photos > 1 and limit:
        remedy += ", or a smaller batch_size"
    at_once = f" for {photos} photos at a time" if photos > 1 else ""
    raise ConfigError(
        f"{name} is {shown(rows)}: searching{at_once} would need about {gigabytes(rows * per_row)} of memory, but "
        f"there are {gigabytes(available)}; {remedy}."
    )


def check_encoder_memory(batch_size: int, image_size: tuple[int, int], available: int | None) -> None:
    """Raise ConfigError when encoding ``batch_size`` photos at once needs more than ``available`` bytes of memory."""
    height, width = image_size
    needed = batch_size * _ENCODER_FACTOR * 3 * height * width * 4
    if available is not None and needed > available:
        limit = max(available * batch_size // needed, 1)
        raise ConfigError(
            f"batch_size is {shown(batch_size)}: so many photos at a time would need about {gigabytes(needed)} "
            f"of memory, but there are {gigabytes(available)}; choose at most {limit}."
        )


def photo_bytes(options: GenerationOptions, decoder: DecoderConfig, image_size: tuple[int, int]) -> int:
    """Return an estimate of the bytes that captioning a photo takes, beside others in the same batch."""
    rows = options.num_captions if options.sample else options.num_beams
    return _ENCODER_FACTOR * 3 * image_size[0] * image_size[1] * 4 + rows * row_bytes(options, decoder)


def row_bytes(options: GenerationOptions, decoder: DecoderConfig) -> int:
    """Return an estimate of the bytes that a beam, or a sampled caption, takes at the end of a search."""
    # Keys and values of all layers in float32, and a second time while beams are reordered.
    cache = 2 * (2 * decoder.layers * decoder.width * 4) * options.max_length
    return cache + decoder.vocab_size * (_SAMPLE_BYTES if options.sample else _BEAM_BYTES)


def total_memory(device: str | torch.device) -> int | None:
    """Return how many bytes of memory the device has, free or not; None where the system does not say."""
    if str(device).startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    # A container's limit; "max" where it has none of its own.
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return min(machine, int(Path("/sys/fs/cgroup", file).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return machine


def gigabytes(count: int) -> str:
    """Return a number of bytes as a sentence shows it."""
    return f"{count / 1e9:.0f} GB" if count >= 1e10 else f"{count / 1e9:.1f} GB"
