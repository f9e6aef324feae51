"""The model that a run starts from: built from its options, or loaded and perhaps expanded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordgaze.convert.gpt2 import gpt2_config, gpt2_tokenizer, load_gpt2
from wordgaze.convert.load import load_model
from wordgaze.data.transform import Preprocessing
from wordgaze.errors import ConfigError, DataError, first_line
from wordgaze.folder import ModelParts
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, EncoderConfig
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.config import (
    DecoderOptions,
    EncoderOptions,
    EncoderShape,
    TokenizerOptions,
    TrainOptions,
)
from wordgaze.training.load_data import TrainingData
from wordgaze.training.surgery import expand, fold_temperature_

_DROPOUT = DecoderOptions().shape.dropout


@dataclass(frozen=True)
class StartingModel:
    """What a run teaches; ``is_initial``: whether it is the model of ``train.initial_model``, and not a new one."""

    parts: ModelParts
    is_initial: bool


def starting_model(
    data: TrainingData,
    resumed_tokenizer: CaptionTokenizer | None,
    encoder: EncoderOptions,
    decoder: DecoderOptions,
    tokenizer: TokenizerOptions,
    train: TrainOptions,
) -> StartingModel:
    """Load ``train.initial_model``, or build a model; ``resumed_tokenizer`` is that of a run which resumes."""
    if train.initial_model is not None:
        parts = initial_model(train.initial_model, encoder, decoder, tokenizer)
    else:
        words = resumed_tokenizer or make_tokenizer(tokenizer, decoder.pretrained, data)
        model = build_model(encoder, decoder, words.vocab_size)
        preprocessing = Preprocessing(**model.preprocessing_defaults())
        parts = ModelParts(model, words, preprocessing, GenerationOptions())
    if train.objective == "scst":
        fold_temperature_(parts.model.decoder, train.temperature)
    parts.preprocessing = data.options.shown_by(parts.preprocessing)
    return StartingModel(parts, is_initial=train.initial_model is not None)


def build_model(encoder: EncoderOptions, decoder: DecoderOptions, vocab_size: int) -> CaptionModel:
    """Return the model that the options describe, its encoder and decoder pretrained if they say so."""
    if decoder.pretrained is None:
        sizes = decoder.shape.whole(vocab_size)
    else:
        sizes = gpt2_config(decoder.pretrained, decoder.shape.dropout)
        if sizes.vocab_size != vocab_size:
            raise ConfigError(
                f"The tokenizer has {vocab_size} ids, {decoder.pretrained} {sizes.vocab_size}; "
                "leave tokenizer.file out."
            )
    config = CaptionModelConfig(encoder.shape.whole(), sizes)
    try:
        model = CaptionModel(config, encoder.pretrained, encoder.beside_pretrained)
    except (MemoryError, OverflowError, RuntimeError) as error:  # torch's, of a size that no memory holds
        raise ConfigError(
            f"A model of these sizes can't be built ({first_line(error)}); lower those of encoder and decoder."
        ) from error
    if decoder.pretrained is not None:
        load_gpt2(model.decoder, decoder.pretrained)
    return model


def initial_model(
    name: str, encoder: EncoderOptions, decoder: DecoderOptions, tokenizer: TokenizerOptions
) -> ModelParts:
    """Return the model ``name``, expanded to the sizes asked for; raise ConfigError where it has others for good."""
    parts = load_model(None if name == "bundled" else name)
    config = parts.model.config
    for setting, value in _fixed_settings(encoder, decoder, tokenizer, config):
        raise ConfigError(
            f"{setting} is {value!r}, but train.initial_model names {name}, which has its own; "
            f"leave {setting} out, or train from the beginning."
        )
    wanted = _expanded(encoder.shape, config.encoder)
    dropout = config.decoder.dropout if decoder.shape.dropout == _DROPOUT else decoder.shape.dropout
    if (wanted, dropout) != (config.encoder, config.decoder.dropout):
        parts.model = expand(parts.model, wanted, encoder.beside_pretrained, dropout)
        size = parts.model.preprocessing_defaults()["size"]
        parts.preprocessing = dataclasses.replace(parts.preprocessing, size=size)
    return parts


def _fixed_settings(
    encoder: EncoderOptions, decoder: DecoderOptions, tokenizer: TokenizerOptions, config: CaptionModelConfig
) -> Iterator[tuple[str, Any]]:
    """Yield the settings, with their values, that differ from a model's ``config`` where it can't change."""
    default = EncoderShape()
    fixed = dataclasses.replace(
        encoder.shape,
        image_size=default.image_size,
        blocks=default.blocks,
        beside=default.beside,
        beside_maps=default.beside_maps,
    )
    yield from _differing("tokenizer", tokenizer)
    yield from _differing("encoder", fixed, config.encoder)
    if encoder.pretrained not in (None, EncoderOptions().pretrained):
        yield "encoder.pretrained", encoder.pretrained
    yield from _differing("decoder", dataclasses.replace(decoder.shape, dropout=_DROPOUT), config.decoder)
    if decoder.pretrained is not None:
        yield "decoder.pretrained", decoder.pretrained


def _differing(group: str, options: Any, config: Any = None) -> Iterator[tuple[str, Any]]:
    """Yield the settings of ``options`` with other values than the defaults and than ``config``."""
    default = type(options)()
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value not in (None, getattr(default, field.name), getattr(config, field.name, None)):
            yield f"{group}.{field.name}", value


def _expanded(shape: EncoderShape, initial: EncoderConfig) -> EncoderConfig:
    """Return the initial model's encoder, with those fields of ``shape`` in which it can be expanded."""
    if shape.beside is not None:
        initial = dataclasses.replace(initial, beside=shape.beside, beside_maps=shape.beside_maps)
    elif shape.beside_maps not in (EncoderShape().beside_maps, initial.beside_maps):
        raise ConfigError(
            f"encoder.beside_maps {shape.beside_maps} names no network; set encoder.beside too, or leave them out."
        )
    return dataclasses.replace(
        initial,
        image_size=initial.image_size if shape.image_size is None else shape.image_size,
        blocks=shape.blocks or initial.blocks,
    )


def make_tokenizer(options: TokenizerOptions, gpt2: str | None, data: TrainingData) -> CaptionTokenizer:
    """Return the tokenizer of a file, or of the decoder ``gpt2``; else train one on the captions."""
    if options.file is not None:
        return CaptionTokenizer.load(options.file)
    if gpt2 is not None:
        return gpt2_tokenizer(gpt2)
    captions = [caption for photo in data.training for caption in photo.captions]
    return CaptionTokenizer.train(
        [*captions, *_read_lines(options.extra_text)],
        vocab_size=options.vocab_size,
        min_frequency=options.min_frequency,
    )


def _read_lines(files: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for file in files:
        try:
            lines += Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"The text file {file} can't be read ({error}); correct tokenizer.extra_text.") from error
    return [line for line in lines if line.strip()]
