"""The report in Chromium, opened as a file."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.browser.conftest import DARK, DESKTOP, PHONE, Visit, still

from wordgaze.data.geometry import Geometry
from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.explanation.explanation import ExplainedWord, Explanation
from wordgaze.explanation.overlay import COLOR_MAPS, OPACITY, UNGROUNDED, colorize, peak, refine, strength
from wordgaze.explanation.report import html_frame, html_report
from wordgaze.generation.caption import Caption, CaptionWord

pytestmark = pytest.mark.browser

WORDS = ("a", "red", "ball", "on", "green", "grass")
GRID = (6, 8)
CAPTION = ".words:not([hidden]) button"


def draw(size: tuple[int, int]) -> Image.Image:
    """Draw a red ball on green grass."""
    photo = Image.new("RGB", size, (150, 190, 230))
    width, height = size
    pen = ImageDraw.Draw(photo)
    pen.rectangle((0, 0.6 * height, width, height), (90, 150, 60))
    pen.ellipse((0.6 * width, 0.3 * height, 0.6 * width + 0.4 * height, 0.7 * height), (200, 40, 30))
    return photo


def said(text: str, log_probability: float) -> Caption:
    return Caption(text, log_probability, tuple(CaptionWord(word, 0.5) for word in text.split()))


def item(size: tuple[int, int] = (480, 320), crop: str = "pad", name: str = "ball.jpg") -> Explanation:
    photo = draw(size)
    preprocessing = Preprocessing((96, 128), (0.5,) * 3, (0.5,) * 3, crop=crop, max_aspect_change=1.2)
    geometry: Geometry = PhotoTransform(preprocessing)(photo)[1]
    random = np.random.default_rng(3)
    maps = random.dirichlet(np.full(GRID[0] * GRID[1], 0.2), len(WORDS)).reshape(-1, *GRID)
    words = tuple(
        ExplainedWord(word, 0.9 - 0.1 * number, 3.0, map_, peak(map_, geometry), 1.0, word not in ("a", "on"))
        for number, (word, map_) in enumerate(zip(WORDS, maps, strict=True))
    )
    # Of each word before it a tenth, of itself a fifth, of the caption's start the half.
    attention = 0.1 * np.tri(len(WORDS), len(WORDS), -1) + 0.2 * np.eye(len(WORDS))
    attention = np.hstack([np.full((len(WORDS), 1), 0.5), attention])
    best = Explanation(said(" ".join(WORDS), -3.5), words, photo, geometry, GRID, "gradient", attention, name=name)
    other = replace(
        best,
        caption=said("a ball", -1.5),
        words=(words[0], words[2]),
        words_attention=attention[[0, 2]][:, [0, 1, 3]],
        note="yours",
    )
    return replace(best, alternatives=(other,))


@pytest.fixture
def opened(visit: Visit, tmp_path: Path) -> Any:
    def go(*items: Explanation, **context: Any) -> Any:
        path = tmp_path / "report.html"
        path.write_text(html_report(items or [item()]), encoding="utf-8")
        return visit(path.as_uri(), **context)

    return go


def painted(page: Any, article: int = 0) -> np.ndarray:
    """Return what the map's canvas holds (h, w, 4)."""
    url = page.evaluate("n => document.querySelectorAll('figure canvas')[n].toDataURL()", article)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))


def is_shown(page: Any, article: int = 0) -> bool:
    return page.locator("figure canvas").nth(article).is_visible()


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (900, 200)])
@pytest.mark.parametrize("crop", ["pad", "center"])
def test_a_hot_patch_lies_on_its_own_pixels(opened: Any, size: tuple[int, int], crop: str) -> None:
    shown = item(size, crop)
    hot = np.zeros(GRID)
    hot[2, 5] = 1
    words, attention = (replace(shown.words[2], map=hot),), shown.words_attention[:1, :2]
    page = opened(replace(shown, words=words, words_attention=attention, alternatives=()))
    page.get_by_label("Patches").check()
    page.locator(CAPTION).first.hover()
    pixels = painted(page)
    assert pixels.shape[:2] == (size[1], size[0])
    expected = shown.geometry.place(hot, smooth=False) > 0
    assert expected.any() and ((pixels[..., 0] > 100) == expected).all()


@pytest.mark.parametrize("crop", ["pad", "center"])
def test_the_page_paints_as_the_pictures_are_painted(opened: Any, crop: str) -> None:
    shown = item(crop=crop)
    page = opened(shown)
    page.locator(CAPTION).nth(2).hover()
    expected = np.asarray(colorize(strength(shown.geometry.place(refine(shown.words[2].map)))), float)
    seen = shown.geometry.place(np.ones(GRID), smooth=False) > 0
    assert np.abs(painted(page)[..., 3] - expected[..., 3])[seen].mean() < 3
    opaque = seen & (expected[..., 3] > 60)  # canvases keep few bits of the color of what is nearly clear
    assert opaque.any() and np.abs(painted(page) - expected)[opaque].mean() < 4


def chosen(page: Any) -> list[str]:
    return page.locator("[aria-pressed=true]").all_inner_texts()


def test_it_opens_with_the_first_grounded_word(opened: Any, pictures: Path) -> None:
    page = opened()
    assert is_shown(page) and chosen(page) == ["red"]
    assert not page.get_by_text("need JavaScript").count()
    assert page.locator(CAPTION).nth(1).get_attribute("class") == "shown"
    assert page.locator(".facts").inner_text().startswith("“red”: ")
    assert page.locator("header .hint").inner_text().startswith("Point at a word, tap it")
    page.screenshot(path=pictures / "report.png")
    page.keyboard.press("Tab")  # not away from where the page begins
    assert page.evaluate("document.activeElement.name") == "colors"


@pytest.mark.parametrize("words", [("a", "on"), ()])
def test_without_grounded_words_it_opens_with_the_photo(opened: Any, words: tuple[str, ...], pictures: Path) -> None:
    whole = item()
    shown = tuple(word for word in whole.words if word.text in words)
    caption = said(" ".join(words), -1.0)
    attention = whole.words_attention[: len(shown), : 1 + len(shown)]
    page = opened(replace(whole, words=shown, caption=caption, words_attention=attention, alternatives=()))
    assert not is_shown(page) and chosen(page) == []
    assert "Point at a word" in page.locator(".facts").inner_text()
    page.screenshot(path=pictures / f"report-{len(words)}-gray-words.png")
    page.keyboard.press("ArrowRight")
    assert chosen(page) == list(words[:1]) and is_shown(page) == bool(words)


def test_a_word_shows_its_map_at_once_and_nothing_moves(opened: Any, pictures: Path) -> None:
    page = opened()
    page.locator(CAPTION).nth(1).click()  # the chosen one: none is now
    page.mouse.move(5, 5)
    assert not is_shown(page) and chosen(page) == []
    # In the same task as the event: there is no frame in which an old map could be seen.
    assert (
        page.evaluate(
            """() => {
          document.querySelectorAll(".words button")[2].dispatchEvent(
            new PointerEvent("pointerenter", { pointerType: "mouse" }));
          return getComputedStyle(document.querySelector("figure canvas")).visibility;
        }"""
        )
        == "visible"
    )
    maps = []
    with still(page, "figure", ".words", ".captions", "details"):
        for number in range(len(WORDS)):
            page.locator(CAPTION).nth(number).hover()
            assert page.locator(".facts").inner_text().startswith(f"“{WORDS[number]}”: ")
            maps.append(painted(page).tobytes())
            if WORDS[number] == "ball":
                page.screenshot(path=pictures / "report-hover.png")
    assert len(set(maps)) == len(WORDS)
    page.mouse.move(5, 5)
    assert not is_shown(page) and "Point at a word" in page.locator(".facts").inner_text()


def test_when_the_mouse_leaves_the_chosen_word_comes_back(opened: Any) -> None:
    page = opened()
    opening = painted(page)
    page.locator(CAPTION).nth(4).hover()
    assert (painted(page) != opening).any() and chosen(page) == ["red"]
    page.mouse.move(5, 5)
    assert (painted(page) == opening).all() and is_shown(page)
    assert page.locator(".facts").inner_text().startswith("“red”: ")


def test_between_two_words_the_map_stays(opened: Any) -> None:
    page = opened()
    first, second = (page.locator(CAPTION).nth(number).bounding_box() for number in (1, 2))
    page.mouse.move(first["x"] + 5, first["y"] + 5)
    page.mouse.move((first["x"] + first["width"] + second["x"]) / 2, first["y"] + 5)
    assert is_shown(page) and page.locator(CAPTION).nth(1).evaluate("e => e.className") == "shown"


def test_by_keyboard_alone(opened: Any) -> None:
    page = opened()
    page.keyboard.press("ArrowRight")  # nothing has the focus yet: on from the chosen word
    assert page.evaluate("document.activeElement.textContent") == "ball" and is_shown(page)
    for key, word in [
        ("ArrowRight", "on"),
        ("ArrowLeft", "ball"),
        ("End", "grass"),
        ("ArrowDown", "grass"),
        ("Home", "a"),
        ("ArrowUp", "a"),
    ]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.textContent") == word
        assert chosen(page) == [word]
    page.keyboard.press("Escape")
    assert not is_shown(page) and page.locator("[aria-pressed=true]").count() == 0
    page.keyboard.press("Tab")  # one stop a caption: on to the choice of captions
    assert page.evaluate("document.activeElement.name") == "caption-0"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "ball"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.textContent") == "a"


def test_by_touch_on_a_phone(opened: Any, pictures: Path) -> None:
    page = opened(**PHONE)
    with still(page, "figure", ".words", ".captions", "details"):
        page.locator(CAPTION).nth(2).tap()
        assert is_shown(page) and page.locator("[aria-pressed=true]").all_inner_texts() == ["ball"]
        page.locator(CAPTION).nth(4).tap()
        assert page.locator("[aria-pressed=true]").all_inner_texts() == ["green"]
    page.screenshot(path=pictures / "report-phone.png", full_page=True)
    page.locator(CAPTION).nth(4).tap()
    assert not is_shown(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert min(box["height"] for box in (word.bounding_box() for word in page.locator(CAPTION).all())) >= 24


def test_opacity_and_colors(opened: Any, pictures: Path) -> None:
    page = opened()
    page.locator(CAPTION).nth(2).click()
    before = painted(page)
    page.get_by_label("Opacity").fill("30")
    fainter = painted(page)
    seen = before[..., 3] > 100
    ratio = fainter[..., 3][seen].astype(float) / before[..., 3][seen]
    assert np.abs(ratio - 0.3 / OPACITY).max() < 0.02
    page.get_by_label("Opacity").fill("100")
    strongest = np.unravel_index(before[..., 3].argmax(), before.shape[:2])
    for name, colors in COLOR_MAPS.items():
        page.get_by_label("Colors").select_option(name)
        # The map's peak may lie between the pixels of the canvas.
        assert np.abs(painted(page)[strongest][:3].astype(int) - colors[-1]).max() <= 12, name
        page.screenshot(path=pictures / f"report-{name}.png")


def test_words_without_a_place_are_dim(opened: Any) -> None:
    page = opened()
    on, ball = page.locator(CAPTION).nth(3), page.locator(CAPTION).nth(2)
    assert on.evaluate("e => getComputedStyle(e).color") != ball.evaluate("e => getComputedStyle(e).color")
    on.hover()
    pixels = painted(page)
    assert np.ptp(pixels[..., :3][pixels[..., 3] > 50].astype(int), axis=-1).max() <= 3  # gray
    assert pixels[..., 3].max() <= np.ceil(255 * OPACITY * UNGROUNDED)
    assert "can't place" in page.locator(".facts").inner_text()


def test_a_word_shows_what_it_read_of_the_words_before(opened: Any) -> None:
    page = opened()
    page.locator(CAPTION).nth(2).hover()
    read = [word.evaluate("e => e.style.getPropertyValue('--read')") for word in page.locator(CAPTION).all()]
    assert read == ["0.1", "0.1", "0.2", "0", "0", "0"]


def test_other_captions_can_be_chosen(opened: Any) -> None:
    page = opened()
    page.get_by_role("radio", name="a ball (yours)").check()
    assert page.locator(CAPTION).all_inner_texts() == ["a", "ball"]
    assert chosen(page) == ["ball"] and is_shown(page)
    page.locator(CAPTION).nth(1).hover()
    own = painted(page)
    page.get_by_role("radio", name="a red ball").check()
    assert chosen(page) == ["red"] and is_shown(page) and (painted(page) != own).any()
    page.locator(CAPTION).nth(2).hover()
    assert (painted(page) == own).all()  # the same word with the same map


def test_several_photos_are_a_gallery(opened: Any, pictures: Path) -> None:
    names = ("wide.jpg", "tall.jpg", "long.jpg", "square.jpg")
    sizes = ((480, 320), (320, 480), (900, 200), (300, 300))
    page = opened(*(item(size, name=name) for size, name in zip(sizes, names, strict=True)), **DESKTOP)
    assert page.get_by_role("heading", level=2).all_inner_texts() == list(names)
    cards = page.locator("article")
    tops = [cards.nth(number).bounding_box()["y"] for number in range(3)]
    assert len(set(tops)) == 1
    cards.nth(1).locator(CAPTION).nth(2).hover()
    assert [is_shown(page, number) for number in range(4)] == [True, True, False, False]
    assert chosen(page) == ["red"]  # of the first photo
    page.screenshot(path=pictures / "gallery.png", full_page=True)
    width = cards.nth(1).bounding_box()["width"]
    assert not cards.nth(1).locator("details").is_visible()
    cards.nth(1).get_by_role("button", name="Larger").click()
    assert cards.nth(1).bounding_box()["width"] > 2 * width
    assert cards.nth(1).locator("details").is_visible()
    page.screenshot(path=pictures / "gallery-large.png", full_page=True)


def test_the_map_lies_on_the_photo_at_any_size(opened: Any) -> None:
    page = opened(item((900, 200)), item((320, 480)), **DESKTOP)
    for number in range(2):
        boxes = [page.locator(f"article >> nth={number} >> figure {part}").bounding_box() for part in ("img", "canvas")]
        assert boxes[0] == boxes[1]


def test_light_and_dark(opened: Any, pictures: Path) -> None:
    papers = []
    for name, context in (("light", DESKTOP), ("dark", DARK)):
        page = opened(**context)
        page.locator(CAPTION).nth(2).hover()
        page.screenshot(path=pictures / f"report-{name}.png")
        ink, paper = (
            np.mean([int(part) for part in page.evaluate(f"getComputedStyle(document.body).{kind}")[4:-1].split(",")])
            for kind in ("color", "backgroundColor")
        )
        assert abs(ink - paper) > 180
        papers.append(paper)
    assert papers[0] > 200 and papers[1] < 50


def test_what_a_screen_reader_hears(opened: Any) -> None:
    page = opened()
    assert page.get_by_role("heading", level=1).inner_text() == "What each word looked at"
    assert page.get_by_role("img", name="a red ball on green grass").count() == 1
    words = page.get_by_role("group", name="Caption, word by word")
    assert words.get_by_role("button").all_inner_texts() == list(WORDS)
    assert words.get_by_role("button", pressed=True).all_inner_texts() == ["red"]
    assert page.locator(".facts").get_attribute("aria-live") == "polite"
    for name in ("Colors", "Opacity"):
        assert page.get_by_label(name).count() == 1
    assert page.get_by_role("radiogroup", name="Maps").get_by_role("radio").count() == 2
    page.locator("summary").click()
    row = page.get_by_role("row", name="ball")
    assert row.get_by_role("cell").all_inner_texts()[:2] == ["0.700", "3.00"]


def test_text_is_only_text(opened: Any) -> None:
    evil = "<img src=x onerror=window.evil=1><script>window.evil=1</script>'\"&amp;"
    shown = item(name=evil)
    word = replace(shown.words[0], text=evil)
    attention = shown.words_attention[:1, :2]
    alone = replace(shown, words=(word,), words_attention=attention, caption=Caption(evil, -1, ()), alternatives=())
    page = opened(replace(alone, alternatives=(replace(alone, note=evil),)))
    page.locator(CAPTION).first.hover()
    assert page.locator(CAPTION).first.inner_text() == evil
    assert page.get_by_role("heading", level=2).inner_text() == evil
    assert page.locator(".facts").inner_text().startswith(f"“{evil}”")
    assert page.evaluate("window.evil") is None and page.locator("img").count() == 1


def test_the_page_s_policy_holds(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html_report([item()]), encoding="utf-8")
    page = chromium.new_page()
    ends: list[str | None] = []
    page.on("requestfinished", lambda request: ends.append(request.url))
    page.on("requestfailed", lambda request: ends.append(request.failure))
    page.goto(path.as_uri())
    ends.clear()
    refused = page.evaluate(
        """async () => {
          const found = [];
          document.addEventListener("securitypolicyviolation", event => found.push(event.effectiveDirective));
          const add = (name, values) => document.body.append(Object.assign(document.createElement(name), values));
          add("img", { src: "http://127.0.0.1:9/x.png" });
          add("script", { textContent: "window.evil = 1" });
          add("style", { textContent: "body { color: red }" });
          await fetch("http://127.0.0.1:9/").catch(() => {});
          await new Promise(done => setTimeout(done, 100));
          return found;
        }"""
    )
    assert sorted(refused) == ["connect-src", "img-src", "script-src-elem", "style-src-elem"]
    assert page.evaluate("window.evil") is None
    assert set(ends) == {"csp"}
    page.context.close()


def test_in_a_frame_it_takes_the_room_it_needs(visit: Visit, tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><p>Out[1]:</p>{html_frame([item()])}", encoding="utf-8")
    page = visit(path.as_uri())
    inside = page.frame_locator("iframe")
    inside.locator(CAPTION).nth(2).hover()
    assert inside.locator(".facts").inner_text().startswith("“ball”")
    assert not inside.get_by_role("heading", level=1).is_visible()
    frame = page.frames[1]
    inside.locator("summary").click()
    page.wait_for_function("document.querySelector('iframe').style.height != ''")
    assert frame.evaluate("document.body.offsetHeight <= innerHeight + 1")
    page.screenshot(path=pictures / "notebook.png", full_page=True)


def test_without_scripts_it_is_still_a_page(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html_report([item()]), encoding="utf-8")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.get_by_text("The maps need JavaScript").is_visible()
    assert page.get_by_role("img").is_visible()
    assert page.locator(CAPTION).all_inner_texts() == list(WORDS)
    context.close()
