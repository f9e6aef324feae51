"""From what files and arrays hold to 8-bit RGB: deep values scaled, transparency on white, arrays and tensors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from wordgaze.errors import PhotoError

_PIXELS_AT_ONCE = 2**16

_NEARLY = 10_000
"""A picture shows nothing if at most one in this many of its pixels shows something."""


def to_rgb(image: Image.Image, *, is_ours: bool = False) -> tuple[Image.Image, str]:
    """Return a picture of any mode as RGB, transparency on white, and what made all of it white ("" if it is not).

    A picture that ``is_ours`` need not be copied.
    """
    if is_ours and image.mode == "RGB" and not image.has_transparency_data:
        return image._new(image.im), ""
    if image.mode == "La":  # premultiplied
        image = image.convert("LA")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _to_gray(image)
    elif image.mode == "LAB":
        image = _from_lab(image)
    if not image.has_transparency_data:
        # Adobe's inverted CMYK is no longer inverted here: Pillow turns it round when it reads a JPEG.
        return image.convert("RGB"), ""
    format = image.format
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    is_clear = alpha.getextrema() == (0, 0)
    # Their fourth byte is mostly left empty, and then means nothing.
    if is_clear and format in ("BMP", "DIB"):
        return image.convert("RGB"), ""
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    if is_clear:
        return white, "wholly transparent"
    pixels = white.width * white.height
    if sum(alpha.histogram()[250:]) == pixels or sum(white.convert("L").histogram()[:250]) * _NEARLY > pixels:
        return white, ""
    is_seldom_seen = sum(alpha.histogram()[6:]) * _NEARLY <= pixels
    return white, "almost entirely transparent" if is_seldom_seen else "white where it is not transparent"


def is_uniform(rgb: Image.Image) -> bool:
    """Return whether a picture is of a single color."""
    return len(rgb.getcolors(maxcolors=1) or ()) == 1


def _from_lab(image: Image.Image) -> Image.Image:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, rgb, "LAB", "RGB"))
    assert converted is not None
    return converted


def _to_gray(image: Image.Image) -> Image.Image:
    """Return 8-bit gray for deeper gray; a value that the file calls transparent stays so."""
    values = np.asarray(image)
    gray = Image.fromarray(to_8_bits(values, usual_range(values)))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray.putalpha(Image.fromarray(np.where(values == transparent, np.uint8(0), np.uint8(255))))
    return gray


def usual_range(values: np.ndarray) -> tuple[float, float]:
    """Return black and white where the file leaves them open: the first usual scale that fits, else the extremes.

    Cameras and microscopes put 8, 10 or 12 bits into 16: on the scale of 16 these are black to the eye.
    """
    if values.dtype.kind == "f":
        lowest, highest = np.inf, -np.inf
        for part in _parts(values):
            finite = values[part][np.isfinite(values[part])]
            lowest = min(lowest, float(finite.min(initial=np.inf)))
            highest = max(highest, float(finite.max(initial=-np.inf)))
        if lowest > highest:
            return 0, 1
        for white, limit in ((1, 1.1), (255, 256), (65535, 65536)):  # resampling overshoots a little
            if highest <= limit and lowest >= -0.1 * white and (white == 1 or highest > white / 16):
                return 0, white
        return lowest, highest
    lowest, highest = int(values.min()), int(values.max())
    if values.dtype.itemsize == 1:
        return (0, 255) if values.dtype.kind == "u" else (-128, 127) if lowest < 0 else (0, 127)
    if values.dtype.itemsize == 2:
        full = np.iinfo(values.dtype)
        scales = [255, 1023, 4095, int(full.max)]
        return next(((0, end) for end in scales if lowest >= 0 and highest <= end), (full.min, full.max))
    whole = int(np.iinfo(values.dtype).max)
    scales = [255, 65535] + [whole] * (highest > whole // 2)
    return next(((0, end) for end in scales if lowest >= 0 and highest <= end), (lowest, highest))


def to_8_bits(values: np.ndarray, black_and_white: tuple[float, float]) -> np.ndarray:
    """Return values from black to white as 0 to 255; what is no number is black."""
    black, white = black_and_white
    scale = 255 / (white - black) if white > black else 0
    out = np.empty(values.shape, np.uint8)
    for part in _parts(values):
        some = values[part].astype(np.float64)
        some = np.clip(np.nan_to_num(some, nan=black, posinf=white, neginf=black), black, white)
        out[part] = np.rint((some - black) * scale)
    return out


def _parts(values: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Yield where the parts of a picture (H, W, ...) are, each of few pixels, however wide the picture."""
    columns = min(max(values.shape[1], 1), _PIXELS_AT_ONCE)
    rows = _PIXELS_AT_ONCE // columns
    for top in range(0, values.shape[0], rows):
        for left in range(0, values.shape[1], columns):
            yield slice(top, top + rows), slice(left, left + columns)


def add_alpha(image: Image.Image, opacity: np.ndarray, is_premultiplied: bool) -> Image.Image:
    image = image.convert("RGB")
    image.putalpha(Image.fromarray(opacity))
    if is_premultiplied:
        image = Image.frombytes("RGBa", image.size, image.tobytes()).convert("RGBA")
    return image


# Arrays and tensors


def is_tensor(source: Any) -> bool:
    """Return whether it is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def from_tensor(tensor: Any) -> Image.Image:
    """Return a picture of a tensor (C, H, W), (H, W, C) or (H, W) of any device."""
    try:
        tensor = tensor.detach().cpu()
        array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PhotoError(f"is a tensor that can't be read ({reason}); pass a dense one") from None
    if array.ndim == 4:
        raise PhotoError(f"is a batch of shape {array.shape}; pass its photos one by one: list(batch)")
    return from_array(array, are_channels_first=True, what="a tensor")


def from_array(array: np.ndarray, are_channels_first: bool = False, what: str = "an array") -> Image.Image:
    """Return a picture of an array (H, W), (H, W, C) or, where that is the only reading, (C, H, W).

    ``are_channels_first`` decides where both are possible: where first and last size are 1, 3 or 4.
    """
    shape = tuple(array.shape)
    if array.ndim == 3:
        first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
        is_only_reading = not last and min(shape[1:]) > 4
        if first and (are_channels_first or is_only_reading):
            array = np.moveaxis(array, 0, 2)
        if array.shape[2] == 1:
            array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PhotoError(f"is {what} of shape {shape}; pass (H, W), or (H, W, C) or (C, H, W) with 1, 3 or 4 channels")
    if 0 in shape:
        raise PhotoError(f"has no pixels (shape {shape}); it can't be captioned")
    if array.dtype.kind == "f":
        lowest, highest = float(array.min()), float(array.max())
        if not (lowest >= -0.001 and highest <= 1.001):  # `not`, so that not-a-number is refused too
            raise PhotoError(f"holds floats from {lowest:g} to {highest:g}; scale them to 0..1, or pass uint8")
        array = to_8_bits(array, (0, 1))
    if array.dtype != np.uint8:
        raise PhotoError(f"is {what} of {array.dtype}; pass uint8, or floats from 0 to 1")
    return Image.fromarray(np.ascontiguousarray(array))
