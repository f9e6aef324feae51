"""Every size of a model, as dataclasses; together they are a model folder's ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from wordgaze.errors import ConfigError

FORMAT_VERSION = 1
_Config = TypeVar("_Config", bound="EncoderConfig | DecoderConfig")


@dataclass(frozen=True)
class EncoderConfig:
    """Which timm network turns pixels into patches.

    ``image_size`` (H, W) in pixels, the network's own by default. ``features`` is ``patches`` for a ViT, ``map`` for
    any network with a feature map, whose cells are then the patches (the hybrid of Dosovitskiy et al. 2021, section
    3.1), with ``blocks`` ViT blocks of ``width`` on top; ``map_index`` counts timm's feature maps. ``beside`` is the
    auxiliary backbone of a fused encoder: what its feature maps ``beside_maps`` and its last features have at a patch
    of the ViT is added to it, all at ``width``, again with ``blocks`` on top.
    """

    name: str = "vit_tiny_patch16_224"
    image_size: tuple[int, int] | None = None
    features: str = "patches"
    map_index: int = -1
    blocks: int = 0
    width: int = 256
    heads: int = 4
    prefix_tokens: bool = False
    drop_path: float = 0.0
    beside: str | None = None
    beside_maps: tuple[int, ...] = (-2,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "beside_maps", tuple(map(int, self.beside_maps)))  # JSON brings lists
        if self.image_size is not None:
            object.__setattr__(self, "image_size", (int(self.image_size[0]), int(self.image_size[1])))
        if self.features not in ("patches", "map"):
            raise ConfigError(
                f"encoder.features is {self.features!r}; choose 'patches' (a ViT) or 'map' (a feature map)."
            )
        if self.features == "patches" and self.beside is None and self.blocks:
            raise ConfigError(
                "encoder.blocks adds ViT blocks to a feature map or to two networks; set encoder.features to 'map', "
                "name a network as encoder.beside, or set blocks to 0."
            )
        if self.features == "map" and self.prefix_tokens:
            raise ConfigError("A feature map has no prefix tokens; set encoder.prefix_tokens to false.")
        if self.beside is not None and (self.features == "map" or self.prefix_tokens):
            raise ConfigError(
                "encoder.beside goes beside a ViT's patches alone; set encoder.features to 'patches' "
                "and prefix_tokens to false."
            )
        if self.width % self.heads:
            raise ConfigError(f"encoder.width {self.width} does not divide into {self.heads} heads.")
        if self.features == "map" and self.width % 4:
            raise ConfigError(
                f"encoder.width is {self.width}; with a feature map it must be a multiple of 4."
            )


@dataclass(frozen=True)
class DecoderConfig:
    """A GPT-2-shaped decoder with cross-attention; ``positions`` is the longest row of ids that it can read."""

    vocab_size: int = 6000
    width: int = 320
    layers: int = 3
    heads: int = 5
    mlp_ratio: float = 4.0
    positions: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "positions"):
            if getattr(self, name) < 1:
                raise ConfigError(f"decoder.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.width % self.heads:
            raise ConfigError(f"decoder.width {self.width} does not divide into {self.heads} heads.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"decoder.dropout is {self.dropout}; it must lie in [0, 1).")


@dataclass(frozen=True)
class CaptionModelConfig:
    """Encoder and decoder."""

    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()

    def to_dict(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CaptionModelConfig:
        """Read what :meth:`to_dict` wrote; raise ConfigError on another format or unknown fields."""
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise ConfigError(
                f"config.json has format_version {version!r}, this wordgaze reads {FORMAT_VERSION}; "
                "update wordgaze or convert the model."
            )
        return cls(
            encoder=_from_dict(EncoderConfig, values.get("encoder"), "encoder"),
            decoder=_from_dict(DecoderConfig, values.get("decoder"), "decoder"),
        )


def _from_dict(kind: type[_Config], values: Any, name: str) -> _Config:
    if not isinstance(values, Mapping):
        raise ConfigError(f"config.json has no '{name}' object; the model folder is not complete.")
    unknown = sorted(set(values) - {field.name for field in fields(kind)})
    if unknown:
        raise ConfigError(f"config.json names unknown {name} fields: {', '.join(unknown)}; update wordgaze.")
    return kind(**values)
