"""JPEGs decoded at a fraction of their size, as their format allows, for models whose input is much smaller."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from PIL import Image

MaxReduction: TypeAlias = Callable[[tuple[int, int]], float]
"""From a photo's size (w, h) to the factor by which it may be decoded smaller."""

Box: TypeAlias = tuple[float, float, float, float]

_SCALES = (8, 4, 2)
# By EXIF's orientation: where turning puts the file's right or bottom edge on the left, and where on top.
_EDGE_ON_LEFT, _EDGE_ON_TOP = (2, 3, 6, 7), (3, 4, 7, 8)
_ON_ITS_SIDE = (5, 6, 7, 8)
# JPEG's markers (ITU T.81, table B.1): baseline, extended, progressive; and those among them that begin no frame.
_SCALABLE_FRAMES, _NO_FRAMES = (0xC0, 0xC1, 0xC2), (0xC4, 0xC8, 0xCC)


@dataclass(frozen=True, eq=False)
class DraftPhoto:
    """A photo as a smaller image. ``size`` and the boxes of ``resize`` are those of the photo, as of Pillow's images.

    ``box``: the part of ``image`` that shows the photo; the last row and column may be only partly the photo's.
    """

    image: Image.Image
    size: tuple[int, int]
    box: Box

    def resize(self, size: tuple[int, int], resample: Image.Resampling, box: Box | None = None) -> Image.Image:
        """Return the part ``box`` of the photo, or all of it, at ``size`` (w, h)."""
        left, top, right, bottom = self.box
        if box is not None:
            x_scale, y_scale = (right - left) / self.size[0], (bottom - top) / self.size[1]
            # min: rounding must not reach outside
            right, bottom = min(left + box[2] * x_scale, right), min(top + box[3] * y_scale, bottom)
            left, top = left + box[0] * x_scale, top + box[1] * y_scale
        return self.image.resize(size, resample, box=(left, top, right, bottom))


Photo: TypeAlias = "Image.Image | DraftPhoto"
"""What has a ``size`` and can be resized."""


@dataclass(frozen=True)
class Draft:
    """How a file is decoded smaller: ``size`` (w, h), that of the photo upright; ``scale``: 2, 4 or 8."""

    size: tuple[int, int]
    scale: int
    orientation: int

    def photo(self, image: Image.Image) -> DraftPhoto:
        """Return the photo whose decoded image, upright, is ``image``."""
        width, height = self.size[0] / self.scale, self.size[1] / self.scale
        left = image.width - width if self.orientation in _EDGE_ON_LEFT else 0.0
        top = image.height - height if self.orientation in _EDGE_ON_TOP else 0.0
        box = (left, top, min(left + width, image.width), min(top + height, image.height))  # min: rounding
        return DraftPhoto(image, self.size, box)


def set_draft(image: Image.Image, file: BinaryIO, orientation: int, max_reduction: MaxReduction) -> Draft | None:
    """Have Pillow decode a JPEG, whose header is read, smaller; None where it may not be smaller.

    ``file``: the photo's; its position is kept. ``orientation``: EXIF's; ``max_reduction`` is asked for the upright
    photo.
    """
    width, height = image.size
    upright = (height, width) if orientation in _ON_ITS_SIDE else (width, height)
    most = min(max_reduction(upright), width, height)
    scale = next((scale for scale in _SCALES if scale <= most), None)
    if scale is None or not _can_be_scaled(file):
        return None
    # Pillow takes the largest scale at which the image is no smaller than asked for.
    if image.draft("", (width // scale, height // scale)) is None:
        return None
    return Draft(upright, scale, orientation)


def _can_be_scaled(file: BinaryIO) -> bool:
    """Return whether a JPEG is of the kinds that libjpeg can decode smaller.

    It decodes a lossless JPEG at its full size whatever it is asked for, past the end of Pillow's buffer (12.3).
    """
    position = file.tell()
    try:
        file.seek(2)
        while True:
            marker = file.read(4)
            if len(marker) < 4 or marker[0] != 0xFF:
                return False
            if 0xC0 <= marker[1] <= 0xCF and marker[1] not in _NO_FRAMES:
                return marker[1] in _SCALABLE_FRAMES
            file.seek(int.from_bytes(marker[2:], "big") - 2, io.SEEK_CUR)
    finally:
        file.seek(position)
