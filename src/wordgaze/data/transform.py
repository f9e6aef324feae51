"""Turn photos into model input. Imports no torch unless a tensor is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wordgaze.data.draft import Photo
from wordgaze.data.geometry import Geometry
from wordgaze.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
CROPS = ("pad", "center", "squash")
_KEYS = {"max_aspect_change": "stretch", "hflip_tta": "mirrored"}
"""Fields by another name in ``preprocessor.json``: those of the first model folders."""
_DRAFT_MARGIN = 2
"""Measured by scripts/experiments/draft_captions.py."""


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
        if self.interpolation not in RESAMPLING:
            raise ConfigError(f"preprocessing: interpolation is {self.interpolation!r}; use {', '.join(RESAMPLING)}")
        if self.crop not in CROPS:
            raise ConfigError(f"preprocessing: crop is {self.crop!r}; use {', '.join(CROPS)}")
        if not (isinstance(self.crop_pct, int | float) and 0 < self.crop_pct <= 1):
            raise ConfigError(f"preprocessing: crop_pct is {self.crop_pct!r}; give a number above 0 and up to 1")
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

    def max_reduction(self, photo_size: tuple[int, int]) -> float:
        """Return by what factor a (w, h) photo may be decoded smaller, to be resized as if it had not been.

        What is resized keeps ``_DRAFT_MARGIN`` times the pixels per side of what it is resized to.
        """
        (height, width), widening = self.size, self.widening(photo_size)
        x, y = photo_size[0] * widening / width, photo_size[1] / height
        if self.crop != "squash":
            x = y = max(x, y) if self.crop == "pad" else min(x, y)
        return self.crop_pct * min(x / widening, y) / _DRAFT_MARGIN

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
            raise ConfigError(f"preprocessing: unknown {', '.join(unknown)}; choose from {', '.join(sorted(names))}")
        if missing := sorted({"size", "mean", "std"} - set(values)):
            raise ConfigError(f"preprocessing: {', '.join(missing)} missing; add what the model was trained with")
        return cls(**{names[key]: value for key, value in values.items()})


def crop_box(
    size: tuple[int, int], window: tuple[float, float], position: tuple[float, ...]
) -> tuple[float, float, float, float]:
    """Return a box of ``window`` (w, h) in a photo of ``size``, at ``position`` in the room left, two shares of it."""
    width, height = min(window[0], size[0]), min(window[1], size[1])  # min: rounding must not reach outside
    left, top = position[0] * (size[0] - width), position[1] * (size[1] - height)
    return left, top, min(left + width, size[0]), min(top + height, size[1])


def channels_first(photo: Image.Image) -> np.ndarray:
    """Return the photo's values (3, h, w), float32 from 0 to 255."""
    return np.ascontiguousarray(np.asarray(photo).transpose(2, 0, 1), np.float32)


def normalize(values: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Return values (3, h, w) from 0 to 255 less the mean, in standard deviations, as the model takes them."""
    std = np.array(preprocessing.std, np.float32)[:, None, None]
    mean = np.array(preprocessing.mean, np.float32)[:, None, None]
    return values * (1 / (255 * std)) - mean / std


class PhotoTransform:
    """Turns an RGB photo into ``pixel_values`` (3, H, W) float32, and remembers how: its Geometry."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._resampling = RESAMPLING[preprocessing.interpolation]

    def __call__(self, photo: Photo) -> tuple[Tensor, Geometry]:
        """Return a tensor, and the geometry."""
        import torch

        pixel_values, geometry = self.array(photo)
        return torch.from_numpy(pixel_values), geometry

    def array(self, photo: Photo) -> tuple[np.ndarray, Geometry]:
        """Return the same as an array."""
        (height, width), (photo_width, photo_height) = self.preprocessing.size, photo.size
        widening, share = self.preprocessing.widening(photo.size), self.preprocessing.crop_pct
        if self.preprocessing.crop != "pad":
            window = (float(photo_width), float(photo_height))
            if self.preprocessing.crop == "center":
                scale = max(width / (photo_width * widening), height / photo_height)
                window = width / scale / widening, height / scale
            box = crop_box(photo.size, (window[0] * share, window[1] * share), (0.5, 0.5))
            shown = photo.resize((width, height), self._resampling, box=box)
            pixel_values = normalize(channels_first(shown), self.preprocessing)
            return pixel_values, Geometry(photo.size, (width, height), box)

        scale = min(width / (photo_width * widening), height / photo_height)
        shown_width = max(1, round(photo_width * widening * scale))
        shown_height = max(1, round(photo_height * scale))
        left, top = (width - shown_width) // 2, (height - shown_height) // 2
        shown = photo.resize((shown_width, shown_height), self._resampling)
        pixel_values = np.zeros((3, height, width), np.float32)
        pixel_values[:, top : top + shown_height, left : left + shown_width] = normalize(
            channels_first(shown), self.preprocessing
        )
        # Whole input pixels were filled, so the two scales differ by up to half a pixel in the side's length.
        x_scale, y_scale = photo_width / shown_width, photo_height / shown_height
        box = (-left * x_scale, -top * y_scale, (width - left) * x_scale, (height - top) * y_scale)
        return pixel_values, Geometry(photo.size, (width, height), box)
