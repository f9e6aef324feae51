"""Every option of a search, of the wrong kind or out of its range, is refused in a sentence that names it."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from wordgaze.errors import ConfigError
from wordgaze.generation.limits import check_fits, check_memory, row_bytes, total_memory
from wordgaze.generation.options import GenerationOptions, shown
from wordgaze.model.config import DecoderConfig

WHOLE = ["num_beams", "num_captions", "top_k", "no_repeat_ngram_size", "min_length", "max_length", "seed"]
NUMBERS = ["temperature", "top_p", "length_penalty"]
NO_NUMBERS = [
    "7",
    "",
    None,
    True,
    False,
    np.True_,
    b"7",
    [3],
    (3,),
    {},
    3j,
    object,
    torch.tensor(3),
    np.array([3]),
]
NO_WHOLE = [*NO_NUMBERS, 2.5, 2.0, float("nan"), float("inf"), np.float32(2), Fraction(5, 2)]


def test_the_tables_name_every_option() -> None:
    names = {*WHOLE, *NUMBERS, "sample", "early_stopping", "prompt"}
    assert names == {field.name for field in fields(GenerationOptions)}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", NO_WHOLE, ids=repr)
def test_what_is_no_whole_number_is_named_with_its_value(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}=.*; it must be a whole number"):
        GenerationOptions(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_named_with_its_value(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}=.*; it must be a number"):
        GenerationOptions(**{name: value})


@pytest.mark.parametrize("value", ["yes", 1, 0, None, 1.0, [], np.int64(1)], ids=repr)
def test_sample_is_true_or_false(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^sample=.*True or False"):
        GenerationOptions(sample=value)


@pytest.mark.parametrize("value", ["yes", "True", "Never", 1, 0, None, [], np.int64(1)], ids=repr)
def test_early_stopping_is_true_false_or_never(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^early_stopping=.*True, False or 'never'"):
        GenerationOptions(early_stopping=value)


@pytest.mark.parametrize("value", [None, 5, b"a", ["a"]], ids=repr)
def test_a_prompt_is_a_text(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^prompt=.*it must be a text"):
        GenerationOptions(prompt=value)


@pytest.mark.parametrize("value", [False, True, "never"])
def test_what_older_versions_do_not_know_is_written_where_it_says_something(value: Any) -> None:
    options = GenerationOptions(early_stopping=value, prompt="a picture of" if value else "")
    assert GenerationOptions.from_dict(options.to_dict()) == options
    assert ("early_stopping" in options.to_dict()) == ("prompt" in options.to_dict()) == bool(value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("num_beams", [0, -1, -(10**30)]),
        ("num_captions", [0, 4]),
        ("temperature", [0, -1.0, float("nan"), float("inf"), 1e-40, 10**400, np.float32("nan")]),
        ("top_k", [-1]),
        ("top_p", [0, 0.0, -0.1, 1.0001, float("nan"), float("-inf")]),
        ("length_penalty", [float("nan"), float("inf"), -51, 1e308]),
        ("no_repeat_ngram_size", [-1]),
        ("min_length", [-1, 31]),
        ("max_length", [0, -5]),
        ("seed", [2**64, -(2**63) - 1, 10**5000]),
    ],
)
def test_what_is_out_of_range_is_named(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=r"num_captions|4 captions" if name == "num_captions" else f"^{name} is"):
            GenerationOptions(**{name: value})


def test_numpys_numbers_are_pythons() -> None:
    given = {name: np.int64(2) for name in WHOLE} | {name: np.float32(0.5) for name in NUMBERS}
    options = GenerationOptions(**given, sample=np.True_)  # type: ignore[arg-type]
    assert options == GenerationOptions(2, 2, True, 0.5, 2, 0.5, 0.5, 2, 2, 2, 2)
    assert {type(value) for value in options.to_dict().values()} == {int, float, bool}
    assert GenerationOptions(seed=2**64 - 1).seed == 2**64 - 1 and GenerationOptions(seed=-1).seed == -1
    assert GenerationOptions(top_k=10**40, no_repeat_ngram_size=10**40).top_k == 10**40


@pytest.mark.parametrize("values", [5, None, "sample", ["sample"]])
def test_what_is_no_mapping_holds_no_options(values: Any) -> None:
    with pytest.raises(ConfigError, match="names with values"):
        GenerationOptions.from_dict(values)


def test_values_are_shown_in_one_short_line() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown("a\nb") == r"'a\nb'" and shown(np.float64(2.5)) == "2.5"
    assert shown(10**5000) == "a number of 16610 bits"
    assert shown(Odd()) == "<Odd>" and len(shown("x" * 900)) == 80


DECODER = DecoderConfig(vocab_size=1000, width=64, layers=2, heads=2, positions=40)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 41}, "max_length is 41, but this model reads at most 40 tokens"),
        ({"num_beams": 1001}, "num_beams is 1001, more than the 1000 tokens"),
        ({"num_beams": 100_000}, "num_beams is 100000"),
        ({"num_beams": 1000}, None),
        ({"num_beams": 100_000, "sample": True}, None),  # which no sample uses
    ],
)
def test_no_more_beams_than_words_and_no_longer_captions_than_positions(
    options: dict[str, Any], message: str | None
) -> None:
    if message is None:
        check_fits(GenerationOptions(**options), DECODER)
    else:
        with pytest.raises(ConfigError, match=message):
            check_fits(GenerationOptions(**options), DECODER)


@pytest.mark.parametrize(
    ("options", "photos", "message"),
    [
        (
            {"num_beams": 100},
            1,
            "num_beams is 100: searching would need about .*; choose num_beams of at most 50",
        ),
        ({"num_beams": 100}, 10, "10 photos at a time .* at most 5, or a smaller batch_size"),
        ({"num_beams": 3}, 100, "choose a smaller batch_size"),
        ({"num_captions": 1000, "sample": True}, 1, "num_captions is 1000: .*choose num_captions of at most"),
        ({"num_beams": 50}, 1, None),
        ({"num_beams": 5}, 10, None),
    ],
)
def test_a_search_that_needs_more_memory_than_there_is(
    options: dict[str, Any], photos: int, message: str | None
) -> None:
    available = 50 * row_bytes(GenerationOptions(), DECODER)
    if message is None:
        check_memory(GenerationOptions(**options), DECODER, photos, available)
    else:
        with pytest.raises(ConfigError, match=message):
            check_memory(GenerationOptions(**options), DECODER, photos, available)
    check_memory(GenerationOptions(**options), DECODER, photos, None)


def test_the_memory_there_is() -> None:
    total = total_memory(torch.device("cpu"))
    assert total is None or 2**28 < total < 2**50
