"""Which photos of many are nearly the same, without comparing each with each.

Multi-index hashing (Norouzi et al. 2012): the 64 bits are four bands of 16. If two fingerprints differ in at most 11
bits, one of their bands differs in at most two. So each band is looked up in a table, and each with one or two of its
bits flipped. No pair is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from wordgaze.data.check.fingerprint import BITS, MAX_BITS, MAX_COLOR, MIRROR, Fingerprint

_BANDS, _BAND = 4, 16
_AT_ONCE = 1 << 20
NONE = -1


@dataclass(frozen=True)
class NearDuplicates:
    """For each photo the first earlier one that is nearly the same: of its own split, and the first of another one.

    Indices (n,), ``NONE`` where there is none. ``across`` may also be a later photo.
    """

    within: np.ndarray
    across: np.ndarray


class FingerprintTable:
    """The fingerprints of many photos, 200 bytes each, with a whole number that says what split each is of."""

    def __init__(self, photos: int) -> None:
        self.bits = np.zeros(photos, np.uint64)
        self.colors = np.zeros((photos, 8, 8, 3), np.uint8)
        self.splits = np.zeros(photos, np.int32)
        self.known = np.zeros(photos, bool)

    def set(self, index: int, fingerprint: Fingerprint, split: int = 0) -> None:
        self.bits[index], self.colors[index], self.splits[index] = fingerprint.bits, fingerprint.colors, split
        self.known[index] = True

    def difference(self, first: int, second: int) -> tuple[int, bool]:
        """Return in how many bits two photos differ, and whether they are closer as mirror images."""
        plain = (int(self.bits[first]) ^ int(self.bits[second])).bit_count()
        mirrored = (int(self.bits[first]) ^ MIRROR ^ int(self.bits[second])).bit_count()
        return min(plain, mirrored), mirrored < plain

    def colors_differ(self, first: np.ndarray, second: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
        """Return the mean difference of the colors of photos (m,) and photos (m,)."""
        colors = self.colors[first, :, ::-1] if mirrored else self.colors[first]
        return np.abs(colors.astype(np.int16) - self.colors[second]).mean(axis=(1, 2, 3))


def near_duplicates(table: FingerprintTable, max_bits: int = MAX_BITS, max_color: float = MAX_COLOR) -> NearDuplicates:
    """Return what is nearly the same in ``table``."""
    leaders, leader_of = _leaders(table, max_color)
    photos = len(table.bits)
    within, across = (np.full(photos, photos, np.int64) for _ in range(2))
    for first, second, mirrored in candidate_pairs(table, leaders, max_bits):
        near = table.colors_differ(first, second, mirrored=mirrored) <= max_color
        first, second = first[near], second[near]
        same = table.splits[first] == table.splits[second]
        np.minimum.at(within, np.maximum(first, second)[same], np.minimum(first, second)[same])
        np.minimum.at(across, first[~same], second[~same])
        np.minimum.at(across, second[~same], first[~same])
    followers = np.flatnonzero(table.known & (leader_of != np.arange(photos)))
    within[followers] = leader_of[followers]
    across[followers] = across[leader_of[followers]]
    return NearDuplicates(*(np.where(partner == photos, NONE, partner) for partner in (within, across)))


def _leaders(table: FingerprintTable, max_color: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the photos to compare, and for each photo the one that stands for it.

    Of photos of one split with the same bits and near colors the first stands for all: a thousand copies of a photo are
    half a million pairs.
    """
    leader_of = np.arange(len(table.bits))
    known = np.flatnonzero(table.known)
    order = known[np.lexsort((known, table.bits[known], table.splits[known]))]
    key, before = (0, 0), list[int]()
    for index in order.tolist():
        of_index = int(table.bits[index]), int(table.splits[index])
        if of_index != key:
            key, before = of_index, []
        if before:
            close = np.flatnonzero(table.colors_differ(np.array(before), np.full(len(before), index)) <= max_color)
            if len(close):
                leader_of[index] = before[close[0]]
                continue
        before.append(index)
    return np.flatnonzero(table.known & (leader_of == np.arange(len(leader_of)))), leader_of


def candidate_pairs(
    table: FingerprintTable, photos: np.ndarray, max_bits: int
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Yield pairs (m,), (m,) of ``photos`` whose bits are near, and whether as mirror images; some more than once."""
    bits = table.bits[photos]
    for mirrored in (False, True):
        for first, second in _candidates(bits ^ np.uint64(MIRROR) if mirrored else bits, bits, max_bits):
            yield photos[first], photos[second], mirrored


def _candidates(queries: np.ndarray, bits: np.ndarray, max_bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs i < j where ``queries[i]`` and ``bits[j]`` differ in at most ``max_bits``."""
    masks = _masks(max_bits // _BANDS)
    for band in range(_BANDS):
        keys, query_keys = _band(bits, band), _band(queries, band)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange((1 << _BAND) + 1))
        for mask in masks:
            bucket = query_keys ^ mask
            for first, place in _spread(starts[bucket], starts[bucket + 1]):
                second = order[place]
                near = (first < second) & (np.bitwise_count(queries[first] ^ bits[second]) <= max_bits)
                if near.any():
                    yield first[near], second[near]


def _spread(starts: np.ndarray, stops: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each index i the pairs (i, place) with ``starts[i] <= place < stops[i]``, about a million at a time."""
    counts = stops - starts
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        done = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, done + _AT_ONCE, side="right")), begin + 1)
        some = counts[begin:end]
        index = np.repeat(np.arange(begin, end), some)
        offset = np.arange(len(index)) - np.repeat(np.cumsum(some) - some, some)
        yield index, starts[index] + offset
        begin = end


def _band(bits: np.ndarray, band: int) -> np.ndarray:
    """Return every fourth bit, so that each band has high and low frequencies alike (n,)."""
    key = np.zeros(len(bits), np.int64)
    for position, bit in enumerate(range(band, BITS, _BANDS)):
        key |= ((bits >> np.uint64(bit)) & np.uint64(1)).astype(np.int64) << position
    return key


def _masks(flips: int) -> list[int]:
    return [
        sum(1 << bit for bit in chosen) for count in range(flips + 1) for chosen in combinations(range(_BAND), count)
    ]
