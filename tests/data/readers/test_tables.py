"""Captions in tables of all kinds: what is read, and what is refused with its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wordgaze.data.captions import Source, load_sources, read_captions
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import ConfigError, DataError

DOG, CAT = ("a dog runs", "one dog"), ("a cat, black",)


def lines(*rows: dict[str, Any], end: str = "\n") -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)


METADATA = lines(
    {"file_name": "dog.jpg", "text": DOG[0]}, {"file_name": "cat.jpg", "text": CAT[0]},
    {"file_name": "dog.jpg", "text": DOG[1]},
)  # fmt: skip
CSV = f'image,caption\ndog.jpg,{DOG[0]}\ncat.jpg,"{CAT[0]}"\ndog.jpg,{DOG[1]}\n'
TSV = f"dog.jpg\t{DOG[0]}\ncat.jpg\t{CAT[0]}\ndog.jpg\t{DOG[1]}\n"
TOKENS = f"dog.jpg#0\t{DOG[0]}\ncat.jpg#0\t{CAT[0]}\ndog.jpg#1\t{DOG[1]}\n"
LISTS = lines({"image": "dog.jpg", "captions": list(DOG)}, {"image": "cat.jpg", "captions": list(CAT)})

READ: dict[str, tuple[str, str | bytes, str]] = {
    "metadata.jsonl": ("metadata.jsonl", METADATA, "JSON Lines"),
    "metadata.jsonl of Windows": ("metadata.jsonl", METADATA.replace("\n", "\r\n"), "JSON Lines"),
    "metadata.jsonl with blank lines": ("metadata.jsonl", "\n" + METADATA.replace("\n", "\n\n"), "JSON Lines"),
    "metadata.jsonl with a mark": ("metadata.jsonl", METADATA.encode("utf-8-sig"), "JSON Lines"),
    "metadata.csv": ("metadata.csv", CSV.replace("image,caption", "file_name,text"), "a table"),
    "lists of captions": ("captions.jsonl", LISTS, "JSON Lines"),
    "captions.txt of Flickr8k": ("captions.txt", CSV, "a table"),
    "CSV of Excel": ("captions.csv", "sep=;\r\n" + CSV.replace(",", ";").replace("; black", ", black"), "a table"),
    "CSV in UTF-16": ("captions.csv", CSV.encode("utf-16"), "a table"),
    "CSV of Windows": ("captions.csv", CSV.replace("\n", "\r\n"), "a table"),
    "CSV of an old Mac": ("captions.csv", CSV.replace("\n", "\r"), "a table"),
    "CSV with an index": (
        "captions.csv",
        CSV.replace("\n", "\n0,").removesuffix("0,").replace("im", ",im", 1),
        "a table",
    ),
    "names in capitals": ("captions.csv", CSV.replace("image,caption", '"Image", Caption'), "a table"),
    "TSV": ("captions.tsv", "path\tcaption\n" + TSV, "a table"),
    "Flickr30k's results.csv": (
        "results.csv",
        "image_name| comment_number| comment\n" + TSV.replace("\t", "| 0| "),
        "a table",
    ),
    "token.txt of Flickr8k": ("Flickr8k.token.txt", TOKENS, "Flickr8k's token.txt"),
    "token.txt of Windows": ("Flickr8k.token.txt", TOKENS.replace("\n", "\r\n"), "Flickr8k's token.txt"),
}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(("name", "content", "format"), READ.values(), ids=READ)
def test_a_table_is_recognized_and_read(name: str, content: str | bytes, format: str, tmp_path: Path) -> None:
    captions = read_captions(write(tmp_path / name, content))
    assert list(captions) == [
        CaptionedPhoto("dog.jpg", tmp_path / "dog.jpg", DOG),
        CaptionedPhoto("cat.jpg", tmp_path / "cat.jpg", CAT),
    ]
    assert captions.formats[0].startswith(format)


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "captions.txt"])
def test_a_folder_with_its_captions_in_a_file(name: str, tmp_path: Path) -> None:
    content = METADATA if name.endswith("jsonl") else CSV
    (tmp_path / "cat.jpg").touch()
    assert len(read_captions(write(tmp_path / name, content).parent)) == 2


def test_a_text_beside_a_photo_called_captions_is_of_that_photo(tmp_path: Path) -> None:
    (tmp_path / "captions.jpg").touch()
    write(tmp_path / "captions.txt", "a page of captions\n")
    assert list(read_captions(tmp_path)) == [
        CaptionedPhoto("captions.jpg", tmp_path / "captions.jpg", ("a page of captions",))
    ]


@pytest.mark.parametrize("folder", ["photos", "images", "Images", "."])
def test_photos_lie_beside_the_table_or_where_known_sets_have_them(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "dog.jpg").touch()
    captions = read_captions(write(tmp_path / "captions.csv", CSV))
    assert captions.photos[0].path == tmp_path / folder / "dog.jpg"


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", CSV.replace("image,caption", "pic,alt"))
    with pytest.raises(DataError, match=r"a table \(CSV\) that begins with 'pic,alt'; .*columns are known or named"):
        read_captions(path)
    assert len(read_captions(path, columns=("pic", "alt"))) == 2
    assert len(load_sources([Source(str(path), columns=["pic", "alt"])])) == 2  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"no column 'alt_text'; it has pic, alt: correct the names"):
        read_captions(path, columns=("pic", "alt_text"))
    with pytest.raises(ConfigError, match="is COCO's JSON, which has no columns to name; leave columns out"):
        read_captions(write(tmp_path / "coco.json", '{"images": [], "annotations": []}'), columns=("pic", "alt"))
    with pytest.raises(ConfigError, match="columns are pic; give two"):
        read_captions(path, columns=("pic",))
    with pytest.raises(ConfigError, match="columns is a single text; give a list"):
        Source(str(path), columns="pic")  # type: ignore[arg-type]


def test_a_column_of_splits(tmp_path: Path) -> None:
    table = "image,caption,split\na.jpg,a,train\nb.jpg,b,test\nc.jpg,c,train\n"
    path = str(write(tmp_path / "captions.csv", table))
    with pytest.raises(DataError, match="holds several splits, among them a test set; name one"):
        load_sources([Source(path)])
    assert [photo.photo_id for photo in load_sources([Source(path, split="train")])] == ["a.jpg", "c.jpg"]
    captions = read_captions(path, split="test")
    assert captions.splits == ("test", "train") and "of the splits test, train" in captions.formats[0]


def test_quotes_in_lines_with_tabs_are_letters_where_they_do_not_match(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'image\tcaption\na.jpg\t"hello" he says\nb.jpg\tsix" wide\n')
    assert [photo.captions for photo in read_captions(path)] == [('"hello" he says',), ('six" wide',)]


REFUSED: dict[str, tuple[str, str | bytes, str]] = {
    "a comma in a caption": ("a.csv", "image,caption\na.jpg,a dog, red\n", "line 2 has 3 fields.*in quotes"),
    "a cell too few": ("a.csv", "image,caption\na.jpg,x\nb.jpg\n", "line 3 has 1 field, .*write what is missing"),
    "an open quote": ("a.csv", 'image,caption\na.jpg,x\nb.jpg,"a dog\nc.jpg,y\n', "quotes don't match in .* line 3"),
    "no name": ("a.csv", "image,caption\n,a dog\n", "line 2 has image ''; give the photo's file name"),
    "a NUL in a name": ("a.csv", "image,caption\na\0.jpg,a dog\n", "line 2 has a NUL in image"),
    "a NUL in a caption": ("a.csv", "image,caption\na.jpg,a d\0g\n", "line 2 has a NUL in caption"),
    "mixed encodings": ("a.csv", b"image,caption\na.jpg,\xc3\xa9\nb.jpg,caf\xe9\n", r"\(byte 32\) in line 3; save it"),
    "a line of another kind": ("t.txt", "a.jpg#0\ta dog\na cat\n", "line 2 is 'a cat', not NAME#NUMBER"),
    "broken JSON": ("m.jsonl", METADATA[:60] + "}}\n" + METADATA, "broken JSON in line 2, .*fix it there"),
    "JSON cut short": ("m.jsonl", METADATA[:-9], "broken JSON in line 3, .*it ends in the middle"),
    "a line that is no object": ("m.jsonl", METADATA + "7\n", "line 4 is 7; it must be an object"),
    "a caption that is none": ("m.jsonl", lines({"file_name": "a", "text": {"x": 1}}), "has text {'x': 1}; give"),
    "a name that is none": ("m.jsonl", lines({"file_name": 7, "text": "a"}), "line 1 has file_name 7; give the"),
    "no captions": ("a.csv", "image,caption\na.jpg,\n", "none of its 1 photos has a caption"),
    "no rows": ("a.csv", "image,caption\n", "lists no photos"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), REFUSED.values(), ids=REFUSED)
def test_a_broken_table_is_refused_with_its_line(name: str, content: str | bytes, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=words) as caught:
        read_captions(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < len(str(path)) + 250


def test_null_and_nan_are_no_captions(tmp_path: Path) -> None:
    rows = lines(*({"file_name": "a.jpg", "text": text} for text in (None, float("nan"), "a")))
    assert read_captions(write(tmp_path / "m.jsonl", rows)).photos[0].captions == ("a",)


def test_a_separator_of_unicode_ends_no_line(tmp_path: Path) -> None:
    content = lines({"file_name": "a.jpg", "text": "one\u2028two\x85three"})
    assert read_captions(write(tmp_path / "m.jsonl", content)).photos[0].captions == ("one two three",)


@pytest.mark.parametrize("read", [lambda path: read_captions(path), lambda path: read_captions(path, format="table")])
def test_captions_of_a_model_are_not_taken_for_peoples(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read(write(tmp_path / "out.jsonl", lines({"file": "a.jpg", "caption": "a dog"})))
