"""The Vision Transformer (Dosovitskiy et al. 2021): squares of the photo as tokens, each of which sees all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from wordgaze.errors import ConfigError


class VitEncoder(nn.Module):
    """Turn pixels (B, 3, H, W) into patch tokens (B, N, width) with a timm ViT, its final norm included.

    Class and register tokens are dropped unless ``prefix_tokens``, and then stand first. Given ``keep_indices`` (B, K),
    only those patches pass through the blocks (Liu et al. 2022, PatchDropout).
    """

    network: Any  # timm gives its networks no common type

    def __init__(self, network: nn.Module, prefix_tokens: bool = False) -> None:
        super().__init__()
        self.network = network
        if isinstance(getattr(network, "norm", None), nn.Identity) and hasattr(network, "fc_norm"):
            # An average-pooled ViT norms after its pooling; here the patches themselves are the output.
            self.network.norm = network.fc_norm
        for unused in ("fc_norm", "attn_pool"):
            if hasattr(network, unused):
                setattr(network, unused, nn.Identity())
        self.num_prefix = int(self.network.num_prefix_tokens) if prefix_tokens else 0
        self.width = int(self.network.num_features)
        height, width = self.network.patch_embed.grid_size
        self.grid = (int(height), int(width))

    def forward(self, pixel_values: Tensor, keep_indices: Tensor | None = None) -> Tensor:
        if keep_indices is not None and self._is_plain():
            (tokens,) = self.forward_stem(pixel_values, 0)
            tokens = keep_patches(tokens, keep_indices, int(self.network.num_prefix_tokens))
            return self.forward_rest([tokens], 0)
        tokens = self._without_prefix(self.network.forward_features(pixel_values))
        return tokens if keep_indices is None else keep_patches(tokens, keep_indices, self.num_prefix)

    def layers(self) -> list[nn.Module]:
        """Return the blocks, first to last, for freezing and layer-wise learning rates."""
        return list(self.network.blocks)

    def head_modules(self) -> list[nn.Module]:
        """Return what follows the last layer."""
        return [self.network.norm]

    def forward_stem(self, pixel_values: Tensor, count: int) -> tuple[Tensor, ...]:
        """Run the first ``count`` layers; return what the others need of them."""
        if not self._is_plain():
            raise ConfigError(
                "The first layers of this ViT can't be run alone; set encoder.freeze to 'all' or cache to null."
            )
        tokens = self.network.norm_pre(self.network._pos_embed(self.network.patch_embed(pixel_values)))
        return (self.network.blocks[:count](tokens),)

    def forward_rest(self, features: Sequence[Tensor], count: int) -> Tensor:
        """Run the layers after the first ``count``, and the head, on what :meth:`forward_stem` returned."""
        (tokens,) = features
        return self._without_prefix(self.network.norm(self.network.blocks[count:](tokens)))

    def stem_shapes(self, count: int) -> list[tuple[int, ...]]:
        """Return the shapes of what :meth:`forward_stem` returns, without B."""
        return [(self.grid[0] * self.grid[1] + int(self.network.num_prefix_tokens), self.width)]

    def _without_prefix(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.network.num_prefix_tokens - self.num_prefix :]

    def _is_plain(self) -> bool:
        """Return whether timm's forward pass is the one that :meth:`forward_stem` and :meth:`forward_rest` follow."""
        return isinstance(self.network, VisionTransformer)


def keep_patches(tokens: Tensor, keep_indices: Tensor, num_prefix: int = 0) -> Tensor:
    """Return the ``num_prefix`` first of ``tokens`` (B, N, D), then the patches at ``keep_indices`` (B, K)."""
    patches = tokens.gather(1, num_prefix + keep_indices[..., None].expand(-1, -1, tokens.shape[2]))
    return torch.cat((tokens[:, :num_prefix], patches), dim=1)


def vit_blocks(count: int, width: int, heads: int, drop_path: float) -> nn.Sequential:
    """Return ``count`` new blocks; stochastic depth rises from 0 to ``drop_path``."""
    rates = torch.linspace(0, drop_path, count, device="cpu").tolist()
    return nn.Sequential(*(Block(width, heads, qkv_bias=True, drop_path=rate) for rate in rates))
