"""The picture of a caption: a cell for each grounded word, and all words below."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from wordgaze.data.geometry import Geometry
from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.explanation.fonts import font
from wordgaze.explanation.grid import Panel, caption_picture, fit, grid
from wordgaze.explanation.overlay import mute

EVEN = np.full((4, 4), 1 / 16)


def _photo(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (30, 60, 90))


def _geometry(photo: Image.Image, side: int = 64) -> Geometry:
    return PhotoTransform(Preprocessing((side, side), (0.5,) * 3, (0.5,) * 3))(photo)[1]


def _cells(picture: Image.Image, photo: Image.Image, longest: int) -> list[np.ndarray]:
    """Return the photos in a grid, found by their columns and rows of ink on white paper."""
    scale = longest / max(photo.size)
    width, height = (round(side * scale) for side in photo.size)
    cell_width, gap, label = max(width, 150), 16, 34
    columns = (picture.width - gap) // (cell_width + gap)
    rows = (picture.height - gap) // (height + label + gap)
    found = []
    for index in range(rows * columns):
        left = gap + index % columns * (cell_width + gap) + (cell_width - width) // 2
        top = gap + index // columns * (height + label + gap)
        crop = np.asarray(picture)[top : top + height, left : left + width]
        if crop.min() < 250:
            found.append(crop)
    return found


@pytest.mark.parametrize("size", [(480, 320), (320, 480), (900, 200), (90, 400)])
@pytest.mark.parametrize("count", [1, 7, 40])
def test_a_grid_has_the_photo_and_a_cell_per_word(size: tuple[int, int], count: int) -> None:
    photo = Image.new("RGB", size, (30, 60, 90))
    maps = np.full((count, 6, 6), 1 / 36)
    panels = [Panel("word", map_, 0.5) for map_ in maps]
    picture = grid(photo, panels, _geometry(photo), longest=120)
    assert len(_cells(picture, photo, 120)) == count + 1
    if count == 40:
        assert 1.2 < picture.width / picture.height < 2


@pytest.mark.parametrize(("cells", "columns"), [(2, 2), (3, 3), (4, 2), (5, 3), (6, 3), (7, 4), (8, 4), (9, 3)])
def test_few_cells_leave_no_hole_that_could_be_helped(cells: int, columns: int) -> None:
    photo = _photo(480, 320)
    picture = grid(photo, [Panel("word", EVEN)] * (cells - 1), _geometry(photo))
    assert picture.width == 16 + columns * 336


def test_a_grids_cells_show_their_own_maps_where_they_belong() -> None:
    photo = Image.new("RGB", (480, 240), (90, 120, 90))
    geometry = _geometry(photo)
    maps = np.zeros((2, 8, 8))
    maps[0, 4, 1] = maps[1, 3, 6] = 1
    first, left, right = _cells(grid(photo, list(map(Panel, ["left", "right"], maps)), geometry), photo, 320)
    middle = first[20:-20, 20:-20]
    assert (middle == (90, 120, 90)).all()
    for cell, row, column in [(left, 4, 1), (right, 3, 6)]:
        red = cell[..., 0].astype(int)
        red[[*range(8), *range(-8, 0)]] = 0  # the paper behind rounded corners
        y, x = np.unravel_index(red.argmax(), red.shape)
        expected = geometry.point(row, column, (8, 8))
        assert (x * 480 / 320, y * 480 / 320) == pytest.approx(expected, abs=25)
        dark = cell[20:-20, 150:170]
        assert (dark == np.asarray(mute(photo))[0, 0]).all()


def test_what_the_model_was_not_shown_is_darkened_under_a_map() -> None:
    photo = Image.new("RGB", (480, 240), (90, 120, 90))
    geometry = Geometry(photo.size, (64, 64), (120, 0, 360, 240))  # its middle
    _, cell = _cells(grid(photo, [Panel("dog", np.zeros((8, 8)))], geometry), photo, 320)
    shown = np.asarray(mute(photo))[0, 0].astype(int)
    assert (cell[20:-20, 85:235] == shown).all()
    for margin in (cell[20:-20, 8:75], cell[20:-20, 245:-8]):
        assert np.abs(margin - 0.55 * shown).max() <= 1


def test_words_that_cannot_be_placed_are_grey_and_weak_in_a_grid() -> None:
    photo = Image.new("RGB", (320, 320), (90, 90, 90))
    geometry = _geometry(photo)
    map_ = np.zeros((8, 8))
    map_[4, 4] = 1
    picture = grid(photo, [Panel("cat", map_), Panel("of", map_, grounded=False)], geometry)
    _, sure, unsure = (cell.astype(int) for cell in _cells(picture, photo, 320))
    muted = np.asarray(mute(photo), int)[0, 0]
    inside = np.s_[20:-20, 20:-20]
    assert np.ptp(unsure[inside], axis=-1).max() <= 1 < 50 < np.ptp(sure[inside], axis=-1).max()
    assert 0 < (unsure[inside] - muted).max() < 0.6 * (sure[inside] - muted).max()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, int, int], int]]:
    """Return a list that fills with what is written on pictures, with its ink and size."""
    texts: list[tuple[str, tuple[int, int, int], int]] = []
    draw_text = ImageDraw.ImageDraw.text

    def remember(self, xy, text, ink, font, **options):
        texts.append((text, ink, font.size))
        draw_text(self, xy, text, ink, font, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", remember)
    return texts


def test_labels_say_the_word_and_shrink_or_shorten_long_ones(written) -> None:
    photo = _photo(30, 90)
    words = {"cat": 0.871, "refrigerator": 0.001, "incomprehensibilities" * 3: 0.999}
    grid(photo, [Panel(word, EVEN, share) for word, share in words.items()], _geometry(photo))
    texts = [text for text, *_ in written]
    assert {"cat", "87%", "refrigerator", "<1%", ">99%"} <= set(texts)
    assert any(text.startswith("incomp") and text.endswith("…") for text in texts)


@pytest.mark.parametrize("room", [40, 90, 200])
@pytest.mark.parametrize("word", ["a", "refrigerator", "m" * 60, "日本語"])
def test_fitted_words_fit(word: str, room: int) -> None:
    text, size = fit(word, room)
    assert font(size, bold=True).getlength(text) <= room
    assert text == word or (text.endswith("…") and word.startswith(text[:-1]) and size == 13)


def _caption(text: str) -> list[Panel]:
    """Return the words of a text as panels, those in capitals grounded."""
    return [Panel(word, EVEN, 0.5, grounded=word != word.lower()) for word in text.split()]


def test_a_caption_has_a_cell_for_each_grounded_word_and_all_its_words_in_small_below(written) -> None:
    photo = _photo(300, 200)
    picture = caption_picture(photo, _caption("a CAT on a SOFA"), _geometry(photo))
    assert len(_cells(picture.crop((0, 0, picture.width, picture.height - 26)), photo, 320)) == 3
    labels = [(text, size) for text, _, size in written if not text.endswith("%")][2:]  # behind less and more
    assert labels[:2] == [("CAT", 21), ("SOFA", 21)]
    assert labels[2:] == [("a", 16), ("CAT", 16), ("on", 16), ("a", 16), ("SOFA", 16)]
    lightness = {text: sum(ink) for text, ink, size in written if size == 16 and not text.endswith("%")}
    assert max(lightness["CAT"], lightness["SOFA"]) < min(lightness["a"], lightness["on"]) / 2


@pytest.mark.parametrize("size", [(300, 200), (40, 300), (900, 30)])
@pytest.mark.parametrize("text", ["on top of it", ""])
def test_a_caption_without_grounded_words_is_the_photo_and_the_caption(
    size: tuple[int, int], text: str, written
) -> None:
    photo = _photo(*size)
    picture = caption_picture(photo, _caption(text), _geometry(photo))
    assert [word for word, *_ in written] == text.split()  # and no legend, since nothing is painted
    height = round(320 * size[1] / max(size))
    crop = np.asarray(picture)[16 + height // 2, picture.width // 2]
    assert crop.tolist() == [30, 60, 90]
    assert (picture.height - 32 - height > 0) == bool(text)


def test_a_long_caption_goes_on_in_the_next_line_and_no_word_out_of_the_picture(monkeypatch) -> None:
    photo = _photo(30, 90)
    text = "a cat of extraordinarily-incomprehensible-length that lies " + "on and " * 12 + "on"
    heights = [caption_picture(photo, _caption(some), _geometry(photo)).height for some in ("a cat", text)]
    assert heights[1] >= heights[0] + 3 * 26
    picture = np.asarray(caption_picture(photo, _caption(text), _geometry(photo)))
    for margin in (picture[:, :16], picture[:, -16:], picture[-8:]):
        assert margin.min() == 255


def test_a_caption_from_right_to_left_begins_at_the_right() -> None:
    photo = _photo(300, 200)

    def ink(text: str) -> np.ndarray:
        picture = np.asarray(caption_picture(photo, _caption(text), _geometry(photo)))
        return np.flatnonzero((picture[-26:] < 200).any(axis=(0, 2)))

    left, right = ink("on it"), ink("על זה")
    assert left.min() < 24 and left.max() < 120
    assert right.max() > 320 and right.min() > 220
    first = ink("על")  # the first word stands where it stands alone
    assert set(first) <= set(right) and set(ink("on")) <= set(left)
