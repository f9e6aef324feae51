from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from wordgaze.data.geometry import Geometry
from wordgaze.explanation.explanation import ExplainedWord, Explanation
from wordgaze.explanation.overlay import COLOR_MAPS, peak
from wordgaze.explanation.report import html_frame, html_report
from wordgaze.generation.caption import Caption, CaptionWord


def _item(
    size=(300, 200), name="cat.jpg", words=("a", "cat"), photo=None, maps=None, log_probability=-1.0
) -> Explanation:
    photo = photo or Image.new("RGB", size, (90, 60, 30))
    side = max(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    geometry = Geometry(photo.size, (64, 64), (left, top, left + side, top + side))
    maps = np.full((len(words), 4, 6), 1 / 24) if maps is None else maps
    return Explanation(
        caption=Caption(" ".join(words), log_probability, tuple(CaptionWord(word, 0.5) for word in words)),
        words=tuple(
            ExplainedWord(word, 0.5, 2.0, values, peak(values, geometry), 1.0, grounded=True)
            for word, values in zip(words, maps, strict=True)
        ),
        photo=photo,
        geometry=geometry,
        grid_size=(4, 6),
        method="gradient",
        words_attention=np.eye(len(words), len(words) + 1, dtype=np.float32),
        name=name,
    )


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
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
    assert page.inside("button") == ["Larger", "a", "cat", "Larger", "two", "big", "dogs"]
    assert page.inside("h2") == ["cat.jpg", "dog.png"]
    assert [image["alt"] for image in page.named("img")] == ["a cat", "two big dogs"]
    assert [[len(words) for words in data["captions"]] for data in _numbers(page)] == [[2], [3]]
    assert page.inside("title") == ["wordgaze: cat.jpg and 1 more"]
    assert [main["class"] for main in page.named("main")] == ["gallery"]


def test_captions_to_choose_from_come_with_their_confidence() -> None:
    item = _item(log_probability=-0.6)
    other = replace(_item(words=("two", "<b>"), log_probability=-4.5), note="yours")
    page = _Page(html_report([replace(item, alternatives=(other,))]))
    assert page.inside("button") == ["a", "cat", "two", "<b>"]
    assert ["hidden" in line for line in page.named("p") if line.get("class") == "words"] == [False, True]
    # e to the power of -0.6 / 3 and of -4.5 / 3: two words and the end
    shares = [float(bar["data-share"]) for bar in page.named("span") if bar.get("class") == "bar"]
    assert shares == pytest.approx([0.819, 0.223], abs=5e-4)
    assert {"82%", "22%", "a cat", "two <b> "} <= set(page.inside("span"))
    assert page.inside("i") == ["(yours)"]
    assert ["checked" in choice for choice in page.named("input") if "caption-0" in choice.values()] == [
        True,
        False,
    ]
    assert page.named("fieldset") and not _Page(html_report([item])).named("fieldset")


def test_words_without_a_place_are_marked_and_say_so() -> None:
    item = _item(words=("cat", "of"))
    words = (item.words[0], replace(item.words[1], grounded=False))
    attention = np.array([[1, 0, 0], [0.5, 0.2, 0.3]], np.float32)
    page = _Page(html_report([replace(item, words=words, words_attention=attention)]))
    plain, dim = page.named("button")
    assert "class" not in plain and dim["class"] == "ungrounded"
    assert "can't place such words" in dim["data-facts"] and "looked mostly" not in dim["data-facts"]
    (data,) = _numbers(page)
    assert [word["grounded"] for word in data["captions"][0]] == [True, False]
    assert [word["attention"] for word in data["captions"][0]] == [[0, 0], [0.2, 0.3]]


EVIL = '<script>alert("1")</script>'


def test_texts_are_escaped() -> None:
    text = html_report([_item(name=EVIL + "'@ITEMS@{caption}.jpg", words=("a", EVIL, '"onmouseover="x', "&amp;"))])
    assert EVIL not in text
    page = _Page(text)
    assert page.inside("button") == ["a", EVIL, '"onmouseover="x', "&amp;"]
    assert page.inside("h2") == [EVIL + "'@ITEMS@{caption}.jpg"]
    assert [image["alt"] for image in page.named("img")] == [f'a {EVIL} "onmouseover="x &amp;']
    assert len(page.named("article")) == 1 and len(page.named("script")) == 3
    known = {"type", "aria-pressed", "data-facts", "data-share"}
    assert all(set(button) == known for button in page.named("button"))


def test_a_page_asks_nothing_of_the_network() -> None:
    text = html_report([_item()])
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bfetch\b|XMLHttp|<link|<iframe|\bimport\b", text)
    page = _Page(text)
    for _, attributes in page.tags:
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    policy = next(meta["content"] for meta in page.named("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    # Only this style and this script: what is slipped into the page does not run.
    (style,), script = page.inside("style"), page.inside("script")[-1]
    for part, kind in ((style, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    names = {name for _, attributes in page.tags for name in attributes}
    assert "style" not in names and not any(name.startswith("on") for name in names)


def test_a_frame_holds_the_whole_page() -> None:
    item = _item(name=EVIL)
    frame = _Page(html_frame([item])).named("iframe")[0]
    assert frame["srcdoc"] == html_report([item])


def test_maps_are_drawn_over_the_right_part_of_the_embedded_photo() -> None:
    hot = np.zeros((4, 6))
    hot[1, 4] = 0.9
    photo = Image.new("RGB", (3200, 2000))
    page = _Page(html_report([_item(photo=photo, words=("cat",), maps=[hot])]))
    image, (data,) = page.named("img")[0], _numbers(page)
    assert (image["width"], image["height"]) == ("1600", "1000")
    assert data["box"] == [0, -300, 1600, 1300]
    word = data["captions"][0][0]
    assert word["grid"] == [4, 6]
    values = np.frombuffer(base64.b64decode(word["map"]), np.uint8).reshape(4, 6)
    assert values[1, 4] > 250 and values.sum() == values[1, 4]
    assert "looked mostly at the upper right · spread" in page.named("button")[0]["data-facts"]


def test_an_even_map_is_painted_pale() -> None:
    (data,) = _numbers(_Page(html_report([_item(photo=Image.new("RGB", (64, 64)))])))
    values = np.frombuffer(base64.b64decode(data["captions"][0][0]["map"]), np.uint8)
    assert set(values.tolist()) == {64}


def test_facts_are_in_words_for_those_who_cannot_see_the_map() -> None:
    facts = _Page(html_report([_item()])).named("button")[1]["data-facts"]
    assert facts.startswith("“cat”: 50% probable · ")
    assert facts.endswith("spread over about 4 of 24 patches")  # two bits are four patches


def test_the_numbers_stand_in_a_table_for_those_who_do_not_point() -> None:
    page = _Page(html_report([_item(words=("a", EVIL))]))
    assert page.inside("th")[-2:] == ["a", EVIL]
    assert page.inside("td")[:3] == ["0.500", "2.00", "upper left"]


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
    assert page.named("button") == [] and _numbers(page)[0]["captions"] == [[]]


def test_the_page_has_the_colors_of_the_pictures() -> None:
    page = _Page(html_report([_item()]))
    colors = json.loads(page.inside("script")[-2])["colors"]
    assert list(colors) == list(COLOR_MAPS) == [text.lower() for text in page.inside("option")]
    for name, expected in COLOR_MAPS.items():
        found = np.frombuffer(base64.b64decode(colors[name]), np.uint8).reshape(256, 3)
        np.testing.assert_array_equal(found, expected)


def test_a_large_photo_is_made_small_before_many_are_held() -> None:
    large = _item(photo=Image.new("RGB", (4000, 1000)))
    item = replace(large, alternatives=(large,)).report_item()
    for one in (item, *item.alternatives):
        assert one.photo.size == one.geometry.photo_size == (1600, 400)
        assert [word.peak for word in one.words] == [peak(word.map, one.geometry) for word in one.words]
    assert item.report_item() is item


def test_words_run_in_the_direction_of_their_script() -> None:
    page = _Page(html_report([_item(words=("كلب", "على"))]))
    lines = [attributes for attributes in page.named("p") if attributes.get("class") == "words"]
    assert [line["dir"] for line in lines] == ["auto"]
