"""Captions and their ids, by the parts of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from wordgaze.errors import ConfigError, wrong_kind
from wordgaze.folder import ModelParts
from wordgaze.generation.caption import Caption, CaptionWord
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import generate


def search(
    parts: ModelParts, encoder_hidden_states: Tensor, options: GenerationOptions
) -> list[list[GeneratedCaption]]:
    """Return the ids of each photo's captions, best first; ``encoder_hidden_states`` (B, N, D)."""
    return generate(
        parts.model,
        encoder_hidden_states,
        options,
        bos_id=parts.tokenizer.bos_id,
        eos_id=parts.tokenizer.eos_id,
        pad_id=parts.tokenizer.pad_id,
    )


def as_caption(parts: ModelParts, found: Sequence[GeneratedCaption], options: GenerationOptions) -> Caption:
    """Return the best of a photo's captions, the rest its alternatives."""
    best, *others = (
        Caption(parts.tokenizer.decode(one.token_ids), one.log_probability, _words(parts, one))
        for one in found
    )
    confidence = None if options.sample else parts.confidence
    return replace(
        best,
        alternatives=tuple(others),
        confidence=None if confidence is None else confidence(best.features()),
    )


def ids_of(parts: ModelParts, text: str) -> list[int]:
    """Return the ids of a caption that somebody wrote; raises ConfigError for one that the model can't read."""
    if not isinstance(text, str):
        raise wrong_kind("text", text, "a text, one caption")
    ids = parts.tokenizer.encode(text)
    longest = parts.model.config.decoder.positions
    if len(ids) - 1 > longest:
        raise ConfigError(
            f"The text is {len(ids) - 1} tokens long, this model reads {longest} at most; shorten it."
        )
    if not parts.tokenizer.words(ids):
        raise ConfigError(f"The text {text!r} holds no words; write a caption.")
    return ids


def _words(parts: ModelParts, found: GeneratedCaption) -> tuple[CaptionWord, ...]:
    log_probs = found.token_log_probs  # one shorter than the ids: none for the start token
    return tuple(
        CaptionWord(span.text, math.exp(sum(log_probs[span.start - 1 : span.stop - 1])))
        for span in parts.tokenizer.words(found.token_ids)
    )
