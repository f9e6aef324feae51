"""A map over its photo: colors, strength, and where its peak is.

Letters: photo pixels (w, h), patches (H_p × W_p).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from wordgaze.data.geometry import Geometry

OPACITY = 0.85
"""Of the strongest value; weaker ones let more of the photo through."""

UNGROUNDED = 0.5
"""How much of that is left for words that the model has no skill to place; they are painted in gray."""

_UNSEEN = 0.45  # how much light a photo loses where the model was not shown it; as report.js does

# matplotlib's maps (Smith, van der Walt and Firing 2015, CC0; cividis: Nuñez et al. 2018) from 0.2 to 1, where they
# stand out from a muted photo, at 33 even steps. Their lightness rises evenly, so the order shows to color-blind eyes
# and in print.
_STEPS = {
    "inferno": (
        "420a684c0c6b57106d61146e6b176e751b6e7f1f6c89226a9326679e2964a82d5fb1325abb3755c43c4fcd4248d54941"
        "dd513ae35932e9622aef6c22f3771af78212f98d0afb9906fca50afcb115fbbd23f9ca32f6d644f3e259f1ee72f4f78c"
        "fcffa4"
    ),
    "viridis": (
        "4144873e4a893b528b38598c355f8d31668e2f6c8e2c728e2a788e277e8e25848e238a8d21918c1f968b1e9c891fa287"
        "22a88428ae802fb47c38b97744bf7050c46a5ec9626ccd5a7ad1518bd6469bd93caddc30bddf26cde11ddfe318efe51c"
        "fde725"
    ),
    "cividis": (
        "35456c3c4a6c434e6c49536c4f576c555c6d5b606e61656f6669706c6d727272747777767d7c788280798885788f8a78"
        "948e779b9476a19975a79d73aea371b5a86fbcae6cc2b369c8b866d0be62d6c35ddec958e5cf52ebd44bf3db42fbe138"
        "fee838"
    ),
    "gray": "606060ffffff",
}


def _colors(steps: str) -> np.ndarray:
    """Return 256 colors between even steps in hexadecimal, interpolated linearly."""
    channels = np.frombuffer(bytes.fromhex(steps), np.uint8).reshape(-1, 3).T
    positions = np.linspace(0, channels.shape[1] - 1, 256)
    return np.stack(
        [np.interp(positions, np.arange(channels.shape[1]), channel) for channel in channels], axis=1
    ).round()


COLOR_MAPS: dict[str, np.ndarray] = {name: _colors(steps) for name, steps in _STEPS.items()}
"""By name, (256, 3) from 0 to 255: the color of strengths from 0 to 1. The first is the default."""

COLORS = COLOR_MAPS["inferno"]


def strength(values: np.ndarray) -> np.ndarray:
    """Return attention (h, w) in any unit as it is painted, from 0 to 1.

    One is the map's peak, or four times its mean where the peak is lower: a map that looks everywhere alike is
    painted evenly pale, not as if it had found something.
    """
    full = full_scale(values)
    return np.clip(values / full, 0, 1) if full > 0 else np.zeros_like(values)


def full_scale(values: np.ndarray) -> float:
    """Return the value that :func:`strength` makes one."""
    return max(float(values.max()), 4 * float(values.mean())) if values.size else 0.0


def colorize(strengths: np.ndarray, opacity: float = OPACITY, colors: np.ndarray = COLORS) -> Image.Image:
    """Return strengths (h, w) from 0 to 1 as an RGBA picture: the weaker, the more transparent; zero is nothing."""
    rgba = np.empty((*strengths.shape, 4), np.uint8)
    rgba[..., :3] = colors[np.rint(strengths * 255).astype(int)]
    rgba[..., 3] = np.rint(strengths * opacity * 255)
    return Image.fromarray(rgba)


def overlay(
    photo: Image.Image, values: np.ndarray, opacity: float = OPACITY, colors: np.ndarray = COLORS
) -> Image.Image:
    """Return the photo under a map (h, w) on its own pixels; it is unchanged where the map is zero."""
    assert values.shape == (photo.height, photo.width)
    return paint(photo, colorize(strength(values), opacity, colors))


def paint(photo: Image.Image, colored: Image.Image) -> Image.Image:
    """Return the photo under an RGBA picture of the same size."""
    painted = photo.copy()
    painted.paste(colored.convert("RGB"), mask=colored.getchannel("A"))
    return painted


def refine(patch_map: np.ndarray, factor: int = 8) -> np.ndarray:
    """Return a map (H_p, W_p) with ``factor`` times as many cells a side, round where bilinear steps show crosses.

    Cubic convolution (Keys 1981): each patch's center keeps its value, and nothing falls below zero. For the
    eye only: what is measured stays on the patches.
    """
    rows, columns = patch_map.shape
    fine = Image.fromarray(np.asarray(patch_map, np.float32))
    return np.maximum(np.asarray(fine.resize((columns * factor, rows * factor), Image.Resampling.BICUBIC)), 0)


def mute(photo: Image.Image) -> Image.Image:
    """Return the photo with little color and light, so that a map stands out on any photo."""
    pixels = np.asarray(photo, np.float32)
    gray = np.asarray(photo.convert("L"), np.float32)[..., None]
    return Image.fromarray(np.rint((0.3 * pixels + 0.7 * gray) * 0.7).astype(np.uint8))


def darken_unseen(picture: Image.Image, geometry: Geometry) -> Image.Image:
    """Return the picture of a photo, darker where the model's input did not reach, as in the report."""
    left, top, right, bottom = (round(edge) for edge in geometry.box)
    mask = Image.new("L", picture.size, round(_UNSEEN * 255))
    mask.paste(0, (left, top, right, bottom))
    return Image.composite(Image.new("RGB", picture.size), picture, mask)


def resize(photo: Image.Image, geometry: Geometry, longest: int) -> tuple[Image.Image, Geometry]:
    """Return the photo with a long side of ``longest`` pixels, and where the model's input lies on it."""
    scale = longest / max(photo.size)
    width, height = (max(1, round(side * scale)) for side in photo.size)
    x_scale, y_scale = width / photo.width, height / photo.height
    left, top, right, bottom = geometry.box
    box = (left * x_scale, top * y_scale, right * x_scale, bottom * y_scale)
    resized = photo.resize((width, height), Image.Resampling.LANCZOS)
    return resized, replace(geometry, photo_size=(width, height), box=box)


def percent(probability: float) -> str:
    """Return a probability as people read it, without a rounded 0% or 100% for what is neither."""
    rounded = f"{probability:.0%}"
    if rounded == "0%" and probability > 0:
        return "<1%"
    return ">99%" if rounded == "100%" and probability < 1 else rounded


def peak(patch_map: np.ndarray, geometry: Geometry) -> tuple[int, int]:
    """Return the photo pixel (x, y) under a map's highest patch, among the patches that show any photo."""
    shown = np.where(geometry.inside(patch_map.shape), patch_map, -1)
    row, column = np.unravel_index(int(shown.argmax()), shown.shape)
    return geometry.point(int(row), int(column), patch_map.shape)


def position_in_words(point: tuple[int, int], size: tuple[int, int]) -> str:
    """Return which ninth of a photo of ``size`` (w, h) holds the pixel ``point`` (x, y), for who can't see a map."""
    across = ("left", "", "right")[min(3 * point[0] // size[0], 2)]
    down = ("upper", "", "lower")[min(3 * point[1] // size[1], 2)]
    if across and down:
        return f"{down} {across}"
    return across or {"upper": "top", "lower": "bottom", "": "center"}[down]
