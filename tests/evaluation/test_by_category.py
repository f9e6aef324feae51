"""Scores by category, by hand."""

from __future__ import annotations

import pytest

from wordgaze.evaluation.by_category import CategoryResult, PhotoRecord, by_category
from wordgaze.evaluation.calibration import Share, share


def record(caption: str, references: list[str], cider: float, boxed: tuple[str, ...] = ()) -> PhotoRecord:
    return PhotoRecord(caption.split(), [reference.split() for reference in references], cider, boxed)


PHOTOS = [
    record("a dog on a bench", ["a puppy sits", "a dog", "grass"], 1.0, ("dog", "bench")),
    record("a cat", ["a dog sleeps", "a pet", "a pet"], 0.2, ("dog",)),
    record("a dog and another dog", ["a cat", "a cat", "a kitten"], 0.0),
    record("a red thing", ["a thing", "a dog", "a thing"], 0.6),
]


def test_by_hand() -> None:
    found = {one.category: one for one in by_category(PHOTOS, fewest=1)}
    assert list(found) == ["dog", "bench", "cat"]  # by photos, then in COCO's order
    dog, cat, bench = found["dog"], found["cat"], found["bench"]
    assert (dog.category, dog.photos, dog.boxed) == ("dog", 3, 2)
    assert (dog.named.value, dog.named.n) == (1 / 3, 3)
    assert (dog.named_by_most.value, dog.named_by_most.n) == (
        1.0,
        1,
    )  # two of three speak of it in the first alone
    assert (dog.right.value, dog.right.n) == (0.5, 2)  # named twice in one caption counts once
    assert dog.cider == pytest.approx(0.6)
    assert dog.cider_interval[0] < 0.6 < dog.cider_interval[1]
    assert (bench.photos, bench.boxed, bench.named_by_most.n) == (1, 1, 0)
    assert (cat.photos, cat.named.value, cat.right.value) == (1, 0, 0)


def test_rare_categories_have_no_row() -> None:
    assert [one.category for one in by_category(PHOTOS, fewest=2)] == ["dog"]


@pytest.mark.parametrize(
    ("named", "right", "verdict"),
    [
        (share(50, 100), share(95, 100), "right"),
        (share(50, 100), share(50, 100), "guesswork"),
        (share(50, 100), share(6, 7), ""),
        (share(5, 100), share(5, 5), "hardly named"),
        (share(0, 10), share(0, 0), ""),  # too few to tell
    ],
)
def test_verdicts_need_an_interval_that_tells(named: Share, right: Share, verdict: str) -> None:
    result = CategoryResult("dog", 100, 0, named, share(0, 0), right, 0.5, (0.4, 0.6))
    assert result.verdict == verdict
