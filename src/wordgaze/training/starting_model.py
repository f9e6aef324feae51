"""The model that a run starts from: built from its options, or loaded and perhaps expanded."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

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

    model: CaptionModel
    tokenizer: CaptionTokenizer
    preprocessing: Preprocessing
    generation: GenerationOptions
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
    pl.seed_everything(train.seed, workers=True, verbose=False)
    # That a feature map's network has weights for a head it has not is no news.
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
    if train.initial_model is not None:
        parts = initial_model(train.initial_model, encoder, decoder, tokenizer)
        start = StartingModel(parts.model, parts.tokenizer, parts.preprocessing, parts.generation, True)
    else:
        words = resumed_tokenizer or make_tokenizer(tokenizer, decoder.pretrained, data)
        model = build_model(encoder, decoder, words.vocab_size)
        preprocessing = Preprocessing(**model.preprocessing_defaults())
        start = StartingModel(model, words, preprocessing, GenerationOptions(), False)
    if train.objective == "scst":
        fold_temperature_(start.model.decoder, train.temperature)
    return dataclasses.replace(start, preprocessing=data.options.shown_by(start.preprocessing))


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
    has = parts.model.config
    for setting, value in _asked_for_good(encoder, decoder, tokenizer, has):
        raise ConfigError(
            f"{setting} is {value!r}, but train.initial_model names {name}, which has its own; "
            f"leave {setting} out, or train from the beginning."
        )
    wanted = _expanded(encoder.shape, has.encoder)
    dropout = has.decoder.dropout if decoder.shape.dropout == _DROPOUT else decoder.shape.dropout
    if (wanted, dropout) != (has.encoder, has.decoder.dropout):
        parts.model = expand(parts.model, wanted, encoder.beside_pretrained, dropout)
        size = parts.model.preprocessing_defaults()["size"]
        parts.preprocessing = dataclasses.replace(parts.preprocessing, size=size)
    return parts


def _asked_for_good(
    encoder: EncoderOptions, decoder: DecoderOptions, tokenizer: TokenizerOptions, has: CaptionModelConfig
) -> Iterator[tuple[str, Any]]:
    """Yield the settings, with their values, that ask for what a model has otherwise and can't change."""
    default = EncoderShape()
    fixed = dataclasses.replace(
        encoder.shape,
        image_size=default.image_size,
        blocks=default.blocks,
        beside=default.beside,
        beside_maps=default.beside_maps,
    )
    yield from _unlike("tokenizer", tokenizer)
    yield from _unlike("encoder", fixed, has.encoder)
    if encoder.pretrained not in (None, EncoderOptions().pretrained):
        yield "encoder.pretrained", encoder.pretrained
    yield from _unlike("decoder", dataclasses.replace(decoder.shape, dropout=_DROPOUT), has.decoder)
    if decoder.pretrained is not None:
        yield "decoder.pretrained", decoder.pretrained


def _unlike(group: str, asked: Any, has: Any = None) -> Iterator[tuple[str, Any]]:
    """Yield the settings ``asked`` for, other than the defaults, that ``has`` has not."""
    default = type(asked)()
    for field in dataclasses.fields(asked):
        value = getattr(asked, field.name)
        if value not in (None, getattr(default, field.name), getattr(has, field.name, None)):
            yield f"{group}.{field.name}", value


def _expanded(asked: EncoderShape, initial: EncoderConfig) -> EncoderConfig:
    """Return the initial model's encoder, with what is ``asked`` for of the fields in which it can be expanded."""
    if asked.beside is not None:
        initial = dataclasses.replace(initial, beside=asked.beside, beside_maps=asked.beside_maps)
    elif asked.beside_maps not in (EncoderShape().beside_maps, initial.beside_maps):
        raise ConfigError(
            f"encoder.beside_maps {asked.beside_maps} names no network; set encoder.beside too, or leave them out."
        )
    return dataclasses.replace(
        initial,
        image_size=initial.image_size if asked.image_size is None else asked.image_size,
        blocks=asked.blocks or initial.blocks,
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
            raise DataError(
                f"The text file {file} can't be read ({error}); correct tokenizer.extra_text."
            ) from error
    return [line for line in lines if line.strip()]
