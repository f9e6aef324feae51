"""The whole: photo → patches → words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from wordgaze import compat  # noqa: F401  (before timm: it imports torchvision)

# isort: split
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from wordgaze.errors import ConfigError
from wordgaze.model.cache import DecoderCache
from wordgaze.model.config import CaptionModelConfig, EncoderConfig
from wordgaze.model.decoder import Decoder, DecoderOutput
from wordgaze.model.encoder import PairedEncoder, build_encoder, preprocessing_of


class CaptionModel(nn.Module):
    """An encoder, a bridge to the decoder's width, and a decoder.

    ``encoder_weights`` and ``beside_weights`` as in :func:`~wordgaze.model.encoder.build_encoder`.
    """

    def __init__(
        self,
        config: CaptionModelConfig,
        encoder_weights: str | None = None,
        beside_weights: str | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder, encoder_weights, beside_weights)
        same = self.encoder.width == config.decoder.width
        self.bridge = nn.Identity() if same else nn.Linear(self.encoder.width, config.decoder.width)
        self.decoder = Decoder(config.decoder)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across, (H_p, W_p)."""
        return self.encoder.grid

    @property
    def num_prefix(self) -> int:
        """Tokens that are no patches, at the front of ``encoder_hidden_states``."""
        return self.encoder.num_prefix

    def encode(self, pixel_values: Tensor, kept: Tensor | None = None) -> Tensor:
        """``pixel_values`` (B, 3, H, W) → ``encoder_hidden_states`` (B, N, D); of patches ``kept`` (B, K) alone."""
        return self.bridge(self.encoder(pixel_values, kept))

    def encode_mirrored(self, pixel_values: Tensor) -> Tensor:
        """:meth:`encode`, the mean of the photos and of their mirrored views, whose patches are turned back.

        What the encoder makes of a thing depends a little on the side that it faces; the mean depends on it less. The
        encoder runs twice.
        """
        return self.mean_of_views(self.encode(with_mirrored(pixel_values)))

    def mean_of_views(self, encoder_hidden_states: Tensor) -> Tensor:
        """Of what :func:`with_mirrored` has made of photos, (2·B, N, D) → (B, N, D)."""
        seen, mirrored = encoder_hidden_states.chunk(2)
        return (seen + self.turned_back(mirrored)) / 2

    def turned_back(self, encoder_hidden_states: Tensor) -> Tensor:
        """States (B, N, D) of mirrored photos, each patch at the place that it has in the photo."""
        prefix, patches = encoder_hidden_states.tensor_split([self.num_prefix], dim=1)
        return torch.cat([prefix, patches.unflatten(1, self.grid).flip(2).flatten(1, 2)], dim=1)

    def encode_frozen(self, features: Tensor, layers: int) -> Tensor:
        """:meth:`encode` from what ``encoder.begin(pixel_values, layers)`` gave."""
        return self.bridge(self.encoder.finish(features, layers))

    def start(self, encoder_hidden_states: Tensor) -> DecoderCache:
        """A cache for :meth:`decode`: the photos' keys and values, before any word."""
        return self.decoder.start(encoder_hidden_states)

    def decode(self, input_ids: Tensor, cache: DecoderCache) -> Tensor:
        """Logits (R, V) of the word after ``input_ids`` (R, T), which follow what ``cache`` holds."""
        return self.decoder(input_ids, cache).logits[:, -1]

    def forward(
        self,
        input_ids: Tensor,
        encoder_hidden_states: Tensor,
        output_attentions: bool = False,
        logits_to_keep: Tensor | None = None,
    ) -> DecoderOutput:
        """Teacher forcing: ``input_ids`` (B·C, T) over photos (B, N, D); row r belongs to photo r // C.

        ``logits_to_keep`` (B·C, T), booleans: logits (n, V) of these places alone.
        """
        return self.decoder(input_ids, self.start(encoder_hidden_states), output_attentions, logits_to_keep)

    def grown(
        self, encoder: EncoderConfig, beside_weights: str | None = None, dropout: float | None = None
    ) -> CaptionModel:
        """This model with photos of another ``image_size``, a network ``beside`` its ViT, more ``blocks``, or all that.

        The weights stay: places of patches are resampled, and what is new in a patch weighs nothing at first.
        ``dropout`` is the decoder's, as it was by default.
        """
        decoder = self.config.decoder if dropout is None else replace(self.config.decoder, dropout=dropout)
        paired = encoder.beside != self.config.encoder.beside
        if paired:
            if self.config.encoder.beside is not None:
                raise ConfigError(
                    f"The model has {self.config.encoder.beside} beside its ViT already; leave encoder.beside out."
                )
            encoder = replace(encoder, width=decoder.width)  # the bridge becomes the ViT's projection
        old_blocks = self.config.encoder.blocks
        if encoder.blocks < old_blocks:
            raise ConfigError(f"The model has {old_blocks} blocks; encoder.blocks can't be {encoder.blocks}.")
        new_blocks = encoder.blocks - old_blocks
        if new_blocks and not old_blocks and encoder.beside is not None:
            encoder = replace(encoder, heads=decoder.heads)
        model = CaptionModel(CaptionModelConfig(encoder, decoder), None, beside_weights if paired else None)
        state = self.state_dict()
        places = "encoder.network.pos_embed"
        if places in state and encoder.image_size != self.config.encoder.image_size:
            prefix = int(self.encoder.network.num_prefix_tokens)
            old, new = list(self.grid), list(model.grid)
            state[places] = resample_abs_pos_embed(state[places], new, old, num_prefix_tokens=prefix)
        if paired:
            assert isinstance(model.encoder, PairedEncoder)
            for projection in list(model.encoder.projections)[1:]:
                for parameter in projection.parameters():
                    nn.init.zeros_(parameter)
            same = {"weight": torch.eye(decoder.width), "bias": torch.zeros(decoder.width)}
            for name, value in same.items():
                state[f"encoder.projections.0.{name}"] = state.pop(f"bridge.{name}", value)
        added = list(cast(Iterable[Any], model.encoder.blocks))[-new_blocks:] if new_blocks else []
        for block in added:
            for parameter in (*block.attn.proj.parameters(), *block.mlp.fc2.parameters()):
                nn.init.zeros_(parameter)
        model.load_state_dict(state, strict=False)  # what is not in it stays as ``beside_weights`` has it
        return model

    def preprocessing_defaults(self) -> dict[str, Any]:
        """What the encoder expects of pixels: size, mean, std, interpolation."""
        values = preprocessing_of(self.encoder.network)
        if self.config.encoder.image_size is not None:
            values["size"] = self.config.encoder.image_size
        return values


def with_mirrored(pixel_values: Tensor) -> Tensor:
    """Photos (B, 3, H, W) and behind them their mirrored views: (2·B, 3, H, W)."""
    return torch.cat([pixel_values, pixel_values.flip(-1)])
