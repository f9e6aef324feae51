"""The whole: photo → patches → words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wordgaze.model.cache import DecoderCache
from wordgaze.model.config import CaptionModelConfig
from wordgaze.model.decoder import Decoder, DecoderOutput
from wordgaze.model.encoders.build import build_encoder, preprocessing_of


class CaptionModel(nn.Module):
    """An encoder, a bridge to the width that the decoder reads, and a decoder.

    ``encoder_weights`` and ``aux_weights`` as in :func:`~wordgaze.model.encoders.build.build_encoder`.
    """

    def __init__(
        self,
        config: CaptionModelConfig,
        encoder_weights: str | None = None,
        aux_weights: str | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder, encoder_weights, aux_weights)
        widths = self.encoder.width, config.decoder.states_width
        self.bridge = nn.Identity() if widths[0] == widths[1] else nn.Linear(*widths)
        self.decoder = Decoder(config.decoder)

    @property
    def grid(self) -> tuple[int, int]:
        """Return the patches down and across, (H_p, W_p)."""
        return self.encoder.grid

    @property
    def num_prefix(self) -> int:
        """Return the number of tokens before the patches in ``encoder_hidden_states``."""
        return self.encoder.num_prefix

    def encode(
        self,
        pixel_values: Tensor,
        keep_indices: Tensor | None = None,
        *,
        encoder: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return ``encoder_hidden_states`` (B, N, D) of ``pixel_values`` (B, 3, H, W).

        Given ``keep_indices`` (B, K), of those patches alone; given ``encoder``, an
        :class:`~wordgaze.model.encoders.inference.InferenceEncoder`, sooner and without gradients.
        """
        if encoder is not None:
            return self.bridge(encoder(pixel_values))
        return self.bridge(self.encoder(pixel_values, keep_indices))

    def encode_with_hflip(self, pixel_values: Tensor, encoder: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the mean of :meth:`encode` of the photos and of their mirror images, unflipped.

        How the encoder sees a thing depends a little on the side that it faces; the mean depends on it less. The
        encoder runs twice. ``encoder`` as in :meth:`encode`.
        """
        return self.average_views(self.encode(with_hflip(pixel_values), encoder=encoder))

    def average_views(self, encoder_hidden_states: Tensor) -> Tensor:
        """Average the states of what :func:`with_hflip` returns, (2·B, N, D) → (B, N, D)."""
        original, flipped = encoder_hidden_states.chunk(2)
        return (original + self.unflip(flipped)) / 2

    def unflip(self, encoder_hidden_states: Tensor) -> Tensor:
        """Return the states (B, N, D) of mirror images with each patch at its position in the photo."""
        prefix, patches = encoder_hidden_states.tensor_split([self.num_prefix], dim=1)
        return torch.cat([prefix, patches.unflatten(1, self.grid).flip(2).flatten(1, 2)], dim=1)

    def start(self, encoder_hidden_states: Tensor) -> DecoderCache:
        """Return a cache for :meth:`decode`: the photos' keys and values, before any word."""
        return self.decoder.start(encoder_hidden_states)

    def decode(self, input_ids: Tensor, cache: DecoderCache) -> Tensor:
        """Return logits (R, V) of the word after ``input_ids`` (R, T), which follow what ``cache`` holds."""
        return self.decoder(input_ids, cache).logits[:, -1]

    def forward(
        self,
        input_ids: Tensor,
        encoder_hidden_states: Tensor,
        output_attentions: bool = False,
        logits_to_keep: Tensor | None = None,
    ) -> DecoderOutput:
        """Read ``input_ids`` (B·C, T), teacher-forced, over photos (B, N, D); row r belongs to photo r // C.

        ``logits_to_keep`` (B·C, T), booleans: compute logits (n, V) at these positions alone.
        """
        return self.decoder(input_ids, self.start(encoder_hidden_states), output_attentions, logits_to_keep)

    def preprocessing_defaults(self) -> dict[str, Any]:
        """Return what the encoder expects of pixels: size, mean, std, interpolation."""
        values = preprocessing_of(self.encoder.network)
        if self.config.encoder.image_size is not None:
            values["size"] = self.config.encoder.image_size
        return values


def with_hflip(pixel_values: Tensor) -> Tensor:
    """Return photos (B, 3, H, W), then their mirror images: (2·B, 3, H, W)."""
    return torch.cat([pixel_values, pixel_values.flip(-1)])
