"""The encoder: a timm network whose patch tokens, or feature-map cells, are what the words look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from wordgaze import compat  # noqa: F401  (before timm: it imports torchvision)

# isort: split
import timm
import torch
from safetensors import SafetensorError
from timm.data import resolve_model_data_config
from timm.layers import build_sincos2d_pos_embed
from timm.models.efficientnet import EfficientNet
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from wordgaze.errors import ConfigError, ModelError
from wordgaze.model.config import EncoderConfig


class VitEncoder(nn.Module):
    """Any timm ViT: pixels (B, 3, H, W) → patch tokens (B, N, width), after its final norm.

    Class and register tokens are dropped unless ``prefix_tokens``, and then stand first. Of the patches only those at
    ``kept`` (B, K) go through the blocks, if given (Liu et al. 2022, PatchDropout).
    """

    network: Any  # timm gives its networks no common type

    def __init__(self, config: EncoderConfig, weights: str | None = None) -> None:
        super().__init__()
        options: dict[str, Any] = {"num_classes": 0, "drop_path_rate": config.drop_path}
        if config.image_size is not None:
            options["img_size"] = config.image_size
        self.network = _create(config.name, weights, **options)
        if not hasattr(self.network, "num_prefix_tokens") or not hasattr(self.network, "patch_embed"):
            raise ConfigError(f"{config.name} is not a ViT with patch tokens; set encoder.features to 'map'.")
        if isinstance(getattr(self.network, "norm", None), nn.Identity) and hasattr(self.network, "fc_norm"):
            # An average-pooled ViT norms behind its pooling; here the patches themselves go on.
            self.network.norm = self.network.fc_norm
        for unused in ("fc_norm", "attn_pool"):
            if hasattr(self.network, unused):
                setattr(self.network, unused, nn.Identity())
        self.num_prefix = int(self.network.num_prefix_tokens) if config.prefix_tokens else 0
        self.width = int(self.network.num_features)
        height, width = self.network.patch_embed.grid_size
        sides = zip(self.network.patch_embed.img_size, self.network.patch_embed.patch_size, strict=True)
        if any(side % patch for side, patch in sides):
            patch = self.network.patch_embed.patch_size[0]
            raise ConfigError(
                f"encoder.image_size {config.image_size} does not divide into patches of {patch} pixels; "
                f"choose multiples of {patch}."
            )
        self.grid = (int(height), int(width))

    def forward(self, pixel_values: Tensor, kept: Tensor | None = None) -> Tensor:
        if kept is None or not self._is_plain():
            tokens = self._without_prefix(self.network.forward_features(pixel_values))
            return tokens if kept is None else chosen(tokens, kept, self.num_prefix)
        tokens = VitEncoder.begin(self, pixel_values, 0)
        return VitEncoder.finish(self, chosen(tokens, kept, int(self.network.num_prefix_tokens)), 0)

    def layers(self) -> list[nn.Module]:
        """The network's blocks, first to last, for freezing and layer-wise learning rates."""
        return list(self.network.blocks)

    def after_layers(self) -> list[nn.Module]:
        """What comes behind the last of the layers."""
        return [self.network.norm]

    def begin(self, pixel_values: Tensor, count: int) -> Tensor:
        """What the first ``count`` layers make of ``pixel_values``; beyond all, the whole encoder."""
        if count > len(self.layers()):
            return self(pixel_values)
        if not self._is_plain():
            raise ConfigError(
                "The first layers of this ViT can't be run alone; set encoder.freeze to 'all' or cache to null."
            )
        tokens = self.network.norm_pre(self.network._pos_embed(self.network.patch_embed(pixel_values)))
        return self.network.blocks[:count](tokens)

    def finish(self, features: Tensor, count: int) -> Tensor:
        """The rest: ``finish(begin(x, n), n)`` equals ``forward(x)``."""
        if count > len(self.layers()):
            return features
        return self._without_prefix(self.network.norm(self.network.blocks[count:](features)))

    def _without_prefix(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.network.num_prefix_tokens - self.num_prefix :]

    def _is_plain(self) -> bool:
        """Whether we may walk through timm's forward ourselves."""
        return isinstance(self.network, VisionTransformer)


class CellEmbedding(nn.Module):
    """The cells of a feature map (B, N, channels) as patches (B, N, width), each with its place.

    Places are learnt, from sines and cosines of row and column (Chen et al. 2021, section 3): from random ones it takes
    many epochs to tell left from right.
    """

    def __init__(self, channels: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, width)
        places = build_sincos2d_pos_embed(list(grid), dim=width)
        self.position_embedding = nn.Parameter(places[None])

    def forward(self, cells: Tensor) -> Tensor:
        return self.projection(cells) + self.position_embedding


class FeatureMapEncoder(nn.Module):
    """The hybrid ViT (Dosovitskiy et al. 2021, section 3.1): a feature map's cells as patches, ViT blocks on top.

    pixels (B, 3, H, W) → (B, N, width), N = the map's cells, row by row; with ``kept`` (B, K) of those cells alone.
    """

    num_prefix = 0
    network: Any

    def __init__(self, config: EncoderConfig, weights: str | None = None) -> None:
        super().__init__()
        self.network = _create(config.name, weights, features_only=True, out_indices=(config.map_index,))
        self.network.to(memory_format=torch.channels_last)  # in which convolutions are faster, on CPUs twice
        size = config.image_size or preprocessing_of(self.network)["size"]
        channels, *grid = self._map_shape(config, size)
        self.grid = (grid[0], grid[1])
        self.width = config.width
        self.blocks = nn.Sequential(CellEmbedding(channels, config.width, self.grid), *_blocks(config))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, pixel_values: Tensor, kept: Tensor | None = None) -> Tensor:
        patches = self.begin(pixel_values, 2)
        return self.finish(patches if kept is None else chosen(patches, kept), 2)

    def layers(self) -> list[nn.Module]:
        """The pretrained network as one layer, then the embedding of its cells and the blocks on top."""
        return [self.network, *self.blocks]

    def after_layers(self) -> list[nn.Module]:
        return [self.norm]

    def begin(self, pixel_values: Tensor, count: int) -> Tensor:
        """What the first ``count`` (at least 1) layers make of ``pixel_values``; beyond all, the whole encoder."""
        features = self.blocks[: count - 1](self._cells(pixel_values))
        return self.norm(features) if count > len(self.blocks) + 1 else features

    def finish(self, features: Tensor, count: int) -> Tensor:
        """The rest: ``finish(begin(x, n), n)`` equals ``forward(x)``."""
        return features if count > len(self.blocks) + 1 else self.norm(self.blocks[count - 1 :](features))

    def _cells(self, pixel_values: Tensor) -> Tensor:
        """(B, N, channels); some networks (Swin) give their maps channels last, and timm says which."""
        features = self.network(pixel_values.contiguous(memory_format=torch.channels_last))[0]
        last = str(getattr(self.network, "output_fmt", None)).endswith("NHWC")
        return features.flatten(1, 2) if last else _cells_of(features)

    def _map_shape(self, config: EncoderConfig, size: tuple[int, int]) -> tuple[int, int, int]:
        """Channels, height and width of the feature map of a photo of ``size``."""
        training = self.network.training
        try:
            with torch.no_grad():
                shape = self.network.eval()(torch.zeros(1, 3, *size))[0].shape
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"{config.name} can't take photos of {size[0]} x {size[1]} pixels: {error}"
            ) from error
        finally:
            self.network.train(training)
        if str(getattr(self.network, "output_fmt", None)).endswith("NHWC"):
            return int(shape[3]), int(shape[1]), int(shape[2])
        return int(shape[1]), int(shape[2]), int(shape[3])


class PairedEncoder(VitEncoder):
    """A ViT, and added to each of its patches what a second network, mostly a convolutional one, has there.

    pixels (B, 3, H, W) → (B, N, width): of the ViT, of each of ``config.beside_maps`` and of the second network's last
    features (timm's ``forward_features``, a head's convolution included) the cells are normalised over their channels,
    projected to ``config.width``, brought to the grid of patches (bilinear), and added up; ``config.blocks`` ViT blocks
    then let the patches see each other. The second network's batch norms keep their statistics.
    """

    beside: Any

    def __init__(
        self, config: EncoderConfig, weights: str | None = None, beside_weights: str | None = None
    ) -> None:
        super().__init__(config, weights)
        assert config.beside is not None
        self.beside = _create(config.beside, beside_weights, num_classes=0)
        if not hasattr(self.beside, "forward_intermediates"):
            raise ConfigError(
                f"timm gives no feature maps of {config.beside}; choose another encoder.beside."
            )
        self.beside.to(memory_format=torch.channels_last)
        self.beside_maps = sorted(config.beside_maps)
        try:
            maps = [self.beside.feature_info[index] for index in (*self.beside_maps, -1)]
        except IndexError as error:
            raise ConfigError(
                f"encoder.beside_maps {config.beside_maps} counts backwards from -1, and {config.beside} has "
                f"{len(self.beside.feature_info)} maps."
            ) from error
        # Of an EfficientNet what comes behind the last of the maps can be run, and so taught, alone.
        splits = self.beside_maps and isinstance(self.beside, EfficientNet)
        self._lower_blocks = self.beside.stage_ends[self.beside_maps[-1]] if splits else None
        last = getattr(self.beside, "head_hidden_size", None) or self.beside.num_features
        channels = [*(each["num_chs"] for each in maps[:-1]), last]
        height, width = self.network.patch_embed.img_size
        self.map_grids = [
            (math.ceil(height / each["reduction"]), math.ceil(width / each["reduction"])) for each in maps
        ]
        patches = self.grid[0] * self.grid[1] + int(self.network.num_prefix_tokens)
        cells = [down * across for down, across in self.map_grids]
        self._shapes = [(patches, self.width), *zip(cells, channels, strict=True)]
        self.beside_norms = nn.ModuleList(nn.LayerNorm(count) for count in channels)
        self.projections = nn.ModuleList(nn.Linear(count, config.width) for count in (self.width, *channels))
        self.blocks = _blocks(config)
        self.width = config.width
        self.train(self.training)

    def train(self, mode: bool = True) -> PairedEncoder:
        super().train(mode)
        self.beside.eval()
        return self

    def forward(self, pixel_values: Tensor, kept: Tensor | None = None) -> Tensor:
        last, maps = self.beside.forward_intermediates(
            pixel_values.contiguous(memory_format=torch.channels_last), indices=self.beside_maps
        )
        patches = super().forward(pixel_values, kept)
        return self._joined(patches, [_cells_of(each) for each in (*maps, last)], kept)

    def layers(self) -> list[nn.Module]:
        """The second network up to its maps, the ViT's blocks, the rest of the second network.

        One that is no EfficientNet is the first layer as a whole.
        """
        if self._lower_blocks is None:
            return [self.beside, *super().layers()]
        lower = nn.ModuleList(
            [self.beside.conv_stem, self.beside.bn1, *self.beside.blocks[: self._lower_blocks]]
        )
        return [lower, *super().layers(), nn.ModuleList(self._upper())]

    def after_layers(self) -> list[nn.Module]:
        return [*super().after_layers(), self.beside_norms, self.projections, *self.blocks]

    def begin(self, pixel_values: Tensor, count: int) -> Tensor:
        """What the first ``count`` (at least 1) layers make of ``pixel_values``, (B, F); beyond all, the whole."""
        if count > len(self.layers()):
            return self(pixel_values)
        whole = self._last_is_frozen(count)
        found = self.beside.forward_intermediates(
            pixel_values.contiguous(memory_format=torch.channels_last),
            indices=self.beside_maps,
            stop_early=not whole,
            intermediates_only=not whole,
        )
        maps = [*found[1], found[0]] if whole else found
        tokens = super().begin(pixel_values, min(count - 1, len(self.network.blocks)))
        return torch.cat([each.flatten(1) for each in (tokens, *map(_cells_of, maps))], dim=1)

    def finish(self, features: Tensor, count: int) -> Tensor:
        if count > len(self.layers()):
            return features
        whole = self._last_is_frozen(count)
        shapes = self._shapes if whole else self._shapes[:-1]
        apart = features.split([cells * channels for cells, channels in shapes], dim=1)
        tokens, *maps = (each.unflatten(1, shape) for each, shape in zip(apart, shapes, strict=True))
        if not whole:
            last = maps[-1].transpose(1, 2).unflatten(2, self.map_grids[-2])
            for module in self._upper():
                last = module(last)
            maps.append(_cells_of(last))
        return self._joined(super().finish(tokens, min(count - 1, len(self.network.blocks))), maps)

    def _upper(self) -> list[nn.Module]:
        return [*self.beside.blocks[self._lower_blocks :], self.beside.conv_head, self.beside.bn2]

    def _last_is_frozen(self, count: int) -> bool:
        return self._lower_blocks is None or count == len(self.layers())

    def _joined(self, patches: Tensor, maps: Sequence[Tensor], kept: Tensor | None = None) -> Tensor:
        """Patches (B, N, the ViT's width) and the cells (B, h·w, channels) of maps → (B, N, width)."""
        joined = self.projections[0](patches)
        for cells, grid, norm, projection in zip(
            maps, self.map_grids, self.beside_norms, list(self.projections)[1:], strict=True
        ):
            # Projected first: to resample is linear as well, and there are fewer cells than patches.
            projected = projection(norm(cells)).transpose(1, 2).unflatten(2, grid)
            beside = _cells_of(_resampled(projected, self.grid))
            joined = joined + (beside if kept is None else chosen(beside, kept))
        return self.blocks(joined)


def _blocks(config: EncoderConfig) -> nn.Sequential:
    rates = torch.linspace(0, config.drop_path, config.blocks).tolist()
    return nn.Sequential(
        *(Block(config.width, config.heads, qkv_bias=True, drop_path=rate) for rate in rates)
    )


def chosen(tokens: Tensor, kept: Tensor, num_prefix: int = 0) -> Tensor:
    """Of ``tokens`` (B, N, D) the ``num_prefix`` first, and of the patches behind them those at ``kept`` (B, K)."""
    patches = tokens.gather(1, num_prefix + kept[..., None].expand(-1, -1, tokens.shape[2]))
    return torch.cat((tokens[:, :num_prefix], patches), dim=1)


def _cells_of(feature_map: Tensor) -> Tensor:
    """(B, channels, h, w) → (B, h·w, channels)."""
    return feature_map.flatten(2).transpose(1, 2)


def _resampled(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, channels, h, w) → (B, channels, H_p, W_p)."""
    if feature_map.shape[2:] == grid:
        return feature_map
    return nn.functional.interpolate(feature_map, grid, mode="bilinear", align_corners=False)


Encoder = VitEncoder | FeatureMapEncoder


def build_encoder(
    config: EncoderConfig, weights: str | None = None, beside_weights: str | None = None
) -> Encoder:
    """The encoder of ``config``; ``weights`` is None (random), ``"hub"`` (timm's), or a file with timm's names.

    ``beside_weights`` likewise, of the network ``config.beside``. Raises ConfigError for an unknown name or size,
    ModelError for weights that can't be had.
    """
    if config.beside is not None:
        return PairedEncoder(config, weights, beside_weights)
    return (FeatureMapEncoder if config.features == "map" else VitEncoder)(config, weights)


def preprocessing_of(network: nn.Module) -> dict[str, Any]:
    """Size (H, W), mean, std and interpolation from timm's own configuration of ``network``."""
    data = resolve_model_data_config(network)
    size = getattr(getattr(network, "patch_embed", None), "img_size", None) or data["input_size"][1:]
    return {
        "size": (int(size[0]), int(size[1])),
        "mean": tuple(data["mean"]),
        "std": tuple(data["std"]),
        "interpolation": data["interpolation"],
    }


def _create(name: str, weights: str | None, **options: Any) -> nn.Module:
    """``timm.create_model`` whose failures are sentences."""
    create = cast(Callable[..., nn.Module], timm.create_model)
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:3])
        hint = f"such as {close}" if close else "see timm.list_models()"
        raise ConfigError(f"timm has no network called {name!r}; choose another encoder.name, {hint}.")
    if weights is not None:
        options["pretrained"] = True
    if weights not in (None, "hub"):
        if not Path(weights).is_file():
            raise ModelError(f"The encoder weights {weights} do not exist; correct encoder.pretrained.")
        options["pretrained_cfg_overlay"] = {"file": weights}
    try:
        return create(name, **options)
    except TypeError as error:
        raise ConfigError(f"timm can't build {name} with {options}: {error}.") from error
    except (AssertionError, IndexError, ValueError) as error:
        raise ConfigError(f"timm can't build {name} as asked: {error}.") from error
    except (RuntimeError, OSError, KeyError, SafetensorError) as error:
        source = weights if weights not in (None, "hub") else "timm's hub"
        raise ModelError(f"The weights of {name} can't be taken from {source}: {error}") from error
