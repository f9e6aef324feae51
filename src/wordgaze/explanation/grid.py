"""A caption as one picture: the photo, the photo under the maps of its grounded words, and the whole caption below.

Under a map, what the model was not shown is darkened.

Letters: patches (H_p × W_p).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from wordgaze.data.geometry import Geometry
from wordgaze.errors import warn
from wordgaze.explanation import fonts
from wordgaze.explanation.fonts import font
from wordgaze.explanation.overlay import (
    COLOR_MAPS,
    COLORS,
    OPACITY,
    UNGROUNDED,
    colorize,
    darken_unseen,
    mute,
    overlay,
    paint,
    percent,
    refine,
    resize,
)
from wordgaze.text.scripts import clusters

_INK, _QUIET, _PAPER = (24, 24, 27), (113, 113, 122), (255, 255, 255)
_GAP = 16  # between cells, and around all of them
_LABEL = 34  # height of the line under a photo
_WORD_SIZE, _SMALLEST_WORD, _NUMBER_SIZE = 21, 13, 16
_CAPTION_SIZE, _CAPTION_LINE, _SPACE = 16, 26, 6  # of the whole caption below the photos
_NARROWEST = 150  # what a label needs, however tall and thin the photo

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Panel:
    """A word's ``map`` (H_p, W_p) and what stands under it: the word, and its ``probability`` (None: no number).

    ``grounded``: False for a word that the model has no skill to place; its map is gray and weak.
    """

    label: str
    map: np.ndarray
    probability: float | None = None
    grounded: bool = True


def caption_picture(
    photo: Image.Image, panels: Sequence[Panel], geometry: Geometry, *, longest: int = 320
) -> Image.Image:
    """Return a grid of the grounded words of a caption, and below it all its words in small text, the others gray.

    Arguments as of :func:`grid`.
    """
    panels = _writable(panels)
    maps = grid(photo, [panel for panel in panels if panel.grounded], geometry, longest=longest)
    lines = _lines(panels, maps.width - 2 * _GAP)
    picture = Image.new("RGB", (maps.width, maps.height + len(lines) * _CAPTION_LINE), _PAPER)
    picture.paste(maps)
    from_right = _is_right_to_left("".join(panel.label for panel in panels))
    for number, line in enumerate(lines):
        middle = maps.height + number * _CAPTION_LINE + _CAPTION_LINE // 4
        _draw_line(picture, line, middle, from_right)
    return picture


def grid(photo: Image.Image, panels: Sequence[Panel], geometry: Geometry, *, longest: int = 320) -> Image.Image:
    """Return one picture: the photo, then a cell for each panel, its map over the photo and its label below.

    ``geometry``: where the maps' input lies on ``photo``. ``longest``: the long side of a cell's photo in pixels.
    """
    photo, geometry = resize(photo, geometry, longest)
    muted = mute(photo)
    panels = _writable(panels)
    context = "".join(panel.label for panel in panels)
    width, height = max(photo.width, _NARROWEST), photo.height + (_LABEL if panels else 0)
    columns = _columns(1 + len(panels), width + _GAP, height + _GAP)
    rows = math.ceil((1 + len(panels)) / columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    picture = Image.new("RGB", size, _PAPER)
    corners = _rounded(photo.size)
    cells = [None, *panels]
    for index, panel in enumerate(cells):
        left = _GAP + index % columns * (width + _GAP)
        top = _GAP + index // columns * (height + _GAP)
        shown = photo if panel is None else _under_map(muted, panel, geometry)
        picture.paste(shown, (left + (width - photo.width) // 2, top), corners)
        label = (left, top + photo.height, left + width, top + height)
        if panel is not None:
            _draw_label(picture, label, panel, context)
        elif panels:
            _draw_legend(picture, label)
    return picture


def _under_map(muted: Image.Image, panel: Panel, geometry: Geometry) -> Image.Image:
    look = (OPACITY, COLORS) if panel.grounded else (UNGROUNDED * OPACITY, COLOR_MAPS["gray"])
    return darken_unseen(overlay(muted, geometry.place(refine(panel.map)), *look), geometry)


def _columns(cells: int, width: int, height: int) -> int:
    """Return how many of ``cells`` go side by side so that all are about 4:3 to 16:9, with few left empty.

    Too wide is better than too tall: three cells stand in one row.
    """

    def cost(columns: int) -> float:
        rows = math.ceil(cells / columns)
        shape = math.log(columns * width / (rows * height))
        outside = max(3 * (math.log(4 / 3) - shape), shape - math.log(16 / 9), 0)
        return outside + 2.4 * (columns * rows - cells) / cells

    return min(range(1, cells + 1), key=cost)


def _rounded(size: tuple[int, int], radius: int = 6) -> Image.Image:
    """Return a mask with rounded corners; drawn four times too large, so that its edge is smooth."""
    mask = Image.new("L", (4 * size[0], 4 * size[1]), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), 4 * radius, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def _draw_legend(picture: Image.Image, box: Box) -> None:
    """Draw which colors mean that a word looked there."""
    left, top, right, bottom = box
    middle = (top + bottom) // 2 + 2
    draw = ImageDraw.Draw(picture)
    quiet = font(_NUMBER_SIZE - 2)
    draw.text((left, middle), "less", _QUIET, quiet, anchor="lm")
    draw.text((right, middle), "more", _QUIET, quiet, anchor="rm")
    start = left + math.ceil(draw.textlength("less", quiet)) + 10
    stop = right - math.ceil(draw.textlength("more", quiet)) - 10
    ramp = np.tile(np.linspace(0, 1, stop - start, dtype=np.float32), (10, 1))
    bar = paint(Image.new("RGB", (stop - start, 10), (96, 96, 96)), colorize(ramp))
    picture.paste(bar, (start, middle - 5), _rounded(bar.size, 5))


def _draw_label(picture: Image.Image, box: Box, panel: Panel, context: str) -> None:
    left, top, right, bottom = box
    middle = (top + bottom) // 2 + 2
    room = right - left
    if panel.probability is not None:
        draw, number = ImageDraw.Draw(picture), percent(panel.probability)
        draw.text((right, middle), number, _QUIET, font(_NUMBER_SIZE), anchor="rm")
        room -= math.ceil(draw.textlength(number, font(_NUMBER_SIZE))) + 10
    text, size = fit(panel.label, room, context)
    _write(picture, left, middle, text, _INK if panel.grounded else _QUIET, size, True, context)


class _Word(NamedTuple):
    """A word of the caption below the photos, and how wide it is in pixels."""

    text: str
    grounded: bool
    width: int


def _lines(panels: Sequence[Panel], room: int) -> list[list[_Word]]:
    """Return the words of a caption in lines of ``room`` pixels."""
    context = "".join(panel.label for panel in panels)
    lines: list[list[_Word]] = []
    left = room
    for panel in panels:
        text = _cut(panel.label, room, _CAPTION_SIZE, panel.grounded, context)
        width = math.ceil(_width(text, _CAPTION_SIZE, panel.grounded, context))
        if left + width > room:
            lines.append([])
            left = 0
        lines[-1].append(_Word(text, panel.grounded, width))
        left += width + _SPACE
    return lines


def _draw_line(picture: Image.Image, words: Sequence[_Word], middle: int, from_right: bool) -> None:
    context = "".join(word.text for word in words)
    x = _GAP
    for word in words:
        left = picture.width - x - word.width if from_right else x
        ink = _INK if word.grounded else _QUIET
        _write(picture, left, middle, word.text, ink, _CAPTION_SIZE, word.grounded, context)
        x += word.width + _SPACE


def _is_right_to_left(text: str) -> bool:
    """Return whether the first letter with a direction goes from right to left, as in Hebrew and Arabic."""
    directions = (unicodedata.bidirectional(letter) for letter in text)
    return next((way != "L" for way in directions if way in ("L", "R", "AL")), False)


def _writable(panels: Sequence[Panel]) -> list[Panel]:
    """Return panels whose labels can be written: ``word`` and a number replace one with letters that no font has."""
    missing = fonts.missing_scripts("".join(panel.label for panel in panels))
    if not missing:
        return list(panels)
    packages = ", ".join(dict.fromkeys(map(fonts.package_of, missing)))
    warn(
        f"No font on this machine has letters of {', '.join(missing)}, so the picture's labels say 'word' and a number "
        f"instead; install one (on Debian and Ubuntu: {packages}), or write .html, where the browser draws them.",
        fonts.FontWarning,
    )
    return [
        replace(panel, label=f"word {number}") if fonts.missing_scripts(panel.label) else panel
        for number, panel in enumerate(panels, start=1)
    ]


def fit(word: str, room: float, context: str = "") -> tuple[str, int]:
    """Return the word and a size at which it is no wider than ``room`` pixels: smaller, and if need be cut short.

    ``context``: the words around it, as of :func:`wordgaze.explanation.fonts.face_for`.
    """
    for size in range(_WORD_SIZE, _SMALLEST_WORD - 1, -1):
        if _width(word, size, True, context) <= room:
            return word, size
    return _cut(word, room, _SMALLEST_WORD, True, context), _SMALLEST_WORD


def _cut(word: str, room: float, size: int, bold: bool, context: str) -> str:
    """Return the word, or as much of its beginning as ``room`` pixels hold, with an ellipsis."""
    if _width(word, size, bold, context) <= room:
        return word
    letters = clusters(word)  # an accent goes with its letter
    while letters and _width("".join(letters) + "…", size, bold, context) > room:
        letters.pop()
    return "".join(letters) + "…"


def _width(text: str, size: int, bold: bool, context: str) -> float:
    runs = fonts.runs(text, bold, context)
    return sum(face.length(part, size) for face, part in runs) if runs else font(size, bold).getlength(text)


def _write(
    picture: Image.Image, left: float, middle: int, text: str, ink: Color, size: int, bold: bool, context: str
) -> None:
    for face, part in fonts.runs(text, bold, context):
        face.draw(picture, round(left), middle, part, ink, size)
        left += face.length(part, size)
