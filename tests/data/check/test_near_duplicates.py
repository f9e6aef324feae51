"""Fingerprints, and the search for near duplicates against one that compares each with each."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.faulty_set import draw

from wordgaze.data.check import near_duplicates as module
from wordgaze.data.check.fingerprint import MAX_BITS, MAX_COLOR, MIRROR, fingerprint, max_reduction
from wordgaze.data.check.near_duplicates import NONE, FingerprintTable, near_duplicates
from wordgaze.data.photos import open_photo


def table_of(bits: np.ndarray, colors: np.ndarray | None = None, splits: np.ndarray | None = None) -> FingerprintTable:
    table = FingerprintTable(len(bits))
    table.bits[:], table.known[:] = bits, True
    if colors is not None:
        table.colors[:] = colors
    if splits is not None:
        table.splits[:] = splits
    return table


def by_each_with_each(table: FingerprintTable) -> tuple[list[int], list[int]]:
    """Return within and across, of photos whose colors are all the same."""
    within, across = [], []
    for index, bits in enumerate(table.bits.tolist()):
        near = [
            other
            for other, of_other in enumerate(table.bits.tolist())
            if other != index and min((bits ^ of_other).bit_count(), (bits ^ MIRROR ^ of_other).bit_count()) <= MAX_BITS
        ]
        same = [other for other in near if table.splits[other] == table.splits[index] and other < index]
        across.append(min((other for other in near if table.splits[other] != table.splits[index]), default=NONE))
        within.append(min(same, default=NONE))
    return within, across


@pytest.mark.parametrize("at_once", [1, 100, 1 << 20])
def test_no_pair_is_missed_and_none_invented(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    draws = np.random.default_rng(3)
    bits = draws.integers(0, 2**63, 160, dtype=np.uint64) << np.uint64(1)
    # Copies with 0 to 14 bits flipped, every second one mirrored.
    for copy in range(80, 160):
        flips = draws.choice(64, copy % 15, replace=False)
        mask = sum(1 << int(bit) for bit in flips) ^ (MIRROR if copy % 2 else 0)
        bits[copy] = bits[copy - 80] ^ np.uint64(mask)
    table = table_of(bits, splits=draws.integers(0, 3, 160))
    result = near_duplicates(table)
    within, across = by_each_with_each(table)
    assert result.within.tolist() == within and result.across.tolist() == across
    assert sum(index != NONE for index in (*within, *across)) > 40


def test_a_thousand_copies_in_two_splits_each_have_their_first() -> None:
    table = table_of(np.full(1000, 5, np.uint64), splits=np.arange(1000) % 2)
    result = near_duplicates(table)
    assert result.within[:4].tolist() == [NONE, NONE, 0, 1] and set(result.within[4:]) == {0, 1}
    assert set(result.across[::2]) == {1} and set(result.across[1::2]) == {0}


def test_plain_photos_of_other_colors_are_others() -> None:
    colors = np.repeat(np.arange(0, 250, 50, dtype=np.uint8), 8 * 8 * 3).reshape(5, 8, 8, 3)
    result = near_duplicates(table_of(np.zeros(5, np.uint64), colors))
    assert set(result.within) == {NONE}


def test_photos_without_a_fingerprint_are_like_none() -> None:
    table = FingerprintTable(3)
    table.set(1, fingerprint(Image.new("RGB", (40, 30))))
    result = near_duplicates(table)
    assert set(result.within) == set(result.across) == {NONE}


def saved(image: Image.Image, **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, **options)  # type: ignore[arg-type]
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: image.resize((image.width // 3, image.height // 2)),
        lambda image: saved(image, format="JPEG", quality=30),
        lambda image: image.crop((2, 2, image.width - 2, image.height - 2)),
        lambda image: ImageOps.mirror(image),
    ],
    ids=["resized", "recompressed", "trimmed", "mirrored"],
)
def test_a_changed_copy_is_found_and_another_photo_is_not(tmp_path: Path, changed: object) -> None:
    images = [draw(tmp_path / "photo.png", seed, (200, 150)) for seed in range(6)]
    table = FingerprintTable(7)
    for index, image in enumerate([*images, changed(images[3])]):  # type: ignore[operator]
        table.set(index, fingerprint(image))
    assert near_duplicates(table).within.tolist() == [NONE] * 6 + [3]


def test_a_mirrored_photo_has_the_mirrored_bits(tmp_path: Path) -> None:
    image = draw(tmp_path / "photo.png", 1)
    mirrored = fingerprint(ImageOps.mirror(image))
    assert (fingerprint(image).bits ^ MIRROR ^ mirrored.bits).bit_count() <= 1
    assert np.abs(fingerprint(image).colors[:, ::-1].astype(int) - mirrored.colors).max() <= 1


def test_a_jpeg_decoded_smaller_has_nearly_the_same_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    draw(path, 2, (1600, 1200))
    whole, draft = fingerprint(open_photo(path)), fingerprint(open_photo(path, max_reduction=max_reduction))
    assert open_photo(path, max_reduction=max_reduction).image.width < 300  # type: ignore[union-attr]
    assert (whole.bits ^ draft.bits).bit_count() <= MAX_BITS // 2
    assert np.abs(whole.colors.astype(int) - draft.colors).mean() < 1 < MAX_COLOR
