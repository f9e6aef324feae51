"""Turn training photos into model input, slightly different each time."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image

from wordgaze.data.transform import CROPS, RESAMPLING, Preprocessing, channels_first, crop_box, normalize
from wordgaze.errors import ConfigError

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma


def _jitter_color(values: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Apply all three at once: contrast about the photo's mean gray, saturation about each pixel's own."""
    mean_gray = float(_GRAY @ values.mean(axis=(1, 2)))
    mix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * _GRAY)
    offset = (1 - contrast) * brightness * mean_gray
    mixed = mix.astype(np.float32) @ values.reshape(3, -1) + np.float32(offset)
    return np.clip(mixed, 0, 255, out=mixed).reshape(values.shape)


class TrainTransform:
    """Turns a photo into slightly different ``pixel_values`` (3, H, W) each time.

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
            raise ConfigError(f"transform: scale is {scale}; give two shares of the photo between 0 and 1.")
        if not 0 < ratio[0] <= ratio[1]:
            raise ConfigError(f"transform: ratio is {ratio}; give two ratios above 0, the smaller first.")
        for name, value in (("whole", whole), ("flip", flip), ("color", color)):
            if not 0 <= value <= 1:
                raise ConfigError(f"transform: {name} is {value}; give a number between 0 and 1.")
        self.preprocessing = preprocessing
        self.crop = preprocessing.crop if crop is None else crop
        if self.crop not in CROPS:
            raise ConfigError(f"transform: crop is {crop!r}; use {', '.join(CROPS)}.")
        self.scale, self.ratio, self.whole, self.flip, self.color = scale, ratio, whole, flip, color
        self._resampling = RESAMPLING[preprocessing.interpolation]

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
            box = crop_box(photo.size, (side, side / shape), position)
            shown = photo.resize((width, height), self._resampling, box=box)

        values = normalize(_jitter_color(channels_first(shown), *factors), self.preprocessing)
        if flipped:
            values = values[:, :, ::-1]
        left = int(position[0] * (width - shown.width + 1))
        top = int(position[1] * (height - shown.height + 1))
        pixel_values = np.zeros((3, height, width), np.float32)
        pixel_values[:, top : top + shown.height, left : left + shown.width] = values
        return torch.from_numpy(pixel_values), flipped
