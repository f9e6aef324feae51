"""Mutations of good files, by the thousand: each is read or refused in a sentence, soon and in little memory.

Seeded, so that a failure comes again: its test names the seed.
"""

from __future__ import annotations

import io
import json
import random
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.data.odd_photos import PHOTO, encoded, tiff
from tests.data.readers.test_tables import CSV, LISTS, METADATA, TOKENS, TSV
from tests.data.readers.test_webdataset import PAIR, tar
from tests.data.test_captions import boxes, coco, karpathy
from tests.hostile.kind import SUBJECT

from wordgaze.data.captions import read_captions
from wordgaze.data.instances import read_instances
from wordgaze.data.listing import read_list
from wordgaze.data.photos import open_photo
from wordgaze.data.results import read_results
from wordgaze.errors import PhotoError, WordgazeError

pytestmark = pytest.mark.slow

_LONGEST = 10.0
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Return ``data`` with one to six faults, as disks, networks and attackers make them."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        at = draw.randrange(len(out) + 1) if draw.random() < 0.5 else draw.randrange(min(len(out), 200) + 1)
        size = draw.choice((1, 2, 4, 16, 200))
        fault = draw.randrange(8)
        if fault == 0:
            out[at : at + 1] = bytes([draw.randrange(256)])
        elif fault == 1:
            out[at : at + 4] = draw.choice(_NUMBERS).to_bytes(4, draw.choice(("big", "little")))
        elif fault == 2:
            out[at : at + 2] = (draw.choice(_NUMBERS) & 0xFFFF).to_bytes(2, draw.choice(("big", "little")))
        elif fault == 3:
            del out[at : at + size]
        elif fault == 4:
            out[at:at] = draw.randbytes(size)
        elif fault == 5:
            out[at:at] = out[at : at + size] * draw.choice((1, 2, 50))
        elif fault == 6:
            del out[at:]
        else:
            other = draw.choice(others)
            start = draw.randrange(len(other))
            out[at : at + size] = other[start : start + size]
        if not out:
            break
    return bytes(out)


def photos() -> list[bytes]:
    small = PHOTO.resize((40, 30))
    more = {"save_all": True, "append_images": [small.rotate(90), small.rotate(180)]}
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a photo"
    files = [
        encoded(format, small) for format in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
    ]
    files += [encoded(format, small, **more) for format in ("GIF", "PNG", "WEBP", "TIFF", "MPO")]
    files += [encoded(format, small, exif=exif) for format in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF")]
    files += [encoded("JPEG", small, progressive=True), encoded("JPEG", small.convert("CMYK"))]
    files += [encoded("WEBP", small, lossless=True), encoded("PNG", small.quantize(9), transparency=3)]
    files += [encoded("TIFF", small, compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    files += [tiff(SUBJECT[:30, :40].astype("u2"), tile=(16, 16)), tiff(SUBJECT[:30, :40].astype("f4"), planar=True)]
    return files


def fuzz(
    files: list[bytes], read: Callable[[bytes], object], fault: type[Exception], *, most: int, seconds: float
) -> int:
    """Read ``most`` mutations of ``files``, or as many as fit the time, and return how many."""
    began = time.monotonic()
    for seed in range(most):
        if time.monotonic() - began > seconds:
            return seed
        draw = random.Random(seed)
        data = mutated(draw.choice(files), files, draw)
        start = time.monotonic()
        try:
            read(data)
        except fault as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, seed
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        assert time.monotonic() - start < _LONGEST, seed
    return most


def test_mutated_photos_are_read_or_refused() -> None:
    def read(data: bytes) -> None:
        photo: Any = open_photo(data, on_warning=lambda message: None, max_pixels=4_000_000)
        assert photo.mode == "RGB" and min(photo.size) > 0
        smaller = open_photo(data, on_warning=lambda _: None, max_pixels=4_000_000, max_reduction=lambda _: 2)
        assert smaller.size == photo.size

    assert fuzz(photos(), read, PhotoError, most=20_000, seconds=40) > 1000


def texts() -> list[bytes]:
    printed = "dog.jpg\ta dog runs\t0.50\ncat\\tx.jpg\ta cat\n"
    table = 'image_id,caption\n7,a dog\n8,"a cat, black"\n'
    results = [{"image_id": 7, "caption": "a dog"}, {"image_id": 8, "caption": "a cat"}]
    lines = "".join(json.dumps({"file": f"{name}.jpg", "caption": "a"}) + "\n" for name in "abc")
    contents = [json.dumps(value) for value in (coco(), karpathy(), boxes(), results, {"dog.jpg": ["a dog runs"]})]
    files = [text.encode() for text in (*contents, printed, table, lines, METADATA, CSV, TSV, TOKENS, LISTS)]
    return [*files, contents[0].encode("utf-16"), printed.encode("utf-8-sig")]


READERS: dict[str, Callable[[Path], object]] = {
    "captions": lambda path: read_captions(path, check_files=True),
    "references": lambda path: read_captions(path, needs_files=False),
    "instances": read_instances,
    "results": read_results,
    "lists": read_list,
    "sidecars": lambda path: read_captions(path.parent),
}


@pytest.mark.parametrize("name", READERS)
def test_mutated_annotations_are_read_or_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded("JPEG", PHOTO.resize((40, 30))))
    path = tmp_path / ("photo.txt" if name == "sidecars" else "captions.json")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        READERS[name](path)

    assert fuzz(texts(), read, WordgazeError, most=5000, seconds=8) > 500


def read_and_open(path: Path) -> None:
    for photo in read_captions(path):
        try:
            open_photo(photo.source, on_warning=lambda message: None, max_pixels=4_000_000)  # type: ignore[arg-type]
        except PhotoError as error:
            assert "\n" not in str(error)


def tars() -> list[bytes]:
    described = {"1.png": PAIR["0001.png"], "1.json": json.dumps({"caption": "a dog"})}
    return [tar(PAIR), tar(described, format=tarfile.GNU_FORMAT), tar(PAIR | {"n" * 120 + ".txt": "long"})]


def parquets() -> list[bytes]:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": PAIR["0001.png"], "path": f"{number}.png"} for number in range(4)]
    tables = [
        {"image": images, "caption": ["a dog", "a cat", None, "caf\u00e9"], "split": ["train", "test"] * 2},
        {"image": [image["bytes"] for image in images], "captions": [["a", "b"], [], ["c"], ["d"]]},
        {"file_name": ["a.jpg", "b.jpg"], "text": ["a", "b"]},
    ]
    files = []
    for table in tables:
        sink = io.BytesIO()
        pq.write_table(pa.table(table), sink, row_group_size=2)
        files.append(sink.getvalue())
    return files


@pytest.mark.parametrize("files", [tars, parquets])
def test_mutated_archives_are_read_or_refused(files: Callable[[], list[bytes]], tmp_path: Path) -> None:
    path = tmp_path / "photos"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_and_open(path)

    assert fuzz(files(), read, WordgazeError, most=5000, seconds=8) > 500


def test_a_mutation_comes_again() -> None:
    files = texts()
    first, again = (mutated(files[0], files, random.Random(5)) for _ in range(2))
    assert first == again != files[0]
    assert re.search(rb"image", first)
