from __future__ import annotations

import re
from itertools import pairwise

import pytest

from wordgaze.evaluation.categories import CATEGORIES, ObjectMention, find_objects


def named(caption: str) -> list[str]:
    words = caption.split()
    return [f"{' '.join(words[start:stop])} → {category}" for category, start, stop in find_objects(words)]


def test_the_eighty_names_of_coco_name_themselves() -> None:
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 80
    for category in CATEGORIES:
        words = ["an", *category.split()]
        assert find_objects(words) == [ObjectMention(category, 1, len(words))]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a man and two women watch people", ["man → person", "women → person", "people → person"]),
        ("two puppies chase a kitten", ["puppies → dog", "kitten → cat"]),
        ("a loaf of bread with knives and buses", ["knives → knife", "buses → bus"]),
        ("a motorbike by a truck", ["motorbike → motorcycle", "truck → truck"]),
        ("a boy on a bike", ["boy → person", "bike → bicycle"]),
        ("geese and sheep", ["geese → bird", "sheep → sheep"]),
        ("a hot-dog and a t-shirt", ["hot-dog → hot dog"]),
        ("", []),
    ],
)
def test_synonyms_and_plurals(caption: str, expected: list[str]) -> None:
    assert named(caption) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a hot dog and a dog", ["hot dog → hot dog", "dog → dog"]),
        ("a stuffed teddy bear", ["stuffed teddy bear → teddy bear"]),
        ("a stuffed bear by a bear", ["stuffed bear → teddy bear", "bear → bear"]),
        ("a sheep dog near sheep", ["sheep dog → dog", "sheep → sheep"]),
        ("a glass of wine by a glass", ["glass of wine → wine glass"]),
        (
            "two glasses of wine and wine glasses",
            ["glasses of wine → wine glass", "wine glasses → wine glass"],
        ),
        ("a bus stop near a train station", []),
        ("a toaster oven", []),
        ("a baseball player with a baseball bat", ["player → person", "baseball bat → baseball bat"]),
        ("a baseball and tennis game", []),
        ("people ride a passenger train", ["people → person", "passenger train → train"]),
        (
            "a fire hydrant under traffic lights",
            ["fire hydrant → fire hydrant", "traffic lights → traffic light"],
        ),
        ("a carrot cake", ["carrot cake → cake"]),
    ],
)
def test_longer_names_go_before_shorter_ones(caption: str, expected: list[str]) -> None:
    assert named(caption) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("an orange shirt", []),
        ("a cat in an orange and white box", ["cat → cat"]),
        ("an orange and a banana", ["orange → orange", "banana → banana"]),
        ("oranges on the table", ["oranges → orange", "table → dining table"]),
        ("a remote beach", []),
        ("a remote on a bed", ["remote → remote", "bed → bed"]),
        ("a bed of flowers", []),
        ("a man skis down a hill", ["man → person"]),
        ("a man on skis", ["man → person", "skis → skis"]),
        ("they train to bat", []),
        ("a red train with a bat", ["train → train", "bat → baseball bat"]),
        ("a man on his bike by a motorcycle", ["man → person", "motorcycle → motorcycle"]),
        ("a couple of zebras", ["zebras → zebra"]),
        ("a couple on a bench", ["couple → person", "bench → bench"]),
        ("a baby elephant and its mother", ["elephant → elephant"]),
        ("a mother and her baby", ["mother → person", "baby → person"]),
        ("a bear statue and a toy truck", []),
        ("a painting of a woman above a couch", ["couch → couch"]),
        ("a picture of a woman", ["woman → person"]),
        ("a man's hand", []),
    ],
)
def test_what_words_around_it_say(caption: str, expected: list[str]) -> None:
    assert named(caption) == expected


def test_spans_lie_in_order_and_apart() -> None:
    words = re.findall(r"\w+", "a man and a dog sit by hot dogs on a park bench under a stop sign at a bus stop")
    mentions = find_objects(words)
    assert [mention.category for mention in mentions] == ["person", "dog", "hot dog", "bench", "stop sign"]
    assert all(one.stop <= other.start for one, other in pairwise(mentions))
    assert all(0 <= start < stop <= len(words) for _, start, stop in mentions)
