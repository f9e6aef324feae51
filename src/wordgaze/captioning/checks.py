"""What a model is asked to do, checked before it begins: options, batches, pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wordgaze.captioning.batches import AUTO, BatchSize, auto_batch_size
from wordgaze.captioning.captions import encode_prompt
from wordgaze.data.colors import is_tensor
from wordgaze.errors import wrong_kind
from wordgaze.folder import Parts
from wordgaze.generation.limits import check_encoder_memory, check_memory, photo_bytes, total_memory
from wordgaze.generation.options import GenerationOptions, whole_number

if TYPE_CHECKING:
    import torch


class RequestChecks:
    """The checks of a model on a device; each raises ConfigError."""

    def __init__(self, parts: Parts, device: str | torch.device) -> None:
        self._parts, self._device = parts, device
        self._auto: dict[tuple[Any, ...], BatchSize] = {}  # what is remembered of each kind of search

    def options(self, overrides: dict[str, Any]) -> GenerationOptions:
        """Return the model's generation options with ``overrides``, for one photo or more."""
        options = self._parts.generation.override(**overrides)
        encode_prompt(self._parts, options)
        self._memory(options, 1)
        return options

    def batch_size(self, batch_size: int | str, total: int | None, options: GenerationOptions) -> int:
        """Return ``batch_size``, or ``total``, the number of photos, where that is known and smaller."""
        batch_size = whole_number("batch_size", batch_size, "auto or a whole number of at least 1", 1)
        batch_size = min(batch_size, total or batch_size)
        check_encoder_memory(batch_size, self._parts.preprocessing.size, total_memory(self._device))
        self._memory(options, batch_size)
        return batch_size

    def batches(self, batch_size: int | str, total: int | None, options: GenerationOptions) -> BatchSize:
        """Return the batch size that a caller states, or for ``auto`` one that fits the memory.

        It is halved where it does not fit after all, and remembered, for all searches that need as much memory.
        """
        if not isinstance(batch_size, str) or batch_size != AUTO:
            return BatchSize(self.batch_size(batch_size, total, options))
        search = (options.sample, options.num_beams, options.num_captions, options.max_length)
        if search not in self._auto:
            needed = photo_bytes(options, self._parts.config.decoder, self._parts.preprocessing.size)
            self._auto[search] = BatchSize(auto_batch_size(needed, self._device), shrinks=True)
        return self._auto[search]

    def pixels(self, pixel_values: Any) -> None:
        """Check that these are photos as the model's transform makes them, a tensor or array (B, 3, H, W)."""
        shape = (3, *self._parts.preprocessing.size)
        has_shape = isinstance(pixel_values, np.ndarray) or is_tensor(pixel_values)
        if not has_shape or tuple(pixel_values.shape[1:]) != shape:
            value = tuple(pixel_values.shape) if has_shape else pixel_values
            rule = f"a tensor (B, {', '.join(map(str, shape))}), photos that `transform` has made"
            raise wrong_kind("pixel_values", value, rule)

    def search(self, pixel_values: Any, options: GenerationOptions) -> None:
        """Check that captions of these photos can be searched for."""
        self.pixels(pixel_values)
        if not isinstance(options, GenerationOptions):
            raise wrong_kind("options", options, "GenerationOptions, as generation_options() makes them")
        self._memory(options, len(pixel_values))

    def _memory(self, options: GenerationOptions, photos: int) -> None:
        check_memory(options, self._parts.config.decoder, photos, total_memory(self._device))


def number_of(photos: Any) -> int | None:
    """Return how many photos there are; None where that shows only when they have all come."""
    try:
        return len(photos)
    except TypeError:
        return None
