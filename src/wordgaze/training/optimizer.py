"""Who learns how fast: layer-wise rates, warm-up and cosine."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from wordgaze.model.caption_model import CaptionModel
from wordgaze.training.config import EncoderOptions, TrainOptions


def parameter_groups(model: CaptionModel, encoder: EncoderOptions, train: TrainOptions) -> list[dict[str, Any]]:
    """Return AdamW's groups: a rate for each encoder layer (Clark et al. 2020, appendix A), no decay on vectors."""
    parts = [*model.encoder.layers(), nn.ModuleList(model.encoder.head_modules())]
    depth = {id(parameter): i for i, part in enumerate(parts, start=1) for parameter in part.parameters()}
    encoder_ids = {id(parameter) for parameter in model.encoder.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        rate = train.learning_rate
        if id(parameter) in encoder_ids:
            # What comes before the first layer has depth 0.
            below_top = len(parts) - depth.get(id(parameter), 0)
            rate = encoder.learning_rate * encoder.layer_decay**below_top
        decay = train.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def warmup_cosine(optimizer: torch.optim.Optimizer, warmup: int, total: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Rise linearly over ``warmup`` steps, then fall along half a cosine to zero at ``total`` (Loshchilov 2017)."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
