"""Parquet files as Hugging Face's datasets are kept."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.readers.test_webdataset import photo

from wordgaze.data import parquet_file
from wordgaze.data.captions import Source, load_sources, read_captions
from wordgaze.data.packed import ParquetPhoto
from wordgaze.data.photos import open_photo
from wordgaze.errors import DataError, PhotoError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

COLORS = ["red", "blue", "lime", "white", "black"]


def images(**change: Any) -> list[dict[str, Any]]:
    return [{"bytes": photo(color), "path": f"{color}.png"} | change for color in COLORS]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_photos_as_bytes_with_a_caption_or_a_list_of_them(tmp_path: Path) -> None:
    lists = [[color, f"a {color} one"] for color in COLORS]
    path = write(tmp_path / "set.parquet", {"image": images(), "captions": lists}, row_group_size=2)
    captions = read_captions(path, check_files=True)
    assert [(photo.photo_id, list(photo.captions)) for photo in captions] == [
        (f"{color}.png", texts) for color, texts in zip(COLORS, lists, strict=True)
    ]
    assert captions.photos[3].path == path / "white.png" and captions.formats == ("Parquet",)
    assert [photo.packed for photo in captions] == [
        ParquetPhoto(str(path), "image.bytes", index // 2, index % 2) for index in range(5)
    ]
    seen = [np.asarray(open_photo(photo.source))[0, 0].tolist() for photo in captions]  # type: ignore[arg-type]
    assert seen == [[255, 0, 0], [0, 0, 255], [0, 255, 0], [255, 255, 255], [0, 0, 0]]


def test_photos_as_plain_bytes_are_named_by_another_column_or_by_their_row(tmp_path: Path) -> None:
    plain = [photo(color) for color in COLORS]
    path = write(tmp_path / "set.parquet", {"image": plain, "text": COLORS, "image_id": range(70, 75)})
    assert [photo.photo_id for photo in read_captions(path)] == [70, 71, 72, 73, 74]
    path = write(tmp_path / "set.parquet", {"image": plain, "text": COLORS})
    captions = read_captions(path)
    assert [photo.photo_id for photo in captions] == [0, 1, 2, 3, 4]
    assert open_photo(captions.photos[1].source).getpixel((0, 0)) == (0, 0, 255)  # type: ignore[arg-type]


def test_photos_as_names_beside_the_file(tmp_path: Path) -> None:
    names = ["a.jpg", "b.jpg", "a.jpg"]
    path = write(tmp_path / "set.parquet", {"file_name": names, "text": ["a", "b", "again"]})
    captions = read_captions(path)
    assert [(photo.path, photo.captions) for photo in captions] == [
        (tmp_path / "a.jpg", ("a", "again")),
        (tmp_path / "b.jpg", ("b",)),
    ]
    structs = [{"bytes": None, "path": name} for name in names]
    schema = pa.schema([("image", pa.struct([("path", pa.string())])), ("text", pa.string())])
    table = pa.Table.from_pylist([{"image": {"path": one["path"]}, "text": "x"} for one in structs], schema)
    pq.write_table(table, path)
    assert [photo.captions for photo in read_captions(path)] == [("x", "x"), ("x",)]


def test_a_photo_in_several_rows_is_several_photos(tmp_path: Path) -> None:
    """Each row has its own bytes, and nobody knows whether they are the same."""
    path = write(tmp_path / "s.parquet", {"image": images(path="a.png"), "text": COLORS})
    captions = read_captions(path)
    assert [photo.photo_id for photo in captions] == ["a.png", *(f"s.parquet/{row}" for row in range(1, 5))]
    assert len({photo.path for photo in captions}) == 5


def test_a_folder_of_a_datasets_splits(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        change = {"path": f"{name}.png"}
        write(tmp_path / "data" / f"{name}.parquet", {"image": images(**change)[:1], "text": ["x"]})
    with pytest.raises(DataError, match="holds several splits"):
        load_sources([Source(str(tmp_path))])
    captions = load_sources([Source(str(tmp_path), split="train")])
    assert len(captions) == 2 and captions.formats == ("Parquet, of the splits test, train",)


def test_a_column_of_splits(tmp_path: Path) -> None:
    splits = ["train", "test", "train", "val", "train"]
    path = write(tmp_path / "set.parquet", {"image": images(), "caption": COLORS, "split": splits})
    assert read_captions(path).splits == ("test", "train", "val")
    assert [photo.captions[0] for photo in read_captions(path, split="train")] == ["red", "lime", "black"]


def test_what_is_no_parquet_or_has_other_columns_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet", {"pic": images(), "alt": COLORS})
    with pytest.raises(DataError, match=r"no column of photos .*, but pic, alt; name the two with columns"):
        read_captions(path)
    assert len(read_captions(path, columns=("pic", "alt"))) == 5
    path = write(tmp_path / "set.parquet", {"image": [1.5] * 5, "text": COLORS})
    with pytest.raises(DataError, match="column image is of double; give photos as bytes, or their file names"):
        read_captions(path)
    path = write(tmp_path / "set.parquet", {"image": images(), "text": range(5)})
    with pytest.raises(DataError, match="row 0 has text 0; give a text"):
        read_captions(path)
    for content in (b"PAR1" + b"\0" * 99, path.read_bytes()[:-20], b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="Parquet file that can't be read"):
            read_captions(path)


def test_row_groups_too_large_to_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordgaze.data.readers.parquet.LARGEST_GROUP", 100)
    path = write(tmp_path / "set.parquet", {"image": images(), "text": COLORS})
    with pytest.raises(DataError, match=r"row group 0 holds .* GB, too much .*row_group_size=100"):
        read_captions(path)


def test_only_so_many_row_groups_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "set.parquet", {"image": images(), "text": COLORS}, row_group_size=1)
    groups = parquet_file._Groups()
    monkeypatch.setattr(parquet_file, "_GROUPS", groups)
    monkeypatch.setattr(parquet_file, "MEMORY", 2 * len(photo()) + 50)
    for captioned in (*read_captions(path), *read_captions(path)):
        assert isinstance(captioned.packed, ParquetPhoto)
        captioned.packed.read()
    assert 1 <= len(groups._groups) <= 2


def test_a_photo_that_is_null_or_whose_file_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet", {"image": [{"bytes": None, "path": "a"}, *images()[1:]], "text": COLORS})
    captions = read_captions(path)
    with pytest.raises(PhotoError, match="is empty"):
        open_photo(captions.photos[0].source)  # type: ignore[arg-type]
    path = write(tmp_path / "other.parquet", {"image": images(), "text": COLORS})
    captions = read_captions(path)
    path.unlink()
    with pytest.raises(PhotoError, match=r"can't be read: .*other\.parquet"):
        open_photo(captions.photos[0].source)  # type: ignore[arg-type]


def test_without_pyarrow_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "set.parquet", {"image": images(), "text": COLORS})
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'wordgaze\[parquet\]'"):
        read_captions(path)
