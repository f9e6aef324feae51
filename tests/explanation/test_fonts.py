"""Labels in any script: with a font that has its letters, and where none has, with a word instead of empty boxes."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw, features

from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.explanation import fonts
from wordgaze.explanation.fonts import FontWarning, face_for, missing_scripts, runs, visual
from wordgaze.explanation.grid import Panel, caption_picture, fit, grid


def make_font(path: Path, letters: str, name: str = "Made") -> Path:
    """Make a font whose letters are filled squares, and a hollow one where it has none."""

    def square(side: int, hollow: bool = False) -> object:
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for point in ((0, side), (side, side), (side, 0)):
            pen.lineTo(point)
        pen.closePath()
        if hollow:
            pen.moveTo((99, 99))
            for point in ((side - 99, 99), (side - 99, side - 99), (99, side - 99)):
                pen.lineTo(point)
            pen.closePath()
        return pen.glyph()

    names = [".notdef", *(f"u{ord(letter):x}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): glyph for letter, glyph in zip(letters, names[1:], strict=True)})
    glyphs = {glyph: square(700 + 10 * index) for index, glyph in enumerate(names[1:])}
    builder.setupGlyf({".notdef": square(600, hollow=True), **glyphs})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make an empty folder the only one where fonts are installed."""
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path])
    fonts._files.cache_clear()
    fonts._installed.cache_clear()
    yield tmp_path
    fonts._files.cache_clear()
    fonts._installed.cache_clear()


def picture_of(words: list[str]) -> Image.Image:
    photo = Image.new("RGB", (90, 60), (30, 60, 90))
    geometry = PhotoTransform(Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3))(photo)[1]
    panels = [Panel(word, np.full((4, 4), 1 / 16)) for word in words]
    return grid(photo, panels, geometry, longest=90)


def written_in(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is written under the pictures, word by word."""
    written: list[str] = []
    draw_text = ImageDraw.ImageDraw.text

    def remember(
        self: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *rest: object, **options: object
    ) -> None:
        written.append(text)
        draw_text(self, xy, text, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", remember)
    picture_of(words)
    return [text for text in written if text not in ("less", "more")]


@pytest.mark.parametrize("text", ["cat", "Ελλάδα", "кот", "e\u0301", "כלב", "كلب", "", " ", "a\u200db", "❤\ufe0f"])
def test_what_matplotlibs_font_has_looks_the_same_on_every_machine(folder: Path, text: str) -> None:
    make_font(folder / "Everything.ttf", "catкот")
    face = face_for(text, bold=True)
    assert face is not None and Path(face.path).name == "DejaVuSans-Bold.ttf"


def test_other_letters_come_from_an_installed_font(folder: Path) -> None:
    assert face_for("狗") is None
    make_font(folder / "deeper.ttf", "一只狗T恤")
    fonts._files.cache_clear()
    fonts._installed.cache_clear()
    for text in ("狗", "一只狗", "T恤"):
        face = face_for(text)
        assert face is not None and Path(face.path) == folder / "deeper.ttf"
    assert face_for("猫") is None and missing_scripts("一只猫") == ["Han"]


def test_a_word_may_need_two_fonts(folder: Path) -> None:
    han = make_font(folder / "Han.ttf", "狗猫")
    parts = [(Path(face.path).name, text) for face, text in runs("Ж狗猫w", bold=True)]
    assert parts == [("DejaVuSans-Bold.ttf", "Ж"), (han.name, "狗猫"), ("DejaVuSans-Bold.ttf", "w")]
    assert runs("Ж狗虎") == []


def test_a_font_made_for_the_script_comes_first_and_plain_ones_before_ornate(folder: Path) -> None:
    names = [
        "A.ttf",
        "NotoSansThai-Regular.ttf",
        "NotoSansThai-Bold.ttf",
        "NotoSerifThai-Bold.ttf",
        "Unifont.ttf",
    ]
    for name in names:
        make_font(folder / name, "ก")
    (folder / "Broken.ttf").write_bytes(b"no font")
    for bold, expected in ((True, names[2]), (False, names[1])):
        face = face_for("ก", bold)
        assert face is not None and Path(face.path).name == expected
    assert all("Unifont" not in path for path in fonts._files())


def test_no_empty_boxes_but_a_warning_that_names_script_and_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(FontWarning) as warned:
        written = written_in(["a", "狗", "หมา", "on", "T恤"], monkeypatch)
    assert written == ["a", "word 2", "word 3", "on", "word 5"]
    (message,) = (str(one.message) for one in warned)
    assert "letters of Han, Thai" in message and "fonts-noto-cjk, fonts-noto-core" in message
    assert warned[0].filename == __file__


def test_a_word_has_the_same_number_in_its_cell_and_in_the_caption(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    draw_text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, xy, text, *rest, **options: (
            written.append(text),
            draw_text(self, xy, text, *rest, **options),
        ),
    )
    photo = Image.new("RGB", (90, 60), (30, 60, 90))
    geometry = PhotoTransform(Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3))(photo)[1]
    words = [Panel("на", np.ones((4, 4)), grounded=False), Panel("狗", np.ones((4, 4)))]
    with pytest.warns(FontWarning) as warned:
        caption_picture(photo, words, geometry)
    assert written == ["less", "more", "word 2", "на", "word 2"] and len(warned) == 1


def test_with_a_font_the_words_are_written_and_nothing_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_font(folder / "Both.ttf", "狗หมา")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert written_in(["a", "狗", "หมา"], monkeypatch) == ["a", "狗", "หมา"]
    assert picture_of(["狗"]).tobytes() != picture_of(["猫" if missing_scripts("猫") == [] else "word 1"]).tobytes()


def test_long_words_are_cut_between_characters_of_readers() -> None:
    word = "e\u0301" * 40
    text, size = fit(word, 90)
    assert size == 13 and text.endswith("e\u0301…") and word.startswith(text[:-1])


@pytest.mark.parametrize("word", ["כלב", "كلب"])
def test_words_from_right_to_left_are_not_reversed(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if features.check("raqm"):  # which turns and joins them itself
        assert visual(word) == word
    monkeypatch.setattr(features, "check", lambda name: False)
    assert visual(word) == word[::-1] and visual("cat") == "cat"


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_every_system_has_folders_of_fonts(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts.sys, "platform", platform)
    monkeypatch.setenv("XDG_DATA_DIRS", "/somewhere/share:")
    places = [str(folder) for folder in fonts._folders()]
    assert len(places) > 1
    assert platform != "linux" or "/somewhere/share/fonts" in places


def test_the_font_is_found_without_importing_matplotlib() -> None:
    assert fonts.font(20).getname() == ("DejaVu Sans", "Book")
    code = f"import sys, {fonts.__name__} as m; m.font(9); sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
