"""The page of an evaluation: whole, escaped, and nothing in it from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from tests.model_folder import draw_photo

from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.tasks.evaluate import CaptionEvaluator, Evaluation
from wordgaze.tasks.evaluate_page import SHOWN, evaluation_page
from wordgaze.tasks.page_parts import LONGEST


class Page(HTMLParser):
    """Tags with their attributes, and every text by the class or the name of its element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        assert self._open == [], "elements stay open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(dict(attrs).get("class") or tag)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.texts.setdefault(self._open[-1], []).append(data)

    def pictures(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


def evaluation(photos: list[CaptionedPhoto], captions: dict) -> Evaluation:
    return CaptionEvaluator(photos).evaluate(captions)


def photo(number: int, file: Path = Path()) -> CaptionedPhoto:
    return CaptionedPhoto(number, file, (f"a dog number {number}", "another dog"))


def test_scores_captions_references_and_pictures(tmp_path: Path) -> None:
    files = [draw_photo(tmp_path / f"{number}.png", number, (900, 600)) for number in range(3)]
    files[2].write_bytes(b"no photo")
    photos = [photo(number, file) for number, file in enumerate(files)]
    captions = {0: "a dog number 0", 1: "a cat", 2: "a dog"}
    found = evaluation(photos, captions)
    page = Page(evaluation_page(found, "my results"))
    assert page.texts["h1"] == ["my results"] and page.texts["title"] == ["wordgaze: my results"]
    cells = page.texts["td"]
    assert cells[cells.index("CIDEr") + 1] == f"{found.metrics['CIDEr']:.4f}"
    order = [one.photo_id for one in found.photos]
    assert page.texts["caption"] == [captions[number] for number in order]
    assert page.texts["li"] == [text for number in order for text in photos[number].captions]
    assert [text.split(" · ")[0] for text in page.texts["h3"]] == [str(number) for number in order]
    assert f"CIDEr {found.photos[0].scores['CIDEr']:.3f}" in page.texts["scores"][0]
    pictures = page.pictures()
    assert [picture["alt"] for picture in pictures] == [captions[n] for n in order if n != 2]
    data = (pictures[0]["src"] or "").removeprefix("data:image/jpeg;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (LONGEST, LONGEST * 2 // 3)
    assert page.texts["p"][0].startswith("CIDEr means little with 3 photos")


def test_text_is_text(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script> & \"quoted\" @WORST@ @TITLE@ </p> 'x'"
    file = draw_photo(tmp_path / "a&<b>.png", 1)
    found = evaluation([CaptionedPhoto("<i>", file, (nasty,)), photo(2)], {"<i>": nasty, 2: nasty})
    text = evaluation_page(found, nasty)
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "i", "link", "iframe"})
    assert page.texts["h1"] == [nasty]
    assert page.texts["caption"] == [nasty, nasty]
    assert nasty in page.texts["li"]
    assert "<i> · a&<b>.png" in page.texts["h3"]
    assert page.pictures()[0]["alt"] == nasty


def test_nothing_comes_from_elsewhere_and_both_schemes_are_there(tmp_path: Path) -> None:
    found = evaluation([photo(1, draw_photo(tmp_path / "1.png", 1)), photo(2)], {1: "a dog", 2: "a cat"})
    text = evaluation_page(found, "x")
    for _, attributes in Page(text).tags:
        assert not {"href", "onclick", "onload"} & set(attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
    assert not re.search("https?:|url\\(|@import", text)
    assert "default-src 'none'" in text and "script-src" not in text
    assert "prefers-color-scheme: dark" in text and 'content="light dark"' in text


@pytest.mark.parametrize("count", [SHOWN - 1, SHOWN + 3, 2 * SHOWN + 5])
def test_the_worst_and_the_best_and_no_photo_twice(count: int) -> None:
    found = evaluation(
        [photo(number) for number in range(count)],
        {number: f"a dog number {number if number % 2 else 'x'}" for number in range(count)},
    )
    names = Page(evaluation_page(found, "x")).texts["h3"]
    order = [str(one.photo_id) for one in found.photos]
    assert names[:SHOWN] == order[:SHOWN]
    assert names[SHOWN:] == order[SHOWN:][::-1][:SHOWN]
    assert len(set(names)) == len(names) == min(count, 2 * SHOWN)


def test_a_comparison_and_absent_objects(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('[{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a bus"}]')
    (tmp_path / "boxes.json").write_text(
        '{"categories": [{"id": 1, "name": "dog"}], "images": [{"id": 1, "width": 9, "height": 9}], "annotations": []}'
    )
    evaluator = CaptionEvaluator(
        [photo(1), photo(2)], against=tmp_path / "other.json", instances=tmp_path / "boxes.json"
    )
    page = Page(evaluation_page(evaluator.evaluate({1: "a dog and a cat", 2: "a cat"}), "x"))
    assert f"Against {tmp_path / 'other.json'}" in page.texts["h2"]
    assert "better" in page.texts["th"]
    assert page.texts["absent"] == ["not there: cat"]
