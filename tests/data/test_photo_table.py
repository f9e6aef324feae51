"""Many photos in little memory: what comes out is what went in."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from wordgaze.data.packed import ParquetPhoto, TarPhoto
from wordgaze.data.photo_table import PhotoTable
from wordgaze.data.readers.caption_file import NO_FILE, CaptionedPhoto

PHOTOS = [
    CaptionedPhoto(7, Path("/a/b/7.jpg"), ("a dog", "caf\u00e9 \ud83d \U0001f415")),
    CaptionedPhoto("0007", Path("odd\udcff.jpg"), ("one",)),
    CaptionedPhoto(-(10**30), NO_FILE, ()),
    CaptionedPhoto("k", Path("s.tar/k.jpg"), ("x",), TarPhoto("s.tar", 10**12, 5)),
    CaptionedPhoto("0", Path("s.parquet/0"), ("x", ""), ParquetPhoto("s.parquet", "image.bytes", 2, 3)),
]


def test_a_table_holds_what_it_was_given() -> None:
    table = PhotoTable(PHOTOS)
    assert list(table) == PHOTOS and table == PHOTOS and table != PHOTOS[:4] and len(table) == 5
    assert table[-1] == PHOTOS[-1] and table[1:3] == PHOTOS[1:3] and table[::-1][0] == PHOTOS[-1]
    assert table.take([4, 4, 0]) == [PHOTOS[4], PHOTOS[4], PHOTOS[0]] and table.take([4, 0])[1:] == PHOTOS[:1]
    assert (
        PhotoTable.of(table) is table and not PhotoTable() and PhotoTable(table.take([2, 1])) == [PHOTOS[2], PHOTOS[1]]
    )
    with pytest.raises(IndexError):
        table[5]


def test_a_table_goes_to_another_process_whole() -> None:
    assert pickle.loads(pickle.dumps(PhotoTable(PHOTOS).take([3, 0]))) == [PHOTOS[3], PHOTOS[0]]


def test_a_photo_takes_few_bytes_beside_its_text() -> None:
    photos = (
        CaptionedPhoto(f"{i:09d}", Path(f"set/00001.tar/{i:09d}.jpg"), ("a dog",), TarPhoto("set/00001.tar", i, 9))
        for i in range(1000)
    )
    assert PhotoTable(photos).nbytes < 1000 * (9 + 13 + 5 + 40)
