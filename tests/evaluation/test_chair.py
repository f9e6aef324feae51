"""CHAIR worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wordgaze.evaluation.chair import chair

CAPTIONS = [
    ["a", "dog", "and", "a", "cat", "sit", "on", "a", "bench"],  # the cat is not there
    ["two", "men", "ride", "horses", "past", "a", "horse"],  # all there
    ["a", "red", "thing", "on", "the", "grass"],  # names nothing
    ["a", "pizza", "and", "another", "pizza"],  # twice what is not there
]
REFERENCES = [
    [["a", "puppy", "outside"], ["a", "wooden", "seat"]],
    [["people", "on", "horses"]],
    [["grass"]],
    [["a", "sandwich"]],
]
BOXED = [{"bench", "person"}, {"person"}, set(), {"cup"}]


def test_the_shares_by_hand() -> None:
    found = chair(CAPTIONS, REFERENCES, BOXED)
    assert found.named == (
        ("dog", "cat", "bench"),
        ("person", "horse", "horse"),
        (),
        ("pizza", "pizza"),
    )
    assert found.hallucinated == (("cat",), (), (), ("pizza", "pizza"))
    scores = found.scores()
    assert list(scores) == ["CHAIRs", "CHAIRi"]
    assert scores["CHAIRs"].total == 2 / 4
    assert scores["CHAIRi"].total == 3 / 8
    assert scores["CHAIRi"].per_photo == pytest.approx([1 / 3, 0, 0, 1])
    assert all(score.lower_is_better for score in scores.values())


def test_a_draw_weighs_object_names_not_captions() -> None:
    scores = chair(CAPTIONS, REFERENCES, BOXED).scores()
    draws = np.array([[1.0, 1, 1, 1], [2, 2, 0, 0], [0, 0, 4, 0]])
    assert scores["CHAIRs"].resampled(draws) == pytest.approx([0.5, 0.5, 0])
    assert scores["CHAIRi"].resampled(draws) == pytest.approx([3 / 8, 2 / 12, 0])


def test_a_word_of_a_reference_excuses_without_a_box_and_a_box_without_a_word() -> None:
    [caption], nothing = [["a", "cat"]], [[["something"]]]
    assert chair([caption], nothing, [set()]).hallucinated == (("cat",),)
    assert chair([caption], nothing, [{"cat"}]).hallucinated == ((),)
    assert chair([caption], [[["something"], ["a", "kitten"]]], [set()]).hallucinated == ((),)
