from __future__ import annotations

import base64
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from wordgaze.data.transform import Geometry
from wordgaze.explanation.report import ReportItem, ReportWord, html_report


def _item(size=(300, 200), name="cat.jpg", words=("a", "cat"), photo=None, maps=None) -> ReportItem:
    photo = photo or Image.new("RGB", size, (90, 60, 30))
    side = max(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    geometry = Geometry(photo.size, (64, 64), (left, top, left + side, top + side))
    maps = np.full((len(words), 4, 6), 1 / 24) if maps is None else maps
    entries = tuple(ReportWord(word, 0.5, 2.0, values) for word, values in zip(words, maps, strict=True))
    return ReportItem(photo, name, " ".join(words), entries, geometry)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def inside(self, tag: str) -> list[str]:
        return [text for owner, text in self.texts if owner == tag]


def _numbers(page: _Page) -> list[dict]:
    return [json.loads(text) for text in page.inside("script") if text.startswith('{"box"')]


def test_a_page_holds_every_photo_and_every_word() -> None:
    page = _Page(html_report([_item(), _item(name="dog.png", words=("two", "big", "dogs"))]))
    assert not page.open
    assert page.inside("button") == ["a", "cat", "two", "big", "dogs"]
    assert page.inside("h2") == ["cat.jpg", "dog.png"]
    assert [image["alt"] for image in page.named("img")] == ["a cat", "two big dogs"]
    assert [len(data["words"]) for data in _numbers(page)] == [2, 3]


EVIL = '<script>alert("1")</script>'


def test_texts_are_escaped() -> None:
    text = html_report(
        [_item(name=EVIL + "'@ITEMS@{caption}.jpg", words=("a", EVIL, '"onmouseover="x', "&amp;"))]
    )
    assert EVIL not in text
    page = _Page(text)
    assert page.inside("button") == ["a", EVIL, '"onmouseover="x', "&amp;"]
    assert page.inside("h2") == [EVIL + "'@ITEMS@{caption}.jpg"]
    assert [image["alt"] for image in page.named("img")] == [f'a {EVIL} "onmouseover="x &amp;']
    assert len(page.named("article")) == 1 and len(page.named("script")) == 2
    known = {"type", "aria-pressed", "data-facts", "style"}
    assert all(set(button) == known for button in page.named("button"))


def test_a_page_asks_nothing_of_the_network() -> None:
    text = html_report([_item()])
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bfetch\b|XMLHttp|<link|<iframe|\bimport\b", text)
    page = _Page(text)
    for _, attributes in page.tags:
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    policy = next(meta["content"] for meta in page.named("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_maps_are_drawn_over_the_right_part_of_the_embedded_photo() -> None:
    hot = np.zeros((4, 6))
    hot[1, 4] = 0.9
    photo = Image.new("RGB", (3200, 2000))
    page = _Page(html_report([_item(photo=photo, words=("cat",), maps=[hot])]))
    image, (data,) = page.named("img")[0], _numbers(page)
    assert (image["width"], image["height"]) == ("1600", "1000")
    assert data["box"] == [0, -300, 1600, 1300]
    assert data["words"][0]["grid"] == [4, 6]
    values = np.frombuffer(base64.b64decode(data["words"][0]["map"]), np.uint8).reshape(4, 6)
    assert values[1, 4] > 250 and values.sum() == values[1, 4]
    assert "looked mostly at the upper right, spread" in page.named("button")[0]["data-facts"]


def test_an_even_map_is_painted_pale() -> None:
    (data,) = _numbers(_Page(html_report([_item(photo=Image.new("RGB", (64, 64)))])))
    values = np.frombuffer(base64.b64decode(data["words"][0]["map"]), np.uint8)
    assert set(values.tolist()) == {64}


def test_facts_are_in_words_for_those_who_cannot_see_the_map() -> None:
    facts = _Page(html_report([_item()])).named("button")[1]["data-facts"]
    assert facts.startswith("“cat”: probability 50%")
    assert facts.endswith("spread 2.0 of 4.6 bits")


@pytest.mark.parametrize("size", [(1600, 1600), (4000, 300), (200, 3000), (1, 1)])
def test_a_photo_stays_small_whatever_it_shows(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    text = html_report([_item(photo=Image.fromarray(noise))])
    assert len(text.encode()) < 1_500_000
    source = _Page(text).named("img")[0]["src"]
    shown = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
    assert shown.format == "JPEG" and max(shown.size) <= 1600
    assert shown.width / shown.height == pytest.approx(size[0] / size[1], rel=0.01)


def test_a_caption_without_words_is_a_page_too() -> None:
    page = _Page(html_report([_item(words=())]))
    assert page.named("button") == [] and _numbers(page)[0]["words"] == []


def test_the_legend_and_the_maps_have_the_same_colors() -> None:
    text = html.unescape(html_report([_item()]))
    colors = json.loads(re.search(r"COLORS = (\[\[.*?\]\])", text)[1])
    assert len(colors) == 256
    assert "rgb({} {} {} / 0.00)".format(*colors[0]) in text
