"""Where a model's input lies on its photo: maps over patches find the photo's own pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Where a model's input lies on its photo.

    ``photo_size`` (w, h) and ``input_size`` (W, H) in pixels; ``box`` (left, top, right, bottom): the rectangle in
    photo pixels that the input shows, which reaches outside a padded photo. Patch (i, j) of a grid (H_p, W_p) covers
    its own rectangle of the input. Pixel k of a side reaches from k to k + 1, its center halfway
    (``align_corners=False``).
    """

    photo_size: tuple[int, int]
    input_size: tuple[int, int]
    box: tuple[float, float, float, float]

    def place(self, patch_map: np.ndarray, smooth: bool = True) -> np.ndarray:
        """Return a map (H_p, W_p) over the photo's own pixels: (h, w) float32, 0 where the input showed nothing.

        ``smooth``: bilinear between the patches' centers; otherwise each pixel takes its own patch's value.
        """
        patch_map = np.asarray(patch_map, np.float32)
        (width, height), (left, top, right, bottom) = self.photo_size, self.box
        rows = _weights(height, top, bottom, patch_map.shape[0], smooth)
        columns = _weights(width, left, right, patch_map.shape[1], smooth)
        return rows @ patch_map @ columns.T

    def inside(self, grid: tuple[int, int]) -> np.ndarray:
        """Return which patches of a grid (H_p, W_p) hold any photo: (H_p, W_p) bool."""
        (width, height), (left, top, right, bottom) = self.photo_size, self.box
        return np.outer(_touches(height, top, bottom, grid[0]), _touches(width, left, right, grid[1]))

    def point(self, row: int, column: int, grid: tuple[int, int]) -> tuple[int, int]:
        """Return the photo pixel (x, y) under the center of a patch, the nearest one for patches in the padding."""
        (width, height), (left, top, right, bottom) = self.photo_size, self.box
        x = math.floor(left + (right - left) * (column + 0.5) / grid[1])
        y = math.floor(top + (bottom - top) * (row + 0.5) / grid[0])
        return min(max(x, 0), width - 1), min(max(y, 0), height - 1)


def _weights(pixels: int, start: float, stop: float, cells: int, smooth: bool) -> np.ndarray:
    """Return (pixels, cells): the weight of each cell between ``start`` and ``stop`` at each pixel, along one axis."""
    position = (np.arange(pixels) + 0.5 - start) * (cells / (stop - start))  # in cells; cell j is j to j + 1
    shown = (position >= 0) & (position < cells)
    if smooth:
        centers = np.clip(position, 0.5, cells - 0.5)[:, None] - 0.5
        weights = np.maximum(0, 1 - np.abs(centers - np.arange(cells)))
    else:
        weights = np.floor(position)[:, None] == np.arange(cells)
    return (weights * shown[:, None]).astype(np.float32)


def _touches(pixels: int, start: float, stop: float, cells: int) -> np.ndarray:
    edges = start + (stop - start) / cells * np.arange(cells + 1)
    rounding = 1e-6 * (stop - start) / cells
    return (edges[1:] > rounding) & (edges[:-1] < pixels - rounding)
