"""A photo as 64 bits and 8 x 8 colors: what stays when it is resized, compressed again, trimmed a little or mirrored.

The bits are the signs of the photo's lowest frequencies (a discrete cosine transform of 32 x 32 gray pixels, as in
Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"). Mirroring a photo flips the sign of
every odd horizontal frequency, so the bits of the mirrored photo follow from its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from wordgaze.data.draft import Photo

BITS = 64
MAX_BITS = 11
"""Bits in which two fingerprints of one photo may differ."""

MAX_COLOR = 16.0
"""Mean difference of their colors, of 255. Both were chosen with ``python -m scripts.experiments.near_duplicates``."""

_SIDE, _COLORS = 32, 8
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """``bits``: an integer of 64 bits; ``colors``: (8, 8, 3), uint8."""

    bits: int
    colors: np.ndarray


def fingerprint(photo: Photo) -> Fingerprint:
    """Return the fingerprint of a photo, squeezed into a square."""
    small = photo.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float32)
    spectrum = _DCT @ (pixels @ _GRAY) @ _DCT.T
    signs = spectrum[_VERTICAL, _HORIZONTAL] > _NOISE
    each = _SIDE // _COLORS
    colors = pixels.reshape(_COLORS, each, _COLORS, each, 3).mean(axis=(1, 3))
    return Fingerprint(int.from_bytes(np.packbits(signs).tobytes(), "big"), np.rint(colors).astype(np.uint8))


def max_reduction(size: tuple[int, int]) -> float:
    """Return by what factor a photo may be decoded smaller for its fingerprint."""
    return min(size) / (2 * _SIDE)


def _lowest_frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Return the ``BITS`` lowest frequencies (v, u) without the mean, the lowest sums first."""
    pairs = sorted(((v, u) for v in range(12) for u in range(12) if v + u), key=lambda pair: (sum(pair), pair))
    vertical, horizontal = zip(*pairs[:BITS], strict=True)
    return np.array(vertical), np.array(horizontal)


def _dct() -> np.ndarray:
    frequencies, positions = np.arange(12)[:, None], np.arange(_SIDE)[None]
    return np.cos(np.pi / _SIDE * frequencies * (positions + 0.5)).astype(np.float32)


_VERTICAL, _HORIZONTAL = _lowest_frequencies()
_DCT = _dct()
# Of a plain photo all frequencies are zero up to rounding.
_NOISE = 0.5
MIRROR = int.from_bytes(np.packbits(_HORIZONTAL % 2 == 1).tobytes(), "big")
"""The bits that differ between a photo and its mirror image."""
