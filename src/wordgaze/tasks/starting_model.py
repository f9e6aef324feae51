"""The model that a training run starts from: built from its config, or loaded and perhaps grown."""

from __future__ import annotations

import dataclasses
from typing import Any

from wordgaze.convert.gpt2 import gpt2_config, load_gpt2
from wordgaze.convert.load import load_model
from wordgaze.errors import ConfigError, first_line
from wordgaze.folder import ModelParts
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.training.config import DecoderOptions, EncoderOptions, TrainingConfig
from wordgaze.training.surgery import expand

# An encoder or a decoder of any size.
_HOW_IT_LEARNS = {"freeze", "learning_rate", "layer_decay", "patch_drop", "cache", "cache_views", "dropout"}
_GROWS = {"image_size", "blocks", "beside", "beside_maps", "beside_pretrained"}


def build_model(config: TrainingConfig, vocab_size: int) -> CaptionModel:
    """The model a config describes, its encoder and decoder pretrained if it says so."""
    options = config.encoder
    names = {field.name for field in dataclasses.fields(EncoderConfig)}
    encoder = EncoderConfig(**{name: value for name, value in vars(options).items() if name in names})
    pretrained = config.decoder.pretrained
    if pretrained is not None:
        decoder = gpt2_config(pretrained, config.decoder.dropout)
        if decoder.vocab_size != vocab_size:
            raise ConfigError(
                f"The tokenizer has {vocab_size} ids, {pretrained} {decoder.vocab_size}; leave tokenizer.file out."
            )
    else:
        sizes = {k: v for k, v in dataclasses.asdict(config.decoder).items() if k != "pretrained"}
        decoder = DecoderConfig(vocab_size=vocab_size, **sizes)
    try:
        model = CaptionModel(
            CaptionModelConfig(encoder, decoder), options.pretrained, options.beside_pretrained
        )
    except (MemoryError, OverflowError, RuntimeError) as error:  # torch's, of a size that no memory holds
        raise ConfigError(
            f"A model of these sizes can't be built ({first_line(error)}); lower those of encoder and decoder."
        ) from error
    if pretrained is not None:
        load_gpt2(model.decoder, pretrained)
    return model


def initial_model(config: TrainingConfig) -> ModelParts | None:
    """What ``train.initial_model`` names; raises ConfigError where the config asks for another tokenizer or sizes."""
    name = config.train.initial_model
    if name is None:
        return None
    parts = load_model(None if name == "bundled" else name)
    for group in ("tokenizer", "encoder", "decoder"):
        asked = dataclasses.asdict(getattr(config, group))
        default = dataclasses.asdict(type(getattr(config, group))())
        has = {} if group == "tokenizer" else dataclasses.asdict(getattr(parts.model.config, group))
        for field, value in asked.items():
            if field not in {*_HOW_IT_LEARNS, *_GROWS} and value not in (
                None,
                default[field],
                has.get(field),
            ):
                raise ConfigError(
                    f"{group}.{field} is {value!r}, but train.initial_model names {name}, which has its own; "
                    f"leave {group}.{field} out, or train from the beginning."
                )
    encoder, decoder = parts.model.config.encoder, parts.model.config.decoder
    grown = _grown(config.encoder, encoder)
    dropout = (
        decoder.dropout if config.decoder.dropout == DecoderOptions().dropout else config.decoder.dropout
    )
    if (grown, dropout) != (encoder, decoder.dropout):
        parts.model = expand(parts.model, grown, config.encoder.beside_pretrained, dropout)
        size = parts.model.preprocessing_defaults()["size"]
        parts.preprocessing = dataclasses.replace(parts.preprocessing, size=size)
    return parts


def _grown(options: EncoderOptions, initial: EncoderConfig) -> EncoderConfig:
    """The initial model's encoder, with what ``options`` ask for of the fields in which a model can grow."""
    new: dict[str, Any] = {} if options.image_size is None else {"image_size": options.image_size}
    if options.blocks:
        new["blocks"] = options.blocks
    maps = tuple(options.beside_maps)
    if options.beside is not None:
        new |= {"beside": options.beside, "beside_maps": maps}
    elif maps not in (EncoderOptions().beside_maps, initial.beside_maps):
        raise ConfigError(
            f"encoder.beside_maps {maps} names no network; set encoder.beside too, or leave them out."
        )
    return dataclasses.replace(initial, **new)
