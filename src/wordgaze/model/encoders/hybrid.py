"""The hybrid ViT (Dosovitskiy et al. 2021, section 3.1): the cells of a feature map as patches, ViT blocks on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from wordgaze.errors import ConfigError
from wordgaze.model.config import EncoderConfig
from wordgaze.model.encoders.vit import keep_patches, vit_blocks


class HybridEncoder(nn.Module):
    """Turn pixels (B, 3, H, W) into patches (B, N, width), one for each cell of the network's feature map, row by row.

    ``network`` is a timm network of features only, for photos of ``size`` (H, W). Given ``keep_indices`` (B, K), only
    those cells pass through the blocks.
    """

    num_prefix = 0
    network: Any

    def __init__(self, network: nn.Module, config: EncoderConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.network.to(memory_format=torch.channels_last)  # in which convolutions are faster, on CPUs twice
        self.channels, *grid = self._map_shape(config.name, size)
        self.grid = (grid[0], grid[1])
        self.width = config.width
        embedding = CellEmbedding(self.channels, config.width, self.grid)
        blocks = vit_blocks(config.blocks, config.width, config.heads, config.drop_path)
        self.blocks = nn.Sequential(embedding, *blocks)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, pixel_values: Tensor, keep_indices: Tensor | None = None) -> Tensor:
        (patches,) = self.forward_stem(pixel_values, 2)
        return self.forward_rest([patches if keep_indices is None else keep_patches(patches, keep_indices)], 2)

    def layers(self) -> list[nn.Module]:
        """Return the pretrained network as one layer, then the embedding of its cells and the blocks on top."""
        return [self.network, *self.blocks]

    def head_modules(self) -> list[nn.Module]:
        """Return what follows the last layer."""
        return [self.norm]

    def forward_stem(self, pixel_values: Tensor, count: int) -> tuple[Tensor, ...]:
        """Run the first ``count`` (at least 1) layers; return what the others need of them."""
        return (self.blocks[: count - 1](self._cells(pixel_values)),)

    def forward_rest(self, features: Sequence[Tensor], count: int) -> Tensor:
        """Run the layers after the first ``count``, and the head, on what :meth:`forward_stem` returned."""
        (patches,) = features
        return self.norm(self.blocks[count - 1 :](patches))

    def stem_shapes(self, count: int) -> list[tuple[int, ...]]:
        """Return the shapes of what :meth:`forward_stem` returns, without B."""
        return [(self.grid[0] * self.grid[1], self.channels if count == 1 else self.width)]

    def _cells(self, pixel_values: Tensor) -> Tensor:
        """Return the feature map's cells (B, N, channels)."""
        features = self.network(pixel_values.contiguous(memory_format=torch.channels_last))[0]
        return features.flatten(1, 2) if self._channels_come_last() else flatten_map(features)

    def _channels_come_last(self) -> bool:
        """Return whether maps are (B, h, w, channels), as Swin's are; timm says which."""
        return str(getattr(self.network, "output_fmt", None)).endswith("NHWC")

    def _map_shape(self, name: str, size: tuple[int, int]) -> tuple[int, int, int]:
        """Return channels, height and width of the feature map of a photo of ``size``."""
        training = self.network.training
        try:
            with torch.no_grad():
                shape = self.network.eval()(torch.zeros(1, 3, *size))[0].shape
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{name} can't take photos of {size[0]} x {size[1]} pixels: {error}") from error
        finally:
            self.network.train(training)
        if self._channels_come_last():
            return int(shape[3]), int(shape[1]), int(shape[2])
        return int(shape[1]), int(shape[2]), int(shape[3])


class CellEmbedding(nn.Module):
    """Turn the cells of a feature map (B, N, channels) into patches (B, N, width), and add their positions.

    Positions are learned, from sines and cosines of row and column (Chen et al. 2021, section 3): from random ones it
    takes many epochs to tell left from right.
    """

    def __init__(self, channels: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, width)
        self.position_embedding = nn.Parameter(build_sincos2d_pos_embed(list(grid), dim=width)[None])

    def forward(self, cells: Tensor) -> Tensor:
        return self.projection(cells) + self.position_embedding


def flatten_map(feature_map: Tensor) -> Tensor:
    """Flatten a map (B, channels, h, w) → (B, h·w, channels)."""
    return feature_map.flatten(2).transpose(1, 2)
