"""The encoder that a config describes, its networks from timm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
from safetensors import SafetensorError
from timm.data import resolve_model_data_config
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from wordgaze.errors import ConfigError, ModelError
from wordgaze.model.config import EncoderConfig, VitShape
from wordgaze.model.encoders.fused import FusedEncoder
from wordgaze.model.encoders.hybrid import HybridEncoder
from wordgaze.model.encoders.vit import VitEncoder

Encoder = VitEncoder | HybridEncoder | FusedEncoder


def build_encoder(config: EncoderConfig, weights: str | None = None, aux_weights: str | None = None) -> Encoder:
    """Return the encoder of ``config``; ``weights`` is None (random), ``"hub"`` (timm's), or a file with timm's names.

    ``aux_weights`` likewise, of the second network, ``config.beside``. Raises ConfigError for an unknown name or size,
    ModelError for weights that can't be had.
    """
    if config.features == "map":
        return _build_hybrid(config, weights)
    vit = _build_vit(config, weights)
    return vit if config.beside is None else FusedEncoder(vit, _build_aux(config.beside, aux_weights), config)


def _build_vit(config: EncoderConfig, weights: str | None) -> VitEncoder:
    options: dict[str, Any] = {"num_classes": 0, "drop_path_rate": config.drop_path}
    if config.image_size is not None:
        options["img_size"] = config.image_size
    if config.norm_eps is not None:
        options["norm_layer"] = partial(nn.LayerNorm, eps=config.norm_eps)
    network: Any
    if config.vit is None:
        network = _create_network(config.name, weights, **options)
    elif weights is None:
        network = _vit_of_shape(config.vit, **options)
    else:
        raise ConfigError("encoder.vit describes a ViT that timm has no weights of; set encoder.pretrained to null.")
    if not hasattr(network, "num_prefix_tokens") or not hasattr(network, "patch_embed"):
        raise ConfigError(f"{config.name} is not a ViT with patch tokens; set encoder.features to 'map'.")
    sides = zip(network.patch_embed.img_size, network.patch_embed.patch_size, strict=True)
    if any(side % patch for side, patch in sides):
        patch = network.patch_embed.patch_size[0]
        raise ConfigError(
            f"encoder.image_size {config.image_size} does not divide into patches of {patch} pixels; "
            f"choose multiples of {patch}."
        )
    return VitEncoder(network, config.prefix_tokens)


def _vit_of_shape(shape: VitShape, **options: Any) -> VisionTransformer:
    """Return a timm ViT of any shape, with random weights; timm counts a second prefix token as a register."""
    return VisionTransformer(
        patch_size=shape.patch_size,
        embed_dim=shape.width,
        depth=shape.layers,
        num_heads=shape.heads,
        mlp_ratio=(shape.mlp_width + 0.5) / shape.width,  # timm cuts the product, which may come out below the integer
        qkv_bias=shape.qkv_bias,
        act_layer=shape.activation,
        class_token=shape.num_prefix_tokens > 0,
        reg_tokens=max(shape.num_prefix_tokens - 1, 0),
        global_pool="",
        **options,
    )


def _build_hybrid(config: EncoderConfig, weights: str | None) -> HybridEncoder:
    network = _create_network(config.name, weights, features_only=True, out_indices=(config.map_index,))
    return HybridEncoder(network, config, config.image_size or preprocessing_of(network)["size"])


def _build_aux(name: str, weights: str | None) -> nn.Module:
    network = _create_network(name, weights, ("beside", "beside_pretrained"), num_classes=0)
    if not hasattr(network, "forward_intermediates"):
        raise ConfigError(f"timm gives no feature maps of {name}; choose another encoder.beside.")
    return network


def preprocessing_of(network: nn.Module) -> dict[str, Any]:
    """Return size (H, W), mean, std and interpolation from timm's own configuration of ``network``."""
    data = resolve_model_data_config(network)
    size = getattr(getattr(network, "patch_embed", None), "img_size", None) or data["input_size"][1:]
    return {
        "size": (int(size[0]), int(size[1])),
        "mean": tuple(data["mean"]),
        "std": tuple(data["std"]),
        "interpolation": data["interpolation"],
    }


def _create_network(
    name: str, weights: str | None, settings: tuple[str, str] = ("name", "pretrained"), **options: Any
) -> nn.Module:
    """Return ``timm.create_model``'s network; its failures become sentences.

    ``settings`` are those of the encoder that give ``name`` and ``weights``.
    """
    create = cast(Callable[..., nn.Module], timm.create_model)
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:3])
        hint = f"such as {close}" if close else "see timm.list_models()"
        raise ConfigError(f"timm has no network called {name!r}; choose another encoder.{settings[0]}, {hint}.")
    if weights is not None:
        options["pretrained"] = True
    if weights not in (None, "hub"):
        if not Path(weights).is_file():
            raise ModelError(f"The encoder weights {weights} do not exist; correct encoder.{settings[1]}.")
        options["pretrained_cfg_overlay"] = {"file": weights}
    try:
        return create(name, **options)
    except TypeError as error:
        raise ConfigError(f"timm can't build {name} with {options}: {error}.") from error
    except (AssertionError, IndexError, ValueError) as error:
        raise ConfigError(f"timm can't build {name} as asked: {error}.") from error
    except (RuntimeError, OSError, KeyError, SafetensorError) as error:
        source = weights if weights not in (None, "hub") else "timm's hub"
        raise ModelError(f"The weights of {name} can't be loaded from {source}: {error}") from error
