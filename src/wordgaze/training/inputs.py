"""What a step starts from: pixels for the whole encoder, or the output of its frozen layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.encoders.vit import keep_patches
from wordgaze.training.feature_cache import pack, unpack
from wordgaze.training.frozen import FrozenPart


class PixelInputs:
    """Batches of ``pixel_values``: each step runs the whole encoder."""

    def __init__(self, model: CaptionModel, frozen: FrozenPart) -> None:
        self.model = model
        self.frozen = frozen

    def encode(self, inputs: Tensor, keep_indices: Tensor | None = None) -> Tensor:
        """Return ``encoder_hidden_states`` (B, N, D) of a training batch's inputs, of patches (B, K) to keep."""
        return self.model.encode(inputs, keep_indices)

    def encode_validation(self, pixel_values: Tensor, batch: tuple[int, int]) -> Tensor:
        """Return ``encoder_hidden_states`` (B, N, D) of a validation batch, ``batch``: its set and number."""
        return self.model.encode(pixel_values)


class CachedInputs:
    """Batches of the frozen layers' packed output: each step runs what follows them.

    Validation photos come as pixels. What the frozen layers put out for them is computed once a run, and held in memory
    as the training photos' is on disk: in float16.
    """

    def __init__(self, model: CaptionModel, frozen: FrozenPart) -> None:
        self.model = model
        self.frozen = frozen
        self._validation: dict[tuple[int, int], tuple[Tensor, ...]] = {}

    def encode(self, inputs: Tensor, keep_indices: Tensor | None = None) -> Tensor:
        """Return ``encoder_hidden_states`` (B, N, D) of a training batch's inputs, of patches (B, K) to keep."""
        encoded = self._encode_rest(unpack(inputs, self.frozen.shapes()))
        return encoded if keep_indices is None else keep_patches(encoded, keep_indices, self.model.num_prefix)

    def encode_validation(self, pixel_values: Tensor, batch: tuple[int, int]) -> Tensor:
        """Return ``encoder_hidden_states`` (B, N, D) of a validation batch, ``batch``: its set and number."""
        if batch not in self._validation:
            features = self.frozen.forward(pixel_values)
            self._validation[batch] = tuple(part.to(torch.float16) for part in features)
        return self._encode_rest([part.to(torch.float32) for part in self._validation[batch]])

    def compute(self, pixel_values: Tensor, device: torch.device, bfloat16: bool) -> Tensor:
        """Return what a cache holds of ``pixel_values`` (B, 3, H, W): the frozen layers' packed output."""
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            # A few at a time: convolutions on CPUs are a third faster while their maps stay in its caches.
            few = pixel_values.to(device).split(8 if device.type == "cpu" else len(pixel_values))
            return torch.cat([pack(self.frozen.forward(photos)) for photos in few])

    def _encode_rest(self, features: Sequence[Tensor]) -> Tensor:
        """Return ``encoder_hidden_states`` from the frozen layers' output."""
        return self.model.bridge(self.frozen.forward_rest(features))


ModelInputs = PixelInputs | CachedInputs
