"""Every size of a model, as dataclasses; together they are a model folder's ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from wordgaze.errors import ConfigError

FORMAT_VERSION = 1
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu", "tanh")
"""What an MLP may have between its two layers, by timm's names."""

_Config = TypeVar("_Config", bound="VitShape | EncoderConfig | DecoderConfig")

# ``later``: fields that the first format 1 did not have; at their defaults they are not written, so that old versions
# read on. ``hidden``: of models that were trained elsewhere, and so no settings of a training run.
_LATER = {"later": True, "hidden": True}


def _check_least(owner: str, config: Any, *names: str, least: int = 1) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ConfigError(f"{owner}.{name} is {value}; it must be at least {least}.")


def _check_heads(owner: str, width: int, heads: int) -> None:
    if width % heads:
        raise ConfigError(f"{owner}.width {width} does not divide into {heads} heads.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; choose {', '.join(choices)}.")


@dataclass(frozen=True)
class VitShape:
    """The shape of a ViT that has no timm name; ``num_prefix_tokens`` counts class, distillation and register tokens.

    All of them have position embeddings, as in ViT, DeiT and BLIP.
    """

    patch_size: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    qkv_bias: bool = True
    num_prefix_tokens: int = 1
    activation: str = "gelu"

    def __post_init__(self) -> None:
        _check_least("encoder.vit", self, "patch_size", "width", "layers", "heads", "mlp_width")
        _check_least("encoder.vit", self, "num_prefix_tokens", least=0)
        _check_heads("encoder.vit", self.width, self.heads)
        _check_choice("encoder.vit.activation", self.activation, ACTIVATIONS)


@dataclass(frozen=True)
class EncoderConfig:
    """Which timm network turns pixels into patches.

    ``image_size`` (H, W) in pixels, the network's own by default. ``features`` is ``patches`` for a ViT, ``map`` for
    any network with a feature map, whose cells are then the patches (the hybrid of Dosovitskiy et al. 2021, section
    3.1), with ``blocks`` ViT blocks of ``width`` on top; ``map_index`` counts timm's feature maps. ``beside`` is the
    auxiliary backbone of a fused encoder: what its feature maps ``beside_maps`` and its last features have at a patch
    of the ViT is added to it, all at ``width``, again with ``blocks`` on top.

    ``vit`` is the shape of a ViT that timm has no name for; ``name`` is then for people alone. ``norm_eps`` is that of
    the ViT's norms, timm's own by default. With ``prefix_tokens``, a ViT's class and register tokens stay before its
    patches.
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
    vit: VitShape | None = field(default=None, metadata=_LATER)
    norm_eps: float | None = field(default=None, metadata=_LATER)

    def __post_init__(self) -> None:
        if isinstance(self.vit, Mapping):
            object.__setattr__(self, "vit", _from_dict(VitShape, self.vit, "encoder.vit"))
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
                "encoder.beside works only with a ViT's patches; set encoder.features to 'patches' "
                "and prefix_tokens to false."
            )
        _check_heads("encoder", self.width, self.heads)
        if self.features == "map" and self.width % 4:
            raise ConfigError(f"encoder.width is {self.width}; with a feature map it must be a multiple of 4.")
        self._check_vit()

    def _check_vit(self) -> None:
        if self.features == "map" and (self.vit is not None or self.norm_eps is not None):
            raise ConfigError("encoder.vit and encoder.norm_eps describe a ViT; set encoder.features to 'patches'.")
        if self.vit is not None and self.image_size is None:
            raise ConfigError("encoder.vit has no image size of its own; set encoder.image_size.")
        if self.norm_eps is not None and not self.norm_eps > 0:
            raise ConfigError(f"encoder.norm_eps is {self.norm_eps}; it must be above 0.")


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder with cross-attention, by default GPT-2's; ``positions`` is the longest row of ids that it can read.

    ``norm`` stands before each part of a block (``pre``, with a final one), or after it (``post``: BERT, BLIP);
    ``embedding_norm`` adds one after the embeddings. ``head``: the embeddings again (``tied``), or before them a layer,
    ``head_activation`` (None: ``activation``) and a norm, with a bias after them (``bert``). ``source_width`` is that
    of the states that keys and values are made of, ``mlp_width`` the MLP's; None: ``width``, and ``mlp_ratio`` times
    that.
    """

    vocab_size: int = 6000
    width: int = 320
    layers: int = 3
    heads: int = 5
    mlp_ratio: float = 4.0
    positions: int = 64
    dropout: float = 0.1
    norm: str = field(default="pre", metadata=_LATER)
    norm_eps: float = field(default=1e-5, metadata=_LATER)
    activation: str = field(default="gelu_tanh", metadata=_LATER)
    embedding_norm: bool = field(default=False, metadata=_LATER)
    source_width: int | None = field(default=None, metadata=_LATER)
    mlp_width: int | None = field(default=None, metadata=_LATER)
    head: str = field(default="tied", metadata=_LATER)
    head_activation: str | None = field(default=None, metadata=_LATER)

    def __post_init__(self) -> None:
        _check_least("decoder", self, "vocab_size", "width", "layers", "heads", "positions")
        _check_least("decoder", self, "source_width", "mlp_width")
        _check_heads("decoder", self.width, self.heads)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"decoder.dropout is {self.dropout}; it must be in [0, 1).")
        if not self.norm_eps > 0:
            raise ConfigError(f"decoder.norm_eps is {self.norm_eps}; it must be above 0.")
        _check_choice("decoder.norm", self.norm, ("pre", "post"))
        _check_choice("decoder.head", self.head, ("tied", "bert"))
        _check_choice("decoder.activation", self.activation, ACTIVATIONS)
        if self.head_activation is not None:
            _check_choice("decoder.head_activation", self.head_activation, ACTIVATIONS)

    @property
    def states_width(self) -> int:
        """Return the width of the encoder states that the decoder reads."""
        return self.source_width or self.width


@dataclass(frozen=True)
class CaptionModelConfig:
    """Encoder and decoder."""

    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()

    def to_dict(self) -> dict[str, Any]:
        """Return what ``config.json`` holds; fields that are newer than the format only where they say something."""
        return {
            "format_version": FORMAT_VERSION,
            "encoder": _to_dict(self.encoder),
            "decoder": _to_dict(self.decoder),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CaptionModelConfig:
        """Read what :meth:`to_dict` wrote; raise ConfigError on another format or unknown fields."""
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise ConfigError(
                f"config.json has format_version {version!r}, but this wordgaze reads {FORMAT_VERSION}; "
                "update wordgaze or convert the model."
            )
        return cls(
            encoder=_from_dict(EncoderConfig, values.get("encoder"), "encoder"),
            decoder=_from_dict(DecoderConfig, values.get("decoder"), "decoder"),
        )


def _to_dict(config: EncoderConfig | DecoderConfig) -> dict[str, Any]:
    later = {field.name: field.default for field in fields(config) if "later" in field.metadata}
    values = asdict(config).items()
    return {name: value for name, value in values if name not in later or value != later[name]}


def _from_dict(kind: type[_Config], values: Any, name: str) -> _Config:
    if not isinstance(values, Mapping):
        raise ConfigError(f"config.json has no '{name}' object; the model folder is incomplete.")
    unknown = sorted(set(values) - {field.name for field in fields(kind)})
    if unknown:
        raise ConfigError(f"config.json names unknown {name} fields: {', '.join(unknown)}; update wordgaze.")
    return kind(**values)
