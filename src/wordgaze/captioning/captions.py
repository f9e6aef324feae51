"""Captions from a model's parts, and the ids of captions that somebody wrote. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from wordgaze.errors import ConfigError, wrong_kind
from wordgaze.folder import Parts
from wordgaze.generation.caption import Caption, CaptionWord
from wordgaze.generation.limits import check_fits
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import search
from wordgaze.generation.stepper import Stepper


def generate_captions(parts: Parts, stepper: Stepper, options: GenerationOptions) -> list[list[GeneratedCaption]]:
    """Return the ids of each photo's captions, best first."""
    return search(
        stepper,
        options,
        bos_id=parts.tokenizer.bos_id,
        eos_id=parts.tokenizer.eos_id,
        pad_id=parts.tokenizer.pad_id,
        prompt_ids=encode_prompt(parts, options),
    )


def encode_prompt(parts: Parts, options: GenerationOptions) -> list[int]:
    """Return the ids that captions begin with; raises ConfigError for a prompt without words, or too long."""
    ids = parts.tokenizer.encode_prompt(options.prompt)
    check_fits(options, parts.config.decoder, len(ids))
    return ids


def to_caption(parts: Parts, generated: Sequence[GeneratedCaption], options: GenerationOptions) -> Caption:
    """Return the best of a photo's captions, with the rest as its alternatives."""
    best, *alternatives = (
        Caption(parts.tokenizer.decode(caption.token_ids), caption.log_probability, _words(parts, caption))
        for caption in generated
    )
    confidence = None if options.sample else parts.confidence
    return replace(
        best,
        alternatives=tuple(alternatives),
        confidence=None if confidence is None else confidence(best.features()),
    )


def encode_text(parts: Parts, text: str) -> list[int]:
    """Return the ids of a caption that somebody wrote; raise ConfigError for one that the model can't read."""
    if not isinstance(text, str):
        raise wrong_kind("text", text, "a text, one caption")
    ids = parts.tokenizer.encode(text)
    longest = parts.config.decoder.positions
    if len(ids) - 1 > longest:
        raise ConfigError(
            f"The text is {len(ids) - 1} tokens long, but this model reads at most {longest}; shorten it."
        )
    if not parts.tokenizer.words(ids):
        raise ConfigError(f"The text {text!r} holds no words; write a caption.")
    return ids


def _words(parts: Parts, caption: GeneratedCaption) -> tuple[CaptionWord, ...]:
    first = 1 + caption.num_given  # the start token and the prompt have no log-probabilities
    words = []
    for span in parts.tokenizer.words(caption.token_ids):
        log_probs = caption.token_log_probs[max(span.start - first, 0) : max(span.stop - first, 0)]
        words.append(CaptionWord(span.text, math.exp(sum(log_probs)) if log_probs else None))
    return tuple(words)
