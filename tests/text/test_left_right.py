"""A caption of the mirrored photo, and words of other meanings left as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordgaze.text.left_right import swap_left_right


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("a red circle left of a blue square", "a red circle right of a blue square"),
        ("a man raises his left hand to the right", "a man raises his right hand to the left"),
        ("cars on the left and right sides", "cars on the right and left sides"),
        ("Left hand, RIGHT side", "Right hand, LEFT side"),
        (
            "the leftmost and right-most of a left-handed player",
            "the rightmost and left-most of a right-handed player",
        ),
        ("the girl's left", "the girl's right"),
        ("turn right, then left", "turn left, then right"),
        ("waves from right to left", "waves from left to right"),
    ],
)
def test_left_and_right_change_places(caption: str, mirrored: str) -> None:
    assert swap_left_right(caption) == mirrored


@pytest.mark.parametrize(
    "caption",
    [
        "a dog stands right next to a bright light",
        "the door was left open with leftover pizza upright on it",
        "someone left a bike right behind the left-over tank",
        "",
    ],
)
def test_other_meanings_stay(caption: str) -> None:
    assert swap_left_right(caption) == caption


def test_swapping_twice_gives_the_caption_back(shared_data: Path) -> None:
    captions = (shared_data / "data/captions_text.txt").read_text().splitlines()
    assert sum(swap_left_right(caption) != caption for caption in captions) > 100
    assert [swap_left_right(swap_left_right(caption)) for caption in captions] == captions
