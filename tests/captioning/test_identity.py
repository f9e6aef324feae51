"""Rows of another model, precision or options are told from those of this run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wordgaze.captioner import Captioner
from wordgaze.captioning.identity import RunIdentity
from wordgaze.tasks.caption_files import model_fingerprint, run_identity

IDENTITY = RunIdentity("ab12", "float32", {"num_beams": 5, "prompt": "a"})


def test_a_run_is_like_itself_beside_other_values_and_through_json() -> None:
    row = {"file": "a.jpg", **json.loads(json.dumps(IDENTITY.to_dict()))}
    assert IDENTITY.difference(row) is None


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"fingerprint": "cd34"}, "its rows are of another model (fingerprint cd34, now ab12)"),
        ({"precision": "bfloat16"}, "its rows were computed in bfloat16, and now it is float32"),
        (
            {"options": {"num_beams": 3, "seed": 1}},
            "its rows were made with other options (num_beams 3, now 5; seed 1, now as by default; "
            "prompt as by default, now 'a')",
        ),
        ({"options": 7}, "its rows have 7 for options"),
        ({"fingerprint": "a\nb"}, r"its rows are of another model (fingerprint 'a\nb', now ab12)"),
    ],
)
def test_what_differs(change: dict[str, Any], clause: str) -> None:
    assert IDENTITY.difference({**IDENTITY.to_dict(), **change}) == clause


def test_rows_that_say_nothing() -> None:
    assert "they have no precision, options" in str(IDENTITY.difference({"fingerprint": "ab12"}))


def test_only_what_changes_captions_counts(captioner: Captioner) -> None:
    options = captioner.generation_options(num_beams=4, length_penalty=1.0)
    identity = run_identity(captioner, options)
    assert identity == RunIdentity(
        model_fingerprint(captioner), "float32", {"num_beams": 4, "max_length": 8, "no_repeat_ngram_size": 0}
    )
    mirrored = Captioner(captioner.parts, "cpu", mirrored=True)
    assert run_identity(mirrored, options, strict=True).options == {
        **identity.options,
        "mirrored": True,
        "strict": True,
    }
