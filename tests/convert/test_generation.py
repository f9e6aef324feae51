"""A checkpoint's own search, and the ids that its captions start and end with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wordgaze.convert.checkpoint import Checkpoint
from wordgaze.convert.generation import Search, search_defaults, start_end_pad
from wordgaze.errors import ModelError
from wordgaze.text.tokenizer import SpecialIds


def checkpoint(folder: Path, config: dict[str, Any], generation: dict[str, Any] | None = None) -> Checkpoint:
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return Checkpoint(folder, "checkpoint", config)


def defaults(folder: Path, config: dict[str, Any], generation: dict[str, Any] | None = None) -> Search:
    return search_defaults(checkpoint(folder, config, generation), "decoder", 64)


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        (
            {},
            None,
            {"max_length": 20, "min_length": 0, "num_beams": 1, "no_repeat_ngram_size": 0, "sample": False},
        ),
        ({}, {}, {"max_length": 20, "num_beams": 1, "early_stopping": False, "length_penalty": 1.0}),
        ({}, {"max_length": 16, "num_beams": 4}, {"max_length": 15, "num_beams": 4}),
        ({}, {"max_length": 16, "max_new_tokens": 30}, {"max_length": 30}),
        ({}, {"max_new_tokens": 1000}, {"max_length": 64}),
        ({}, {"min_length": 6}, {"min_length": 6}),
        ({}, {"min_length": 0}, {"min_length": 0}),
        ({}, {"min_length": 6, "min_new_tokens": 9}, {"min_length": 10}),
        ({}, {"early_stopping": "never", "num_beams": 2}, {"early_stopping": "never"}),
        (
            {},
            {"early_stopping": True, "length_penalty": 0.6},
            {"early_stopping": True, "length_penalty": 0.6},
        ),
        ({}, {"num_return_sequences": 2, "num_beams": 3}, {"num_captions": 2}),
        ({}, {"do_sample": True}, {"sample": True, "top_k": 50, "top_p": 1.0}),
        ({}, {"do_sample": True, "top_k": 0, "temperature": 0.7}, {"top_k": 0, "temperature": 0.7}),
        ({}, {"top_p": 0.9, "top_k": 5}, {"sample": False, "top_p": 0.9, "top_k": 5}),
        ({}, {"max_length": None, "num_beams": None}, {"max_length": 20, "num_beams": 1}),
        ({"max_length": 12, "num_beams": 5}, None, {"max_length": 11, "num_beams": 5}),
        ({"num_beams": 5}, {"max_length": 12}, {"max_length": 11, "num_beams": 1}),
        ({"decoder": {"max_length": 20, "num_beams": 2}}, None, {"max_length": 19, "num_beams": 2}),
        (
            {"num_beams": 3, "decoder": {"max_length": 20, "num_beams": 2}},
            None,
            {"max_length": 19, "num_beams": 3},
        ),
    ],
)
def test_the_checkpoints_own_search(
    tmp_path: Path, config: dict[str, Any], generation: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    found = defaults(tmp_path, config, generation)
    assert {name: getattr(found.options, name) for name in expected} == expected
    assert not found.left_out


def test_settings_without_a_counterpart_are_named(tmp_path: Path) -> None:
    values = {
        **{"repetition_penalty": 1.2, "bad_words_ids": [[5]], "forced_bos_token_id": 4},
        # What changes nothing, and what is no search.
        **{"typical_p": 1.0, "suppress_tokens": [], "encoder_no_repeat_ngram_size": 0, "use_cache": True},
        **{"eos_token_id": 3, "transformers_version": "5", "output_attentions": False, "num_beam_groups": 1},
    }
    found = defaults(tmp_path, {}, values)
    assert found.left_out == {"repetition_penalty": 1.2, "bad_words_ids": [[5]], "forced_bos_token_id": 4}
    (tmp_path / "generation_config.json").unlink()
    found = defaults(tmp_path, {"decoder": {"repetition_penalty": 1.5}, "hidden_size": 8})
    assert found.left_out == {"repetition_penalty": 1.5}


@pytest.mark.parametrize(
    ("generation", "words"),
    [
        ({"max_length": "long"}, r"generation_config\.json: max_length is 'long'"),
        ({"max_length": 1}, "max_length is 1"),
        ({"num_beams": 0}, r"generation_config\.json: num_beams is 0"),
        ({"num_beams": "many"}, "num_beams='many'"),
        ({"num_return_sequences": 3}, "3 captions from 1 beams"),
        ({"early_stopping": "soon"}, "early_stopping"),
    ],
)
def test_a_search_that_makes_no_sense_is_said(tmp_path: Path, generation: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        defaults(tmp_path, {}, generation)


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({"decoder_start_token_id": 5, "eos_token_id": 6, "pad_token_id": 7}, None, SpecialIds(5, 6, 7)),
        ({"decoder_start_token_id": 5, "eos_token_id": 6}, None, SpecialIds(5, 6, 6)),
        (
            {"decoder_start_token_id": 5},
            {"decoder_start_token_id": 0, "eos_token_id": [9]},
            SpecialIds(0, 9, 9),
        ),
        ({"decoder": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}}, None, SpecialIds(1, 2, 0)),
        (
            {"decoder": {"bos_token_id": 1, "eos_token_id": 2}},
            {"decoder_start_token_id": 3},
            SpecialIds(3, 2, 2),
        ),
        (
            {"decoder_start_token_id": 50256, "eos_token_id": 50256, "pad_token_id": 50256},
            {},
            SpecialIds(*[50256] * 3),
        ),
    ],
)
def test_ids_come_from_the_configuration(
    tmp_path: Path, config: dict[str, Any], generation: dict[str, Any] | None, expected: SpecialIds
) -> None:
    assert start_end_pad(checkpoint(tmp_path, config, generation), "decoder") == expected
