"""The demo in Chromium, with the bundled model and a photo that is ours."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.browser.conftest import DARK, PHONE, TIMEOUT, Visit

from wordgaze.demo import page as demo_page
from wordgaze.demo.page import EXAMPLE

pytestmark = pytest.mark.browser

CAPTION = ".words:not([hidden]) button"


@pytest.fixture(scope="module")
def captioner() -> Any:
    from wordgaze.captioner import Captioner

    return Captioner.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def caption(captioner: Any) -> list[str]:
    """Return the words of the example's caption."""
    return captioner.caption(EXAMPLE).text.split()


@pytest.fixture(scope="module")
def address(captioner: Any) -> Iterator[str]:
    pytest.importorskip("gradio", reason='needs Gradio: pip install "wordgaze[demo]"')
    from wordgaze import demo

    with demo.serve(captioner) as page:
        yield page.local_url


@pytest.fixture
def uploaded(visit: Visit, address: str) -> Any:
    """Return a page on which a photo was uploaded: the example again, by another name, unless another is given."""
    mine = {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": EXAMPLE.read_bytes()}

    def go(photo: Any = mine, **context: Any) -> Any:
        page = visit(address, **context)
        words(page)
        wait_for_new(page, lambda: page.locator("input[type=file]").first.set_input_files(photo))
        return page

    return go


def viewer(page: Any) -> Any:
    return page.frame_locator("#viewer iframe:not(.coming)")


def words(page: Any) -> list[str]:
    viewer(page).locator(CAPTION).first.wait_for()
    return viewer(page).locator(CAPTION).all_inner_texts()


def wait_for_new(page: Any, act: Any) -> None:
    """Act, and wait until another report or a sentence is there."""
    page.evaluate("document.querySelector('#viewer iframe').dataset.old = 1")
    act()
    page.locator("#viewer iframe:not([data-old]):not(.coming), #viewer [role=alert]:visible").wait_for()


def test_it_opens_with_an_example_and_the_map_of_a_word(
    visit: Visit, address: str, caption: list[str], pictures: Path
) -> None:
    page = visit(address)
    assert words(page) == caption
    inside = viewer(page)
    [chosen] = inside.locator("[aria-pressed=true]").all_inner_texts()
    assert chosen == inside.locator(f"{CAPTION}:not(.ungrounded)").first.inner_text()
    assert inside.locator("figure canvas").is_visible()
    assert inside.locator(".facts").inner_text().startswith(f"“{chosen}”: ")
    shown = page.locator(".image-container img").first
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.screenshot(path=pictures / "demo-opened.png", full_page=True)
    # The example is a photo as any other: a caption of one's own can be tried on it.
    page.get_by_label("A caption of your own").fill("a blue car")
    wait_for_new(page, lambda: page.keyboard.press("Enter"))
    assert words(page) == ["a", "blue", "car"]


def test_a_photo_in_a_caption_and_its_maps_out(uploaded: Any, caption: list[str], pictures: Path) -> None:
    page = uploaded()
    found = words(page)
    assert found == caption
    inside = viewer(page)
    inside.locator(CAPTION).nth(2).hover()
    assert inside.locator("figure canvas").is_visible()
    assert inside.locator(".facts").inner_text().startswith(f"“{found[2]}”: ")
    page.screenshot(path=pictures / "demo.png", full_page=True)
    shares = inside.locator(".captions .share").all_inner_texts()
    assert len(shares) == 3 and all(share.endswith("%") for share in shares)
    # The frame is as high as the report: no scroll bar in a scroll bar.
    assert page.frames[1].evaluate("document.documentElement.scrollHeight <= innerHeight + 1")
    inside.locator(CAPTION).first.focus()
    page.keyboard.press("ArrowRight")
    assert inside.locator("[aria-pressed=true]").all_inner_texts() == [found[1]]


def test_a_caption_of_one_s_own(uploaded: Any, pictures: Path) -> None:
    page = uploaded()
    model = words(page)
    page.get_by_label("A caption of your own").fill("Two dogs in a car.")
    wait_for_new(page, lambda: page.keyboard.press("Enter"))
    assert words(page) == ["two", "dogs", "in", "a", "car"]
    assert viewer(page).locator(".captions label").first.inner_text().startswith("two dogs in a car (yours)")
    viewer(page).locator(CAPTION).nth(1).hover()
    page.screenshot(path=pictures / "demo-own.png", full_page=True)
    own = re.compile(rf"^{' '.join(model)} \d+%")  # another caption may begin with the same words
    viewer(page).get_by_role("radio", name=own).check()
    assert words(page) == model


def test_beams_lengths_and_the_method_can_be_changed(uploaded: Any) -> None:
    page = uploaded()
    words(page)
    page.get_by_role("button", name="Options").click()

    def set_number(label: str, value: int) -> None:
        box = page.get_by_role("spinbutton", name=label)
        box.fill(str(value))
        box.press("Enter")
        page.get_by_role("button", name="Show where").click()

    wait_for_new(page, lambda: set_number("Beams", 1))
    assert viewer(page).locator(".captions").count() == 0
    wait_for_new(page, lambda: set_number("Longest", 4))
    assert len(words(page)) <= 4
    maps = page.evaluate("document.querySelector('#viewer iframe').srcdoc")
    page.get_by_label("Method").click()
    wait_for_new(page, lambda: page.get_by_role("option", name="layer-0", exact=True).click())
    assert len(words(page)) <= 4
    assert page.evaluate("document.querySelector('#viewer iframe').srcdoc") != maps
    set_number("Shortest", 9)
    page.locator("#viewer [role=alert]").wait_for()
    assert "min_length" in page.locator("#viewer [role=alert]").inner_text()


def test_a_broken_photo_gets_a_sentence(uploaded: Any, caption: list[str], pictures: Path) -> None:
    photo = {"name": "my cat.jpg", "mimeType": "image/jpeg", "buffer": EXAMPLE.read_bytes()[:9000]}
    page = uploaded(photo)
    page.locator("#viewer [role=alert]").wait_for()
    assert page.locator("#viewer [role=alert]").inner_text().startswith("my cat.jpg is damaged or cut short")
    page.screenshot(path=pictures / "demo-broken.png", full_page=True)
    page.locator("input[type=file]").first.set_input_files(EXAMPLE)
    assert words(page) == caption
    assert not page.locator("#viewer [role=alert]").is_visible()


def test_too_many_pixels_get_a_sentence(uploaded: Any) -> None:
    file = io.BytesIO()
    Image.new("1", (10_000, 6_000)).save(file, "PNG")
    page = uploaded({"name": "big.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.locator("#viewer [role=alert]").wait_for()
    assert "60,000,000 pixels, more than the 50,000,000 allowed" in page.locator("#viewer").inner_text()


def test_too_many_bytes_get_a_sentence(chromium: Any, address: str, pictures: Path) -> None:
    page = chromium.new_page()  # not watched: Gradio itself reports this on the console, too
    page.set_default_timeout(TIMEOUT)
    page.goto(address)
    photo = {"name": "big.jpg", "mimeType": "image/jpeg", "buffer": bytes(21 * 1024**2)}
    page.locator("input[type=file]").first.set_input_files(photo)
    page.get_by_text("exceed the maximum allowed size of 20").wait_for()
    page.screenshot(path=pictures / "demo-large.png")
    page.context.close()


def test_what_is_downloaded_is_the_report(uploaded: Any, visit: Visit, tmp_path: Path) -> None:
    page = uploaded()
    found = words(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download this report").click()
    assert download.value.suggested_filename == "mine.html"
    path = tmp_path / "mine.html"
    download.value.save_as(path)
    assert path.stat().st_size < 1_500_000
    report = visit(path.as_uri())
    assert report.locator(CAPTION).all_inner_texts() == found
    assert report.get_by_role("heading", level=1).is_visible()


def test_a_photo_is_taken_away_and_another_chosen(uploaded: Any, caption: list[str]) -> None:
    page = uploaded()
    page.get_by_label("Remove Image").click()
    page.locator("#viewer .empty").wait_for()
    assert page.locator("#viewer iframe").count() == 0
    page.locator("input[type=file]").first.set_input_files(EXAMPLE)
    assert words(page) == caption


def test_an_upload_goes_through_the_model_once(uploaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    explain_upload = demo_page.explain_upload
    monkeypatch.setattr(demo_page, "explain_upload", lambda *a: asked.append(a[2]) or explain_upload(*a))
    page = uploaded()
    page.get_by_label("A caption of your own").fill("a blue car")
    wait_for_new(page, lambda: page.keyboard.press("Enter"))  # after all that came before
    assert [name for name in asked if name != EXAMPLE.name] == ["mine.jpg", "mine.jpg"]


def test_on_a_phone(uploaded: Any, pictures: Path) -> None:
    page = uploaded(**PHONE)
    words(page)
    viewer(page).locator(CAPTION).nth(2).tap()
    assert viewer(page).locator("figure canvas").is_visible()
    page.screenshot(path=pictures / "demo-phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.frames[1].evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_viewer_is_dark_where_the_page_is(uploaded: Any, pictures: Path) -> None:
    page = uploaded(**DARK)
    words(page)
    viewer(page).locator(CAPTION).nth(1).hover()
    page.screenshot(path=pictures / "demo-dark.png", full_page=True)
    assert page.frames[1].evaluate("getComputedStyle(document.body).color") == "rgb(242, 242, 244)"
