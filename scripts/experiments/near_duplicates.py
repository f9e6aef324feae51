"""How many changed copies of photos `wordgaze data check` finds, and how many pairs of other photos it takes for one.

    python -m scripts.experiments.near_duplicates [--copies 800] [--photos DIR ...]

Prints for each change the share of copies whose fingerprint lies within 8, 11 and 14 bits of the photo's, and within
the bits and colors that the check uses; then, over all pairs of the photos, how many lie within a number of bits and a
difference of colors. The shared photos hold a few photos of one scene: look at the pairs, which are printed, before you
call them false.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from scripts import SHARED_DATA
from scripts.common.arguments import script_parser
from wordgaze.captioning.pipeline import THREADS
from wordgaze.data.check.fingerprint import MAX_BITS, MAX_COLOR, Fingerprint, fingerprint
from wordgaze.data.check.near_duplicates import FingerprintTable, candidate_pairs
from wordgaze.data.listing import find_photos
from wordgaze.data.photos import open_photo

_BITS, _COLORS = (8, 11, 14), (8, 16, 24, 255)


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--copies", type=int, default=800, help="photos that are changed")
    parser.add_argument("--photos", type=Path, nargs="+", default=[SHARED_DATA / "coco", SHARED_DATA / "flickr"])
    args = parser.parse_args()
    files = [file for folder in args.photos for file in find_photos(folder)]
    drawn = np.random.default_rng(0).permutation(len(files))[: args.copies]
    print(found_table([files[index] for index in drawn]))
    print(pairs_table(files))


def _crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    edges = (left * width, top * height, width - right * width, height - bottom * height)
    return image.crop(tuple(map(round, edges)))  # type: ignore[arg-type]


def _compressed(image: Image.Image, format: str, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format, quality=quality)
    return Image.open(file).convert("RGB")


def _smaller(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((max(image.width // factor, 1), max(image.height // factor, 1)), Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: _smaller(image, 2),
    "a quarter of the size": lambda image: _smaller(image, 4),
    "squeezed to 224 x 224": lambda image: image.resize((224, 224), Image.Resampling.BICUBIC),
    "JPEG, quality 50": lambda image: _compressed(image, "JPEG", 50),
    "JPEG, quality 20": lambda image: _compressed(image, "JPEG", 20),
    "WebP, quality 30": lambda image: _compressed(image, "WEBP", 30),
    "mirrored": ImageOps.mirror,
    "trimmed by 2 %": lambda image: _crop(image, 0.01, 0.01, 0.01, 0.01),
    "trimmed by 5 %": lambda image: _crop(image, 0.025, 0.025, 0.025, 0.025),
    "trimmed by 10 %": lambda image: _crop(image, 0.05, 0.05, 0.05, 0.05),
    "5 % of left and top cut off": lambda image: _crop(image, 0.05, 0.05, 0, 0),
    "10 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "half, trimmed by 5 %, JPEG 50": lambda image: _compressed(
        _crop(_smaller(image, 2), 0.025, 0.025, 0.025, 0.025), "JPEG", 50
    ),
}


def found_table(files: Sequence[Path]) -> str:
    """Return for each change the shares of copies that are found."""
    with ThreadPoolExecutor(THREADS) as pool:
        differences = np.array(list(pool.map(_differences, files)))  # (photos, changes, 2)
    limits = " ".join(f"≤ {bits} bits".rjust(10) for bits in _BITS)
    lines = [f"{len(files):,} photos, each changed{'':23}{limits}      found"]
    for index, name in enumerate(CHANGES):
        bits, color = differences[:, index].T
        shares = [np.mean(bits <= limit) for limit in _BITS]
        shares.append(np.mean((bits <= MAX_BITS) & (color <= MAX_COLOR)))
        lines.append(f"{name:<40}{' '.join(f'{share:>10.1%}' for share in shares)}")
    return "\n".join(lines)


def _differences(file: Path) -> list[tuple[int, float]]:
    """Return in how many bits and by what color each changed copy differs from the photo."""
    photo = _open(file)
    table = FingerprintTable(2)
    table.set(0, fingerprint(photo))
    result = []
    for change in CHANGES.values():
        table.set(1, fingerprint(change(photo)))
        bits, mirrored = table.difference(0, 1)
        [color] = table.colors_differ(np.array([0]), np.array([1]), mirrored=mirrored)
        result.append((bits, float(color)))
    return result


def pairs_table(files: Sequence[Path]) -> str:
    """Return how many of all pairs lie near each other, and the pairs that the check would report."""
    table = FingerprintTable(len(files))
    with ThreadPoolExecutor(THREADS) as pool:
        for index, item in enumerate(pool.map(lambda file: fingerprint(_open(file)), files)):
            assert isinstance(item, Fingerprint)
            table.set(index, item)
    pairs = np.array(sorted(set(_pairs(table))))
    lines = [f"\n{len(files):,} photos, {len(files) * (len(files) - 1) // 2:,} pairs; near each other are"]
    lines.append(" " * 12 + "".join(f"color ≤ {color}".rjust(14) for color in _COLORS))
    for limit in sorted({4, 6, 8, 10, MAX_BITS}):
        counts = (int(((pairs[:, 2] <= limit) & (pairs[:, 3] <= color)).sum()) for color in _COLORS)
        lines.append(f"≤ {limit:>2} bits   " + "".join(f"{count:>14,}" for count in counts))
    near = pairs[pairs[:, 3] <= MAX_COLOR]
    lines += [f"{files[int(first)]} {files[int(second)]}" for first, second, _, _ in near]
    return "\n".join(lines)


def _pairs(table: FingerprintTable) -> Iterator[tuple[int, int, int, float]]:
    for first, second, mirrored in candidate_pairs(table, np.arange(len(table.bits)), MAX_BITS):
        colors = table.colors_differ(first, second, mirrored=mirrored)
        for one, other, color in zip(first.tolist(), second.tolist(), colors.tolist(), strict=True):
            yield one, other, table.difference(one, other)[0], color


def _open(file: Path) -> Image.Image:
    return open_photo(file, on_warning=lambda _: None)


if __name__ == "__main__":
    main()
