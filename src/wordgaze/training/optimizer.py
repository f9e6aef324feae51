"""Who learns how fast: freezing, layer-wise rates, warm-up and cosine."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from wordgaze.errors import ConfigError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.training.config import EncoderOptions, TrainOptions


def freeze_encoder(model: CaptionModel, freeze: str | int) -> int:
    """Stops the first layers from learning; returns how many of ``encoder.layers()`` are frozen (all: one more)."""
    layers = model.encoder.layers()
    if freeze == "none":
        return 0
    if freeze == "all":
        model.encoder.requires_grad_(False)
        return len(layers) + 1
    count = int(freeze)
    if not 0 <= count <= len(layers):
        raise ConfigError(f"encoder.freeze is {count}, but this encoder has {len(layers)} layers.")
    if count:
        model.encoder.requires_grad_(False)
        for module in [*layers[count:], *model.encoder.after_layers()]:
            module.requires_grad_(True)
    return count


def parameter_groups(
    model: CaptionModel, encoder: EncoderOptions, train: TrainOptions
) -> list[dict[str, Any]]:
    """AdamW's groups: a rate for each encoder layer (Clark et al. 2020, appendix A), no decay on vectors."""
    layers = model.encoder.layers()
    depth = {id(p): i + 1 for i, layer in enumerate(layers) for p in layer.parameters()}
    depth |= {id(p): len(layers) + 1 for module in model.encoder.after_layers() for p in module.parameters()}
    encoder_ids = {id(parameter) for parameter in model.encoder.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        rate = train.learning_rate
        if id(parameter) in encoder_ids:
            below_top = (
                len(layers) + 1 - depth.get(id(parameter), 0)
            )  # what comes before the layers is layer 0
            rate = encoder.learning_rate * encoder.layer_decay**below_top
        decay = train.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def warmup_cosine(
    optimizer: torch.optim.Optimizer, warmup: int, total: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Rises linearly over ``warmup`` steps, then falls along half a cosine to zero at ``total`` (Loshchilov 2017)."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
