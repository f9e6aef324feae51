"""Photos to model input, for captioning and for training."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from PIL import Image

from wordgaze.data.geometry import Geometry
from wordgaze.errors import ConfigError

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_CROPS = ("pad", "center", "squash")
_KEYS = {"max_aspect_change": "stretch", "hflip_tta": "mirrored"}
"""Fields by another name in ``preprocessor.json``: those of the first model folders."""
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma


@dataclass(frozen=True)
class Preprocessing:
    """How photos are prepared for a model: ``preprocessor.json``.

    ``size``: (H, W) of the input. ``mean``, ``std``: per RGB channel, of values from 0 to 1. ``crop``: ``pad`` shows
    the whole photo, with the mean color around it; ``center`` fills the input and cuts off what stands out; ``squash``
    gives the whole photo the input's shape. Before that, a photo of another shape than the input's is squeezed along
    its longer side, by a factor of ``max_aspect_change`` at most: 1 keeps its shape. ``crop_pct``, as in timm: the
    share of the sides of what would be shown that is shown, about its center; not with ``pad``. ``hflip_tta``: the
    model looks at the photo a second time, mirrored, and takes the mean of both views' patches
    (:meth:`~wordgaze.model.caption_model.CaptionModel.encode_with_hflip`).
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    crop: str = "pad"
    max_aspect_change: float = 1.0
    hflip_tta: bool = False
    crop_pct: float = 1.0

    def __post_init__(self) -> None:
        for name, length in (("size", 2), ("mean", 3), ("std", 3)):
            try:
                values = tuple(getattr(self, name))
                valid = len(values) == length and all(math.isfinite(value) for value in values)
                valid = valid and (name != "size" or all(value == int(value) >= 1 for value in values))
            except TypeError:
                valid = False
            if not valid:
                kind = "height and width in whole pixels" if name == "size" else "3 numbers"
                raise ConfigError(f"preprocessing: {name} is {getattr(self, name)!r}; give {kind}")
            values = tuple(map(int if name == "size" else float, values))
            object.__setattr__(self, name, values)  # JSON and YAML bring lists
        if min(self.std) <= 0:
            raise ConfigError(f"preprocessing: std is {self.std}; each must be above 0")
        if self.interpolation not in _RESAMPLING:
            raise ConfigError(
                f"preprocessing: interpolation is {self.interpolation!r}; use {', '.join(_RESAMPLING)}"
            )
        if self.crop not in _CROPS:
            raise ConfigError(f"preprocessing: crop is {self.crop!r}; use {', '.join(_CROPS)}")
        if not (isinstance(self.crop_pct, int | float) and 0 < self.crop_pct <= 1):
            raise ConfigError(
                f"preprocessing: crop_pct is {self.crop_pct!r}; give a number above 0 and up to 1"
            )
        if self.crop == "pad" and self.crop_pct != 1:
            raise ConfigError(
                f"preprocessing: crop_pct is {self.crop_pct!r}, but crop is 'pad', which cuts nothing off; use "
                "center or squash, or set crop_pct to 1"
            )
        if not (isinstance(self.max_aspect_change, int | float) and 1 <= self.max_aspect_change < math.inf):
            raise ConfigError(
                f"preprocessing: stretch is {self.max_aspect_change!r}; give a number from 1, which keeps a "
                "photo's shape"
            )
        if not isinstance(self.hflip_tta, bool):
            raise ConfigError(f"preprocessing: mirrored is {self.hflip_tta!r}; use true or false")

    def widening(self, photo_size: tuple[int, int]) -> float:
        """Return the factor for a (w, h) photo's width, its height kept, that brings it nearer to the input's shape."""
        to_fit = (self.size[1] / self.size[0]) / (photo_size[0] / photo_size[1])
        return min(max(to_fit, 1 / self.max_aspect_change), self.max_aspect_change)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``preprocessor.json`` holds."""
        values = {_KEYS.get(name, name): value for name, value in asdict(self).items()}
        if self.crop_pct == 1:  # older versions, which do not know it, can read the rest
            del values["crop_pct"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Return the preprocessing of a ``preprocessor.json``; raise ConfigError for other keys and missing ones."""
        names = {_KEYS.get(field.name, field.name): field.name for field in fields(cls)}
        if unknown := sorted(set(values) - set(names)):
            raise ConfigError(
                f"preprocessing: unknown {', '.join(unknown)}; choose from {', '.join(sorted(names))}"
            )
        if missing := sorted({"size", "mean", "std"} - set(values)):
            raise ConfigError(
                f"preprocessing: {', '.join(missing)} missing; add what the model was trained with"
            )
        return cls(**{names[key]: value for key, value in values.items()})


class PhotoTransform:
    """Makes an RGB photo into ``pixel_values`` (3, H, W) float32, and remembers how: its Geometry."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._resampling = _RESAMPLING[preprocessing.interpolation]

    def __call__(self, photo: Image.Image) -> tuple[torch.Tensor, Geometry]:
        (height, width), (photo_width, photo_height) = self.preprocessing.size, photo.size
        widening, share = self.preprocessing.widening(photo.size), self.preprocessing.crop_pct
        if self.preprocessing.crop != "pad":
            window = (float(photo_width), float(photo_height))
            if self.preprocessing.crop == "center":
                scale = max(width / (photo_width * widening), height / photo_height)
                window = width / scale / widening, height / scale
            box = _window(photo.size, (window[0] * share, window[1] * share), (0.5, 0.5))
            shown = photo.resize((width, height), self._resampling, box=box)
            pixel_values = _normalize(_channels_first(shown), self.preprocessing)
            return torch.from_numpy(pixel_values), Geometry(photo.size, (width, height), box)

        scale = min(width / (photo_width * widening), height / photo_height)
        shown_width = max(1, round(photo_width * widening * scale))
        shown_height = max(1, round(photo_height * scale))
        left, top = (width - shown_width) // 2, (height - shown_height) // 2
        shown = photo.resize((shown_width, shown_height), self._resampling)
        pixel_values = np.zeros((3, height, width), np.float32)
        pixel_values[:, top : top + shown_height, left : left + shown_width] = _normalize(
            _channels_first(shown), self.preprocessing
        )
        # Whole input pixels were filled, so the two scales differ by up to half a pixel in the side's length.
        x_scale, y_scale = photo_width / shown_width, photo_height / shown_height
        box = (-left * x_scale, -top * y_scale, (width - left) * x_scale, (height - top) * y_scale)
        return torch.from_numpy(pixel_values), Geometry(photo.size, (width, height), box)


class TrainTransform:
    """Makes a photo into slightly different ``pixel_values`` (3, H, W) each time.

    With probability ``whole`` as much of the photo is shown as ``crop`` allows, by default as at test time (``pad``:
    all of it, at a random position in the padding; ``center``: the largest window of the input's shape; ``squash``: of
    the photo's own shape), else a window of ``scale`` times that largest window's area. ``ratio``: the range of changes
    of the aspect ratio, for photos that were squeezed square before they came to us, and for those that the model's
    ``max_aspect_change`` will squeeze; above 1, photos that are shown whole are squeezed as at test time. ``flip``: the
    probability of a mirrored photo. ``color``: how far brightness, contrast and saturation may move from 1.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        whole: float = 0.5,
        flip: float = 0.5,
        color: float = 0.2,
        crop: str | None = None,
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ConfigError(f"transform: scale is {scale}; give two shares of the photo between 0 and 1")
        if not 0 < ratio[0] <= ratio[1]:
            raise ConfigError(f"transform: ratio is {ratio}; give two ratios above 0, the smaller first")
        for name, value in (("whole", whole), ("flip", flip), ("color", color)):
            if not 0 <= value <= 1:
                raise ConfigError(f"transform: {name} is {value}; give a number between 0 and 1")
        self.preprocessing = preprocessing
        self.crop = preprocessing.crop if crop is None else crop
        if self.crop not in _CROPS:
            raise ConfigError(f"transform: crop is {crop!r}; use {', '.join(_CROPS)}")
        self.scale, self.ratio, self.whole, self.flip, self.color = scale, ratio, whole, flip, color
        self._resampling = _RESAMPLING[preprocessing.interpolation]

    def __call__(self, photo: Image.Image, rng: np.random.Generator) -> tuple[torch.Tensor, bool]:
        # Always the same number of draws, so that a photo does not depend on the branch of the one before.
        whole, flipped = rng.random() < self.whole, bool(rng.random() < self.flip)
        share = rng.uniform(*self.scale)
        aspect_change = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
        position = tuple(rng.random(2))
        factors = rng.uniform(1 - self.color, 1 + self.color, 3)
        if whole and self.crop == "squash":
            aspect_change = 1.0
        elif whole and self.preprocessing.max_aspect_change > 1:
            aspect_change = self.preprocessing.widening(photo.size)

        height, width = self.preprocessing.size
        if whole and self.crop == "pad":
            root = math.sqrt(aspect_change)
            photo_width, photo_height = photo.width * root, photo.height / root
            scale = min(width / photo_width, height / photo_height)
            shown_size = (max(1, round(photo_width * scale)), max(1, round(photo_height * scale)))
            shown = photo.resize(shown_size, self._resampling)
        else:
            shape = (photo.width / photo.height if self.crop == "squash" else width / height) / aspect_change
            largest = min(photo.width, photo.height * shape) * self.preprocessing.crop_pct
            side = largest if whole else largest * math.sqrt(share)
            box = _window(photo.size, (side, side / shape), position)
            shown = photo.resize((width, height), self._resampling, box=box)

        values = _normalize(_jitter_color(_channels_first(shown), *factors), self.preprocessing)
        if flipped:
            values = values[:, :, ::-1]
        left = int(position[0] * (width - shown.width + 1))
        top = int(position[1] * (height - shown.height + 1))
        pixel_values = np.zeros((3, height, width), np.float32)
        pixel_values[:, top : top + shown.height, left : left + shown.width] = values
        return torch.from_numpy(pixel_values), flipped


def _window(
    size: tuple[int, int], window: tuple[float, float], position: tuple[float, ...]
) -> tuple[float, float, float, float]:
    """Return a box of ``window`` (w, h) in a photo of ``size``, at ``position`` in the room left, two shares of it."""
    width, height = min(window[0], size[0]), min(window[1], size[1])  # min: rounding must not reach outside
    left, top = position[0] * (size[0] - width), position[1] * (size[1] - height)
    return left, top, min(left + width, size[0]), min(top + height, size[1])


def _channels_first(photo: Image.Image) -> np.ndarray:
    """Return the photo's values (3, h, w), float32 from 0 to 255."""
    return np.ascontiguousarray(np.asarray(photo).transpose(2, 0, 1), np.float32)


def _normalize(values: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    std = np.array(preprocessing.std, np.float32)[:, None, None]
    mean = np.array(preprocessing.mean, np.float32)[:, None, None]
    return values * (1 / (255 * std)) - mean / std


def _jitter_color(values: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Apply all three at once: contrast about the photo's mean gray, saturation about each pixel's own."""
    mean_gray = float(_GRAY @ values.mean(axis=(1, 2)))
    mix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * _GRAY)
    offset = (1 - contrast) * brightness * mean_gray
    mixed = mix.astype(np.float32) @ values.reshape(3, -1) + np.float32(offset)
    return np.clip(mixed, 0, 255, out=mixed).reshape(values.shape)


_SIDE = re.compile(r"\b(?<!-)(left|right)(-?(?:most|wards?|hand|handed|side|facing))?\b(?!-)", re.IGNORECASE)
_SIDE_FOLLOWS = re.compile(
    r"(?:'s|s'|\b(?:the|an?|his|her|its|their|my|your|our|to|from|on|top|bottom|upper|lower|front|rear|back|far|"
    r"center|pointing|looking|facing|heading|turn|turns|turning|sharp|then|(?:left|right) (?:and|or|to)))\s+$",
    re.IGNORECASE,
)
_OF_A_SIDE = re.compile(
    r"\s+(?:of|hands?|handed|arms?|foot|feet|legs?|sides?|shoulders?|ears?|eyes?|knees?|wrists?|elbows?|forearms?|"
    r"fists?|paws?|wings?|shoes?|turns?|corners?|lanes?|field|half|page|(?:and|or|to)\s+(?:left|right))\b",
    re.IGNORECASE,
)


def swap_left_right(caption: str) -> str:
    """Return the caption of the mirrored photo: left and right swapped, also in "rightmost" or "left-handed".

    Both words have other meanings ("was left open", "right next to"), so alone they are swapped only where a word
    beside them says that a side is meant: "the left", "his left hand", "left of", "left and right".
    """
    return _SIDE.sub(_other_side, caption)


def _other_side(match: re.Match[str]) -> str:
    side, compound = match.group(1), match.group(2) or ""
    is_side = compound or _SIDE_FOLLOWS.search(match.string[: match.start()])
    if not is_side and not _OF_A_SIDE.match(match.string[match.end() :]):
        return match.group()
    other = "right" if side.lower() == "left" else "left"
    if side.isupper():
        other = other.upper()
    elif side[0].isupper():
        other = other.capitalize()
    return other + compound
