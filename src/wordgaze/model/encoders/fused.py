"""A ViT, and added to each of its patches what a second network, mostly a convolutional one, has there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from wordgaze.errors import ConfigError
from wordgaze.model.config import EncoderConfig
from wordgaze.model.encoders.hybrid import flatten_map
from wordgaze.model.encoders.vit import VitEncoder, keep_patches, vit_blocks

# The names of weights in model folders and checkpoints are older than the attributes: inner name → name on disk.
_NAMES_ON_DISK = {"vit.network.": "network.", "aux_backbone.": "beside.", "aux_norms.": "beside_norms."}


class FusedEncoder(nn.Module):
    """Turn pixels (B, 3, H, W) into patches (B, N, width), of a ViT and of the feature maps of ``aux_backbone``.

    These are the maps at ``config.beside_maps`` and its last features (timm's ``forward_features``, a head's
    convolution included). Their cells are normalized over the channels, projected to ``config.width``, resampled to the
    grid of patches (bilinear), and added up; ``config.blocks`` ViT blocks then let the patches see each other. The
    second network's batch norms keep their statistics.
    """

    aux_backbone: Any

    def __init__(self, vit: VitEncoder, aux_backbone: nn.Module, config: EncoderConfig) -> None:
        super().__init__()
        self.vit = vit
        self.aux_backbone = aux_backbone
        self.aux_backbone.to(memory_format=torch.channels_last)
        self.aux_out_indices = sorted(config.beside_maps)
        self._read_map_sizes(config)
        self.aux_norms = nn.ModuleList(nn.LayerNorm(count) for count in self.map_channels)
        self.projections = nn.ModuleList(nn.Linear(count, config.width) for count in (vit.width, *self.map_channels))
        self.blocks = vit_blocks(config.blocks, config.width, config.heads, config.drop_path)
        self.width = config.width
        self.grid, self.num_prefix = vit.grid, vit.num_prefix
        self.train(self.training)
        self.register_state_dict_post_hook(_to_disk)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_disk)  # type: ignore[no-untyped-call]

    def _read_map_sizes(self, config: EncoderConfig) -> None:
        """Set the grids and channels of the maps, and where the second network divides."""
        backbone = self.aux_backbone
        try:
            infos = [backbone.feature_info[index] for index in (*self.aux_out_indices, -1)]
        except IndexError as error:
            raise ConfigError(
                f"encoder.beside_maps {config.beside_maps} counts backwards from -1, but {config.beside} has "
                f"{len(backbone.feature_info)} maps."
            ) from error
        # What an EfficientNet has after the last of the maps can be run alone, and so be taught alone.
        divides = self.aux_out_indices and isinstance(backbone, EfficientNet)
        self._num_lower_blocks = backbone.stage_ends[self.aux_out_indices[-1]] if divides else None
        height, width = self.network.patch_embed.img_size
        self.map_grids = [
            (math.ceil(height / info["reduction"]), math.ceil(width / info["reduction"])) for info in infos
        ]
        last = getattr(backbone, "head_hidden_size", None) or backbone.num_features
        self.map_channels: list[int] = [*(info["num_chs"] for info in infos[:-1]), last]

    @property
    def network(self) -> Any:
        """Return the ViT's network."""
        return self.vit.network

    def train(self, mode: bool = True) -> FusedEncoder:
        super().train(mode)
        self.aux_backbone.eval()
        return self

    def forward(self, pixel_values: Tensor, keep_indices: Tensor | None = None) -> Tensor:
        last, maps = self._intermediates(pixel_values)
        patches = self.vit(pixel_values, keep_indices)
        return self._fuse(patches, [flatten_map(feature_map) for feature_map in (*maps, last)], keep_indices)

    def layers(self) -> list[nn.Module]:
        """Return the second network up to its maps, the ViT's blocks, and the rest of the second network.

        A second network that is no EfficientNet is the first layer as a whole.
        """
        if self._num_lower_blocks is None:
            return [self.aux_backbone, *self.vit.layers()]
        backbone = self.aux_backbone
        lower = [backbone.conv_stem, backbone.bn1, *backbone.blocks[: self._num_lower_blocks]]
        return [nn.ModuleList(lower), *self.vit.layers(), nn.ModuleList(self._upper_layers())]

    def head_modules(self) -> list[nn.Module]:
        """Return what follows the last layer."""
        return [*self.vit.head_modules(), self.aux_norms, self.projections, *self.blocks]

    def forward_stem(self, pixel_values: Tensor, count: int) -> tuple[Tensor, ...]:
        """Run the first ``count`` (at least 1) layers; return the ViT's tokens and the cells of the maps."""
        if self._runs_whole_backbone(count):
            last, maps = self._intermediates(pixel_values)
            maps = [*maps, last]
        else:
            maps = self._intermediates(pixel_values, stop_early=True, intermediates_only=True)
        tokens = self.vit.forward_stem(pixel_values, self._num_vit_layers(count))
        return (*tokens, *map(flatten_map, maps))

    def forward_rest(self, features: Sequence[Tensor], count: int) -> Tensor:
        """Run the layers after the first ``count``, and the head, on what :meth:`forward_stem` returned."""
        tokens, *maps = features
        if not self._runs_whole_backbone(count):
            last = maps[-1].transpose(1, 2).unflatten(2, self.map_grids[-2])
            for module in self._upper_layers():
                last = module(last)
            maps.append(flatten_map(last))
        return self._fuse(self.vit.forward_rest([tokens], self._num_vit_layers(count)), maps)

    def stem_shapes(self, count: int) -> list[tuple[int, ...]]:
        """Return the shapes of what :meth:`forward_stem` returns, without B."""
        maps = [
            (down * across, channels)
            for (down, across), channels in zip(self.map_grids, self.map_channels, strict=True)
        ]
        if not self._runs_whole_backbone(count):
            maps.pop()
        return [*self.vit.stem_shapes(self._num_vit_layers(count)), *maps]

    def _intermediates(self, pixel_values: Tensor, **options: bool) -> Any:
        """Return the last features and the maps (B, channels, h, w), or with ``intermediates_only`` the maps."""
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        return self.aux_backbone.forward_intermediates(pixel_values, indices=self.aux_out_indices, **options)

    def _upper_layers(self) -> list[nn.Module]:
        backbone = self.aux_backbone
        return [*backbone.blocks[self._num_lower_blocks :], backbone.conv_head, backbone.bn2]

    def _runs_whole_backbone(self, count: int) -> bool:
        """Return whether the first ``count`` layers hold all of the second network."""
        return self._num_lower_blocks is None or count == len(self.layers())

    def _num_vit_layers(self, count: int) -> int:
        """Return how many of the first ``count`` layers are the ViT's."""
        return min(count - 1, len(self.vit.layers()))

    def _fuse(self, patches: Tensor, maps: Sequence[Tensor], keep_indices: Tensor | None = None) -> Tensor:
        """Add the maps' cells (B, h·w, channels) to the ViT's patches (B, N, its width) → (B, N, width)."""
        fused = self.projections[0](patches)
        for cells, grid, norm, projection in zip(
            maps, self.map_grids, self.aux_norms, list(self.projections)[1:], strict=True
        ):
            # Projected first: to resample is linear as well, and there are fewer cells than patches.
            projected = projection(norm(cells)).transpose(1, 2).unflatten(2, grid)
            added = flatten_map(_resample(projected, self.grid))
            fused = fused + (added if keep_indices is None else keep_patches(added, keep_indices))
        return self.blocks(fused)


def _resample(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample maps (B, channels, h, w) → (B, channels, H_p, W_p)."""
    if feature_map.shape[2:] == grid:
        return feature_map
    return nn.functional.interpolate(feature_map, grid, mode="bilinear", align_corners=False)


def _to_disk(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    _rename(state, prefix, _NAMES_ON_DISK)


def _from_disk(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    _rename(state, prefix, {name: inner for inner, name in _NAMES_ON_DISK.items()})


def _rename(state: dict[str, Any], prefix: str, names: Mapping[str, str]) -> None:
    """Give the entries after ``prefix`` the names that they have on the other side; their order stays."""
    for key in [key for key in state if key.startswith(prefix)]:
        name = key.removeprefix(prefix)
        old = next((old for old in names if name.startswith(old)), "")
        state[prefix + names.get(old, "") + name.removeprefix(old)] = state.pop(key)
