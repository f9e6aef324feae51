"""What a training run changes in a model before its first step: its size, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from wordgaze.errors import ConfigError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.model.decoder import Decoder
from wordgaze.model.encoders.fused import FusedEncoder


def expand(
    model: CaptionModel, encoder: EncoderConfig, aux_weights: str | None = None, dropout: float | None = None
) -> CaptionModel:
    """Return ``model`` with another ``image_size``, a second network ``beside`` its ViT, more ``blocks``, or all that.

    The weights stay: position embeddings are resampled, and what is new adds nothing to a patch at first. ``dropout``
    is the decoder's, by default as it was. Raises ConfigError for what ``encoder`` can't have.
    """
    old = model.config
    decoder = old.decoder if dropout is None else replace(old.decoder, dropout=dropout)
    changed = [field.name for field in fields(encoder) if vars(encoder)[field.name] != vars(old.encoder)[field.name]]
    becomes_fused = encoder.beside != old.encoder.beside
    encoder = _checked(encoder, old.encoder, decoder)
    expanded = CaptionModel(CaptionModelConfig(encoder, decoder), None, aux_weights if becomes_fused else None)
    state = model.state_dict()
    if encoder.image_size != old.encoder.image_size:
        _resample_positions(state, model, expanded)
    if becomes_fused:
        _begin_at_nothing(expanded)
        width = decoder.states_width
        identity = {"weight": torch.eye(width), "bias": torch.zeros(width)}
        for name, value in identity.items():  # the bridge becomes the ViT's projection
            state[f"encoder.projections.0.{name}"] = state.pop(f"bridge.{name}", value)
    _silence_blocks(expanded, encoder.blocks - old.encoder.blocks)
    _check_shapes(state, expanded.state_dict(), changed)
    expanded.load_state_dict(state, strict=False)  # what is not in it stays as ``aux_weights`` has it
    return expanded


@torch.no_grad()
def fold_temperature_(decoder: Decoder, temperature: float) -> None:
    """Divide all logits by ``temperature``, in the weights: greedy captions stay, the probabilities move."""
    last: Any = decoder.final_norm if decoder.config.norm == "pre" else decoder.blocks[-1].mlp_norm
    if decoder.config.head == "bert":
        last = decoder.head[-1]
    for values in (last.weight, last.bias, decoder.logits_bias):
        if values is not None:
            values.div_(temperature)


def _checked(encoder: EncoderConfig, old: EncoderConfig, decoder: DecoderConfig) -> EncoderConfig:
    """Return ``encoder`` with the sizes that the decoder decides; raise ConfigError for what ``old`` can't become."""
    if encoder.beside != old.beside:
        if old.beside is not None:
            raise ConfigError(f"The model already has {old.beside} beside its ViT; leave encoder.beside out.")
        encoder = replace(encoder, width=decoder.states_width)
    if encoder.blocks < old.blocks:
        raise ConfigError(f"The model has {old.blocks} blocks; encoder.blocks can't be {encoder.blocks}.")
    if encoder.blocks and not old.blocks and encoder.beside is not None:
        encoder = replace(encoder, heads=decoder.heads)
    return encoder


def _resample_positions(state: dict[str, Any], model: CaptionModel, expanded: CaptionModel) -> None:
    """Bring the position embeddings in ``state``, a ViT's or a hybrid's, to the grid of ``expanded``."""
    prefix = getattr(model.encoder.network, "num_prefix_tokens", 0)  # a hybrid's network has no such tokens
    for name, num_prefix in (
        ("encoder.network.pos_embed", int(prefix)),
        ("encoder.blocks.0.position_embedding", 0),
    ):
        if name in state:
            old, new = list(model.grid), list(expanded.grid)
            state[name] = resample_abs_pos_embed(state[name], new, old, num_prefix_tokens=num_prefix)


def _check_shapes(state: Mapping[str, Tensor], expanded: Mapping[str, Tensor], changed: Sequence[str]) -> None:
    """Raise ConfigError for weights in ``state`` that have no place: relative positions, for one, don't grow."""
    for name in state.keys() & expanded.keys():
        if state[name].shape != expanded[name].shape:
            settings = ", ".join(f"encoder.{setting}" for setting in changed)
            raise ConfigError(
                f"The model can't change its {settings}: the weights {name} of shape {list(state[name].shape)} "
                f"would need {list(expanded[name].shape)}; leave {settings} out."
            )


def _begin_at_nothing(model: CaptionModel) -> None:
    """Zero what the second network adds to the patches."""
    assert isinstance(model.encoder, FusedEncoder)
    for projection in list(model.encoder.projections)[1:]:
        _zero(*projection.parameters())


def _silence_blocks(model: CaptionModel, count: int) -> None:
    """Let the last ``count`` blocks on top of the encoder add nothing to their input."""
    encoder: Any = model.encoder
    for block in list(encoder.blocks)[-count:] if count else []:
        _zero(*block.attn.proj.parameters(), *block.mlp.fc2.parameters())


def _zero(*parameters: Tensor) -> None:
    for parameter in parameters:
        nn.init.zeros_(parameter)
