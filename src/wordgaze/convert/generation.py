"""A checkpoint's own search: its generation settings, and the ids that start a caption, end it and pad its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wordgaze.convert.checkpoint import Checkpoint
from wordgaze.convert.fields import Fields
from wordgaze.errors import ConfigError, ModelError
from wordgaze.generation.options import GenerationOptions
from wordgaze.text.tokenizer import SpecialIds

GENERATION = "generation_config.json"

# transformers' names of ours, with what transformers does where they are missing.
_OURS: dict[str, tuple[str, Any]] = {
    "num_beams": ("num_beams", 1),
    "num_return_sequences": ("num_captions", 1),
    "do_sample": ("sample", False),
    "temperature": ("temperature", 1.0),
    "top_k": ("top_k", 50),
    "top_p": ("top_p", 1.0),
    "length_penalty": ("length_penalty", 1.0),
    "no_repeat_ngram_size": ("no_repeat_ngram_size", 0),
    "early_stopping": ("early_stopping", False),
}
_LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens")
_NEW_TOKENS = 20
# Settings that change captions and that we don't have, with the values that change nothing.
_OTHERS: dict[str, tuple[Any, ...]] = {
    **{name: (1.0,) for name in ("repetition_penalty", "encoder_repetition_penalty", "typical_p")},
    **{name: (0.0,) for name in ("diversity_penalty", "epsilon_cutoff", "eta_cutoff", "min_p", "top_h")},
    **{name: () for name in ("bad_words_ids", "force_words_ids", "constraints", "sequence_bias")},
    **{name: () for name in ("forced_bos_token_id", "forced_eos_token_id", "forced_decoder_ids")},
    **{name: ([],) for name in ("suppress_tokens", "begin_suppress_tokens")},
    **{name: () for name in ("exponential_decay_length_penalty", "stop_strings", "penalty_alpha")},
    **{name: () for name in ("max_time", "watermarking_config", "dola_layers")},
    "encoder_no_repeat_ngram_size": (0,),
    "num_beam_groups": (1,),
    "guidance_scale": (1.0,),
    "remove_invalid_values": (False,),
    "renormalize_logits": (False,),
    "token_healing": (False,),
}


@dataclass(frozen=True)
class Search:
    """The defaults of a checkpoint, and the names and values of those of its settings that we don't have."""

    options: GenerationOptions
    left_out: Mapping[str, Any]


def search_defaults(checkpoint: Checkpoint, inner: str, positions: int) -> Search:
    """Return the checkpoint's own search; ``inner``: of its ``config.json``, the part that writes.

    transformers' lengths count the start token, ours do not. ``positions``: the longest row that the model reads.
    Raises ModelError for a setting that makes no sense.
    """
    values, file = _settings(checkpoint, inner)
    fields = Fields(values, "", file)
    # Ids after the start token can be as many as the row has positions: the last one is not read.
    longest = fields.whole("max_new_tokens", fields.whole("max_length", _NEW_TOKENS + 1, 2) - 1)
    longest = min(longest, positions)
    # Their min_length counts the start token, ours the end instead; their min_new_tokens counts neither.
    shortest = fields.whole("min_length", 0, 0)
    if "min_new_tokens" in values:
        shortest = fields.whole("min_new_tokens", 0, 0) + 1
    shortest = min(shortest, longest)
    options = {ours: fields.get(name, default) for name, (ours, default) in _OURS.items()}
    if not options["sample"] and "top_k" not in values:
        options["top_k"] = 0  # what is said of sampling holds for a model that samples
    try:
        chosen = GenerationOptions(max_length=longest, min_length=shortest, **options)
    except (ConfigError, TypeError) as error:
        raise ModelError(f"{checkpoint.folder / file}: {error}") from error
    left_out = {
        name: values[name]
        for name, neutral in _OTHERS.items()
        if values.get(name) is not None and values[name] not in neutral
    }
    return Search(chosen, left_out)


def start_end_pad(checkpoint: Checkpoint, inner: str) -> SpecialIds:
    """Return the ids of a VisionEncoderDecoderModel, by its configuration alone; raises ModelError."""
    places = [
        (GENERATION, "", checkpoint.json(GENERATION) or {}),
        ("config.json", "", checkpoint.config),
        ("config.json", inner, checkpoint.config.get(inner) or {}),
    ]
    start = _first_id(places, "decoder_start_token_id") or _first_id(places, "bos_token_id")
    end = _first_id(places, "eos_token_id")
    if start is None or end is None:
        which = "decoder_start_token_id" if start is None else "eos_token_id"
        raise ModelError(
            f"{checkpoint.folder}: there is no {which} in {GENERATION} or config.json, so nothing says how captions "
            "begin and end; use another checkpoint."
        )
    pad = _first_id(places, "pad_token_id")
    return SpecialIds(start[0], end[0], end[0] if pad is None else pad[0])


def _settings(checkpoint: Checkpoint, inner: str) -> tuple[Mapping[str, Any], str]:
    """Return what says how to search, without what is null, and the file that it stands in.

    Old files have it among the sizes of the model, or of its inner part, in transformers' order.
    """
    values = checkpoint.json(GENERATION)
    if values is not None:
        return _said(values), GENERATION
    known = {*_OURS, *_LENGTHS, *_OTHERS}
    part = checkpoint.config.get(inner)
    merged = {**_said(part if isinstance(part, Mapping) else {}), **_said(checkpoint.config)}
    return {name: value for name, value in merged.items() if name in known}, "config.json"


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _first_id(places: list[tuple[str, str, Mapping[str, Any]]], name: str) -> tuple[int] | None:
    for file, place, values in places:
        value = values.get(name)
        if value is None:
            continue
        fields = Fields(values, place, file)
        if isinstance(value, list):
            if len(value) != 1:
                raise fields.refused(name, "captions that end in several ways can't be expressed here")
            value = value[0]
        return (Fields({name: value}, place, file).whole(name, None, 0),)
    return None
