"""A checkpoint's image processor: how its photos become pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordgaze.convert.checkpoint import Checkpoint
from wordgaze.convert.fields import Fields
from wordgaze.data.transform import Preprocessing
from wordgaze.errors import ConfigError, ModelError

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
FILES = (PREPROCESSOR, PROCESSOR)
Three = tuple[float, float, float]

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
_RESAMPLING = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
# What classes do where their file does not say otherwise.
_CLASSES: dict[str, dict[str, Any]] = {
    "Blip": {"resample": 3, "image_mean": _CLIP_MEAN, "image_std": _CLIP_STD, "size": 384},
    "ViT": {"resample": 2, "image_mean": _HALF, "image_std": _HALF, "size": 224},
    "DeiT": {
        **{"resample": 3, "image_mean": _HALF, "image_std": _HALF, "size": 256},
        **{"do_center_crop": True, "crop_size": 224},
    },
}
_KINDS = {f"{name}{kind}": name for name in _CLASSES for kind in ("ImageProcessor", "FeatureExtractor")}


def preprocessing(checkpoint: Checkpoint, kind: str, image_size: tuple[int, int]) -> Preprocessing:
    """Return how photos become pixels of ``image_size`` (H, W); ``kind``: ``Blip``, ``ViT`` or ``DeiT``.

    Raises ModelError for what can't be expressed, and where the checkpoint says nothing of its pixels.
    """
    values, place, file = _read(checkpoint)
    name = values.get("image_processor_type") or values.get("feature_extractor_type")
    fields = Fields(values, place, file)
    if name is not None:
        plain = str(name).removesuffix("Fast").removesuffix("Pil")
        if plain not in _KINDS:
            which = "image_processor_type" if values.get("image_processor_type") else "feature_extractor_type"
            raise fields.refused(which, f"image processors that can be converted are {', '.join(_KINDS)}")
        kind = _KINDS[plain]
    fields = Fields({**_CLASSES[kind], **{k: v for k, v in values.items() if v is not None}}, place, file)
    fields.must_be("do_resize", True, True, "photos of any size must become pixels of one size")
    size, crop_pct = _size(fields)
    if size != image_size:
        raise fields.refused(
            "crop_size" if crop_pct != 1 else "size",
            f"config.json says {image_size} (height, width); take both files from the same checkpoint",
        )
    mean, std = _mean_and_std(fields)
    resample = fields.get("resample", None)
    if resample not in _RESAMPLING:
        known = ", ".join(f"{number} ({name})" for number, name in _RESAMPLING.items())
        raise fields.refused("resample", f"filters that can be expressed here are {known}")
    try:
        return Preprocessing(size, mean, std, _RESAMPLING[resample], crop="squash", crop_pct=crop_pct)
    except ConfigError as error:
        raise ModelError(f"{checkpoint.folder / file}: {error}; use another checkpoint.") from error


def _read(checkpoint: Checkpoint) -> tuple[dict[str, Any], str, str]:
    """Return the settings, and their place in which file."""
    values = checkpoint.json(PREPROCESSOR)
    if values is not None:
        return values, "", PREPROCESSOR
    values = (checkpoint.json(PROCESSOR) or {}).get("image_processor")
    if isinstance(values, dict):
        return values, "image_processor", PROCESSOR
    raise ModelError(
        f"{checkpoint.folder} has no {PREPROCESSOR}, nor an image_processor in {PROCESSOR}, so nothing says how its "
        "photos become pixels; download the model again."
    )


def _size(fields: Fields) -> tuple[tuple[int, int], float]:
    """Return the size of the pixels (H, W), and the share of each side of the photo that they show."""
    size = _height_and_width(fields, "size")
    if not fields.flag("do_center_crop", False):
        return size, 1.0
    crop = _height_and_width(fields, "crop_size")
    # A crop by whole pixels on either side, the same share of both.
    even = all(s - c >= 0 and (s - c) % 2 == 0 for s, c in zip(size, crop, strict=True))
    if not even or crop[0] * size[1] != crop[1] * size[0]:
        raise fields.refused("crop_size", f"this part of a photo of {size} pixels can't be expressed here")
    return crop, crop[0] / size[0]


def _height_and_width(fields: Fields, name: str) -> tuple[int, int]:
    value = fields.get(name, None)
    if not isinstance(value, Mapping):
        return fields.side(name, 0)
    if set(value) != {"height", "width"}:
        raise fields.refused(name, "only photos squashed to a height and width can be expressed here")
    sides = fields.part(name)
    return sides.whole("height", None), sides.whole("width", None)


def _mean_and_std(fields: Fields) -> tuple[Three, Three]:
    """Return what is subtracted from values between 0 and 1, and what they are divided by."""
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if fields.flag("do_normalize", True):
        mean, std = _three(fields, "image_mean"), _three(fields, "image_std")
    # Another factor than 1 / 255 is the same as another mean and std.
    factor = fields.number("rescale_factor", 1 / 255) if fields.flag("do_rescale", True) else 1.0
    if factor == 0:
        raise fields.refused("rescale_factor", "it makes all photos black")
    if abs(factor * 255 - 1) < 1e-9:
        return mean, std
    scale = 1 / (255 * factor)
    return (mean[0] * scale, mean[1] * scale, mean[2] * scale), (
        std[0] * scale,
        std[1] * scale,
        std[2] * scale,
    )


def _three(fields: Fields, name: str) -> Three:
    value = fields.get(name, None)
    values = value if isinstance(value, list | tuple) else [value] * 3
    if len(values) != 3 or any(isinstance(each, bool) or not isinstance(each, int | float) for each in values):
        raise fields.refused(name, "it must be 3 numbers")
    return float(values[0]), float(values[1]), float(values[2])
