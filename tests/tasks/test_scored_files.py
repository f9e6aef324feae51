"""Captions and references as people keep them: each file's scores, its warning, or the sentence that refuses it."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import DataError
from wordgaze.tasks.evaluate import (
    CaptionEvaluator,
    Evaluation,
    evaluate_results,
    reference_photos,
    save_per_photo,
)
from wordgaze.tasks.results import results_of

CAPTIONS = {
    139: ["a kitchen with a red stove", "a stove in a small kitchen"],
    285: ["a brown bear sits in the grass", "a bear on a meadow"],
    632: ["a bed below a bright window", "books stand on a shelf by a bed"],
}
FOUND = {139: "a stove in a kitchen", 285: "a bear sits in the grass", 632: "a bed and a shelf"}
FILES = {number: f"COCO_val2017_{number:012d}.jpg" for number in CAPTIONS}


def references(**changes: Any) -> dict[str, Any]:
    images = [{"id": number, "file_name": FILES[number]} for number in CAPTIONS]
    annotations = [
        {"id": 10 * number + place, "image_id": number, "caption": text}
        for number, texts in CAPTIONS.items()
        for place, text in enumerate(texts)
    ]
    return {"images": images, "annotations": annotations, **changes}


def results(key: str = "image_id", of: Callable[[int], Any] = int, text: str = "caption") -> list[dict[str, Any]]:
    return [{key: of(number), text: caption} for number, caption in FOUND.items()]  # fmt: skip


def lines(rows: list[dict[str, Any]], end: str = "\n") -> str:
    return "".join(json.dumps(row) + end for row in rows)


def table(delimiter: str = ",", header: tuple[str, str] | None = ("image_id", "caption"), end: str = "\n") -> str:
    rows = [*([header] if header else []), *((str(number), text) for number, text in FOUND.items())]
    return "".join(delimiter.join(row) + end for row in rows)  # fmt: skip


def padded(number: int) -> str:
    return f"{number:012d}"


def file(number: int) -> str:
    return FILES[number]


def stem(number: int) -> str:
    return Path(FILES[number]).stem


def printed(confidence: str = "") -> str:
    return "".join(f"photos/{FILES[number]}\t{text}{confidence}\n" for number, text in FOUND.items())


def archive(name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr(name, "x")
    return data.getvalue()


def write(path: Path, content: Any) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    return write(tmp_path / "references.json", references())


def scored(found: Path, captions: Path, **options: Any) -> Evaluation:
    return evaluate_results(found, CaptionEvaluator(reference_photos(captions), **options))


# --- Results ---------------------------------------------------------------------------------------------------

# Files that hold the same captions as the plain list.
SAME: dict[str, Any] = {
    "ids as text": results(of=str),
    "ids with zeros before them": results(of=padded),
    "ids as pandas writes them": results(of=float),
    "ids as pandas writes them, as text": results(of=lambda number: f"{number}.0"),
    "ids with spaces": results(of=lambda number: f" {number} "),
    "file names": results(of=file),
    "file names under another key": results("file_name", file),
    "stems": results(of=stem),
    "paths": results("image", lambda number: f"/home/me/photos/val/{FILES[number]}"),
    "paths of Windows": results("image_path", lambda number: f"C:\\photos\\{FILES[number]}"),
    "addresses": results("coco_url", lambda number: f"http://images.example/val/{FILES[number]}?size=1"),
    "another suffix": results("file", lambda number: f"{stem(number)}.png"),
    "the key id": results("id"),
    "capitals in keys": results("Image ID", text="Caption"),
    "captions in lists": [{**row, "caption": [row["caption"]]} for row in results()],
    "nested captions": [{**row, "caption": {"text": row["caption"]}} for row in results()],
    "generated_text": results("image", file, "generated_text"),
    "pred": results(text="pred"),
    "prediction": results(text="prediction"),
    "ids to captions": {str(number): text for number, text in FOUND.items()},
    "ids to lists": {str(number): [text] for number, text in FOUND.items()},
    "names to pipeline outputs": {FILES[n]: [{"generated_text": text}] for n, text in FOUND.items()},
    "ids to objects": {str(number): {"caption": text} for number, text in FOUND.items()},
    "a list under annotations": {"annotations": results(), "info": {}},
    "a list under results": {"model": "mine", "results": results()},
    "columns": {"image_id": list(FOUND), "caption": list(FOUND.values())},
    "columns of pandas": {
        "image_id": dict(enumerate(FOUND)),
        "caption": dict(enumerate(FOUND.values())),
    },
    "JSON Lines": lines(results()),
    "JSON Lines of Windows": lines(results(), "\r\n"),
    "JSON Lines with blank ones": "\n" + lines(results(), "\n\n"),
    "lists one after another": json.dumps(results()[:2]) + "\n" + json.dumps(results()[2:]),
    "objects after another": json.dumps(results()[0], indent=2) + lines(results()[1:]),
    "what caption --json prints": lines(
        [
            {"file": f"p/{FILES[number]}", "caption": text, "log_probability": -3.5, "words": [], "alternatives": []}
            for number, text in FOUND.items()
        ]
    ),
    "what caption prints": printed(),
    "what caption --confidence prints": printed("\t0.53"),
    "an image folder's metadata": lines(results("file_name", file, "text")),
    "CSV": table(),
    "CSV of Windows": table(end="\r\n"),
    "CSV of Excel": "\ufeff" + table(";", ("Image", "Caption"), "\r\n"),
    "CSV with an index": ",image_id,caption\n" + "".join(f"0,{number},{text}\n" for number, text in FOUND.items()),
    "TSV": table("\t"),
    "a table with long names": table("\t", ("Image ID", "Generated Caption")),
    "a table in quotes": "\n" + table(",", ('"Image ID"', '"Caption"')),
    "columns with capitals": {"Image ID": list(FOUND), "Caption": list(FOUND.values())},
    "a table with bars": table("|", ("file", "text")),
    "UTF-8 with a mark": codecs.BOM_UTF8 + json.dumps(results()).encode(),
    "UTF-16": json.dumps(results()).encode("utf-16"),
    "UTF-16, big end first, without a mark": json.dumps(results()).encode("utf-16-be"),
    "UTF-32": json.dumps(results()).encode("utf-32"),
    "CSV in UTF-16": table().encode("utf-16"),
}  # fmt: skip


@pytest.mark.parametrize("content", SAME.values(), ids=SAME)
def test_the_same_captions_are_read(content: Any, captions: Path, tmp_path: Path) -> None:
    photos = {photo.photo_id: photo for photo in reference_photos(captions)}
    assert results_of(write(tmp_path / "other", content), photos) == (FOUND, ())


def test_the_same_captions_score_the_same(captions: Path, tmp_path: Path) -> None:
    plain = scored(write(tmp_path / "plain.json", results()), captions)
    other = scored(write(tmp_path / "other", lines(results("file", file))), captions)
    assert other.to_dict() == plain.to_dict() and other.photos == plain.photos
    assert [text[:18] for text in other.warnings] == ["CIDEr means little"]


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_what_per_image_wrote_are_results(suffix: str, captions: Path, tmp_path: Path) -> None:
    photos = {photo.photo_id: photo for photo in reference_photos(captions)}
    evaluation = scored(write(tmp_path / "plain.json", results()), captions, metrics=["ROUGE_L"])
    save_per_photo(evaluation, tmp_path / f"each.{suffix}")
    assert results_of(tmp_path / f"each.{suffix}", photos) == (FOUND, ())


# Files whose captions are scored, with a word on what is odd about them.
ODD: dict[str, tuple[Any, str]] = {
    "numbers of other names": (
        results(of=lambda number: f"{number:012d}.png"),
        "photos are matched by the numbers that end their names",
    ),
    "some by name, some by id": (
        [*results()[:2], *results(of=file)[2:]],
        "photos are matched by the numbers that end their names",
    ),
    "one twice": ([*results(), results()[0]], "1 more entry has the same photo and caption as another"),
    "one more": ([*results(), {"image_id": 999, "caption": "x"}], "1 caption is of a photo without references"),
    "one more, failed": (lines([*results("file", file), {"file": "x.jpg", "error": "no photo"}]), "1 more photo with"),
    "an empty one": ([*results()[:2], {"image_id": 632, "caption": ""}], "1 of the 3 captions has no words"),
    "an empty cell": (table().replace("a bed and a shelf", ""), "1 of the 3 captions has no words"),
    "nan as text": (table().replace("a bed and a shelf", "nan"), "1 of the 3 captions is what programs write"),
    "marks of a start and an end": (
        [{**row, "caption": f"<start> {row['caption']} <end> <pad>"} for row in results()],
        r"3 of the 3 captions hold marks of a tokenizer \(.*<pad> in 3",
    ),
    "half a character": ([*results()[:2], {"image_id": 632, "caption": "a \ud83d bed"}], "1 of the .* half a char"),
    "another language": (
        [{**row, "caption": "一个 男人 骑 摩托车"} for row in results()],
        "no caption shares a word with its photo's references",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), ODD.values(), ids=ODD)
def test_what_is_odd_is_said_beside_the_scores(content: Any, words: str, captions: Path, tmp_path: Path) -> None:
    evaluation = scored(write(tmp_path / "odd", content), captions)
    [warning] = [text for text in evaluation.warnings if "CIDEr means little" not in text]
    with pytest.raises(DataError, match=words):
        raise DataError(warning)
    assert "\n" not in warning and len(evaluation.photos) == 3


REFUSED: dict[str, tuple[Any, str]] = {
    "one photo fewer": (results()[:2], r"no caption for 1 of the 3 photos .*\(image_id 632\)"),
    "one that failed": (
        lines([*results("file", file)[:2], {"file": FILES[632], "error": "is not a photo"}]),
        r"no caption for 1 .*\(image_id 632\), 1 of which failed when they were captioned",
    ),
    "ids of others": (
        [{"image_id": f"flickr_{name}", "caption": "a dog"} for name in "abcd"],
        r"their ids are 139, 285, 632 \(files 'COCO_val2017_0.*'\), but those of the results are 'flickr_a', .*; "
        "spell them alike",
    ),
    "two captions": ([*results(), {"image_id": 285, "caption": "x"}], r"image_id 285 has two .*entry 3\); keep one"),
    "two captions, spelled otherwise": (
        [*results(), {"image_id": "0285", "caption": "x"}],
        r"image_id 285 has two captions \(again in entry 3\)",
    ),
    "null": ([{"image_id": 139, "caption": None}], r"entry 0 needs an image_id and a caption, a text; it is"),
    "NaN": ('[{"image_id": 139, "caption": NaN}]', "entry 0 needs an image_id and a caption"),
    "a number": ([{"image_id": 139, "caption": 5}], "entry 0 needs an image_id and a caption"),
    "no id": ([{"image_id": None, "caption": "x"}], "entry 0 needs an image_id and a caption"),
    "true": ([{"image_id": True, "caption": "x"}], "entry 0 needs an image_id and a caption"),
    "several captions": ([{"image_id": 139, "caption": ["a", "b"]}], "entry 0 has 2 captions, like references"),
    "ids to several": ({str(n): texts for n, texts in CAPTIONS.items()}, "entry '139' has 2 captions, like references"),
    "a reference and a prediction": (
        [{"image_id": 139, "caption": "a kitchen", "prediction": "a stove"}],
        "entry 0 has 'prediction' and 'caption', which differ; keep the one to score",
    ),
    "a pipeline's output": ([[{"generated_text": text}] for text in FOUND.values()], "captions without photos"),
    "captions alone": (list(FOUND.values()), "captions without photos: entry 0 needs an image_id"),
    "an empty list": ([], "an empty list; give a JSON list of"),
    "a key twice": ('{"139": "a", "139": "b"}', "'139' occurs twice in one object"),
    "cut short": (json.dumps(results())[:-20], r"broken JSON in line 1, .*it ends in the middle"),
    "Lines cut short": (lines(results())[:-20], r"broken JSON in line 3, .*it ends in the middle"),
    "a broken line": (lines(results()[:2]) + "{x}\n", "broken JSON in line 3, column 2 .*fix it there"),
    "Latin-1": ('[{"image_id": 139, "caption": "caf\xe9"}]'.encode("latin-1"), r"not UTF-8 text \(byte 34\); save"),
    "a comma in a caption": ("image_id,caption\n139,a stove, red\n", "line 2 has 3 fields, but the first line names 2"),
    "a cell too few": ("image_id,caption\n139\n", "line 2 has 1 field, .* names 2; write what is missing"),
    "as Python prints it": (str(results()), "this is how Python prints it; write it with json.dump"),
    "nothing": ({}, "an object with nothing in it, not results"),
    "an open quote": ('image_id,caption\n139,"a stove\n285,b\n', "whose quotes don't match"),
    "no names of columns": (table(header=None), "without columns named like image_id and caption; give a JSON list"),
    "captions, one a line": ("\n".join(FOUND.values()), "text that begins with 'a stove .*without columns named"),
    "names alone": ("\n".join(FILES.values()), "a list of file names, not results"),
    "COCO's references": (references(), r"image_id 139 has two captions \(again in annotations\[1\]\)"),
    "Karpathy's": ({"images": [{"sentences": []}]}, "captions in Karpathy's format, not results"),
    "BLIP's": ([{"image": "a.jpg", "caption": ["a", "b"]}], "entry 0 has 2 captions, like references"),
    "Flickr8k's": ("1.jpg#0\ta dog .\n1.jpg#1\tone dog\n", "like Flickr8k's token.txt .*, not results"),
    "Flickr30k's": ("image_name| comment_number| comment\n1.jpg| 0| a dog\n", "Flickr30k's results.csv, not results"),
    "boxes": ({"images": [], "annotations": [{"bbox": []}]}, "boxes in COCO's format, not results"),
    "detected boxes": ([{"image_id": 139, "bbox": [], "score": 1}], "a list of detected boxes, not results"),
    "LLaVA's": ([{"id": "1", "image": "a.jpg", "conversations": []}], r"conversations \(LLaVA's format\), not results"),
    "scores": ({"metrics": {"CIDEr": 1.0}, "images": 3}, "the scores that `wordgaze evaluate --json` wrote"),
    "a config": ({"layers": 3, "width": 256}, "an object with layers, width, not results"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_scored_is_refused(content: Any, words: str, captions: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "results", content)
    photos = {photo.photo_id: photo for photo in reference_photos(captions)}
    with pytest.raises(DataError, match=words) as caught:
        results_of(path, photos)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


NO_TEXT: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty; get the file again"),
    "blank": (b" \r\n", "is empty"),
    "gzip": (gzip.compress(json.dumps(results()).encode()), "packed with gzip; unpack it"),
    "zip": (archive("results.json"), "a zip archive; unpack it"),
    "torch": (archive("archive/data.pkl"), "a PyTorch checkpoint; check that this is the right file"),
    "Excel": (archive("[Content_Types].xml"), "an Office document .*; save it as CSV"),
    "NumPy arrays": (archive("a.npy"), "NumPy arrays; check that this"),
    "safetensors": (struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}}\xff', "a safetensors file"),
    "pickle": (b"\x80\x04\x95abc.", "a Python pickle"),
    "Parquet": (
        b"PAR1\x15\x04",
        "a Parquet file(; save its columns as JSON or CSV| that can't be read .*; get it again)",
    ),
    "photo": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG photo"),
    "page": (b"<!DOCTYPE html>\n<html>404", "an HTML page, perhaps from a failed download"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "UTF-16 cut": ("\ufeff[1]".encode("utf-16-le") + b"\x00", "not UTF-16 text"),
}


@pytest.mark.parametrize("way", ["results", "references", "instances"])
@pytest.mark.parametrize(("data", "words"), NO_TEXT.values(), ids=NO_TEXT)
def test_a_file_of_another_kind_is_named(data: bytes, words: str, way: str, captions: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "file.json", data)
    plain = write(tmp_path / "plain.json", results())
    with pytest.raises(DataError, match=words) as caught:
        if way == "results":
            scored(path, captions)
        elif way == "references":
            scored(plain, path)
        else:
            scored(plain, captions, instances=path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_folder_and_other_results_are_said_alike(captions: Path, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.json", results())
    with pytest.raises(DataError, match="it is a folder"):
        scored(tmp_path, captions)
    with pytest.raises(DataError, match="other has no caption for 1 of the 3"):
        scored(plain, captions, against=write(tmp_path / "other", lines(results()[:2])))
    against = scored(plain, captions, against=write(tmp_path / "other", table())).against
    assert against is not None and all(not one.value for one in against.differences.values())
    marked = [{**row, "caption": "<unk> bear"} for row in results("file", file)]
    other = write(tmp_path / "other", marked)
    assert any("<unk> in 3" in text and "other" in text for text in scored(plain, captions, against=other).warnings)


def test_quotes_in_tables(captions: Path, tmp_path: Path) -> None:
    """In CSV they hold a caption together, in lines with tabs they are letters where they don't match."""
    photos = {photo.photo_id: photo for photo in reference_photos(captions)}
    quoted = 'image_id,caption\n139,"a stove, which is ""red"",\nnew"\n285,b\n632,c\n'
    assert results_of(write(tmp_path / "a", quoted), photos)[0][139] == 'a stove, which is "red",\nnew'
    open_quote = 'image_id\tcaption\n139\t"a stove\n285\ta "bear"\n632\tc\n'
    found, warnings = results_of(write(tmp_path / "b", open_quote), photos)
    assert found == {139: '"a stove', 285: 'a "bear"', 632: "c"} and warnings == ()


def test_names_with_tabs_as_caption_prints_them(tmp_path: Path) -> None:
    path = write(tmp_path / "printed", "a\\tb\\\\n.jpg\ta dog\nc.jpg\ta cat\n")
    photos = {name: CaptionedPhoto(name, Path(name), ("x",)) for name in ("a\tb\\n.jpg", "c.jpg")}
    assert results_of(path, photos)[0] == {"a\tb\\n.jpg": "a dog", "c.jpg": "a cat"}


# --- References ------------------------------------------------------------------------------------------------


def without_names(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "images": [{"id": image["id"], "height": 9} for image in content["images"]]}


def with_more(*annotations: dict[str, Any], images: tuple[int, ...] = ()) -> dict[str, Any]:
    content = references()
    content["annotations"] += [{"id": 9000 + place, **one} for place, one in enumerate(annotations)]
    content["images"] += [{"id": number, "file_name": f"{number}.jpg"} for number in images]
    return content


READ: dict[str, tuple[dict[str, Any], str]] = {
    "as they are": (references(), ""),
    "ids as text": (
        references(annotations=[{**one, "image_id": str(one["image_id"])} for one in references()["annotations"]]),
        "",
    ),
    "ids with zeros": (
        references(annotations=[{**one, "image_id": f"{one['image_id']:012d}"} for one in references()["annotations"]]),
        "",
    ),
    "ids of pandas": (
        references(annotations=[{**one, "image_id": float(one["image_id"])} for one in references()["annotations"]]),
        "",
    ),
    "a photo twice": (references(images=[*references()["images"], references()["images"][0]]), ""),
    "a blank caption": (with_more({"image_id": 139, "caption": " \n"}), "1 empty caption is left out"),
    "two": (with_more(*[{"image_id": 139, "caption": ""}] * 2), "2 empty captions are left out"),
    "null": (with_more({"image_id": 139, "caption": None}), "1 empty caption is left out"),
    "NaN": (with_more({"image_id": 139, "caption": float("nan")}), "1 empty caption is left out"),
    "a photo without any": (with_more(images=(5,)), "1 photo without a caption is left out"),
    "a photo with a blank one": (
        with_more({"image_id": 5, "caption": ""}, images=(5, 6)),
        "1 empty caption and 2 photos without a caption are left out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
@pytest.mark.parametrize(("content", "words"), READ.values(), ids=READ)
def test_references_read_the_same_with_and_without_file_names(
    content: dict[str, Any], words: str, named: bool, captions: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "other.json", content if named else without_names(content))
    found = reference_photos(path)
    assert {photo.photo_id: list(photo.captions) for photo in found} == CAPTIONS
    assert found.notes == ((f"{path}: {words}",) if words else ())


def test_what_is_left_out_of_references_is_said(captions: Path, tmp_path: Path) -> None:
    found = write(tmp_path / "results.json", results())
    blank, _ = READ["a photo with a blank one"]
    evaluation = scored(found, write(tmp_path / "other.json", without_names(blank)))
    assert evaluation.to_dict() == scored(found, captions).to_dict()
    assert "1 empty caption and 2 photos without a caption are left out" in evaluation.warnings[0]


def test_annotations_alone_are_references(captions: Path, tmp_path: Path) -> None:
    found = write(tmp_path / "results.json", results())
    content = references()
    del content["images"]
    path = write(tmp_path / "other.json", content)
    assert scored(found, path).to_dict() == scored(found, captions).to_dict()


OTHER_KINDS: dict[str, tuple[Any, str]] = {
    "results": (results(), "a list of results, one caption a photo"),
    "BLIP's": ([{"image": "a.jpg", "caption": ["a"]}], r"a list of photos with their captions \(BLIP's format\)"),
    "ids to captions": ({str(n): texts for n, texts in CAPTIONS.items()}, "captions by photo"),
    "caption --json": (lines(results("file", file)), "captions as `wordgaze caption --json` prints them"),
    "JSON Lines": (lines(results()), "JSON Lines, an object a line, with image_id, caption"),
    "CSV": (table(), r"a table \(CSV\) that begins with 'image_id,caption'"),
    "what caption prints": (printed(), r"lines with tabs \(TSV\)"),
    "XML": ("<annotation><filename>a.jpg</filename></annotation>", "not JSON, but XML"),
    "prose": ("A dog.\nA cat.\n", "text that begins with 'A dog.'"),
    "per-image": ([{"image_id": 1, "caption": "a", "references": ["b"]}], "what `wordgaze evaluate --per-image` wrote"),
    "boxes": (
        {"images": [{"id": 1, "file_name": "x"}], "annotations": [{"image_id": 1, "bbox": []}]},
        "is a box, not a caption",
    ),
    "image_info": ({"images": [{"id": 1, "file_name": "x"}]}, r"a list of photos without captions \(COCO's image_info"),
    "another key": (
        references(annotations=[{"image_id": 139, "captions": "x"}]),
        r"annotations\[0\] has no 'caption'; give a text \(it has image_id, captions\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_references_of_another_kind_are_named(content: Any, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "references", content)
    with pytest.raises(DataError, match=words) as caught:
        reference_photos(path)
    assert str(caught.value).startswith(f"{path}: ") and "fix it" not in str(caught.value)


def karpathy(**splits: str) -> dict[str, Any]:
    return {
        "images": [
            {
                "cocoid": number,
                "imgid": place,
                "filename": FILES[number],
                "split": split,
                "sentences": [{"raw": text} for text in CAPTIONS[number]],
            }
            for place, (number, split) in enumerate(zip(CAPTIONS, splits.values(), strict=True))
        ]
    }


@pytest.mark.parametrize(
    ("split", "photos", "note"),
    [
        (None, [632], "the split test is taken; --split names another (train, val)"),
        ("test", [632], ""),
        ("val", [285], ""),
        ("all", [139, 285, 632], ""),
    ],
)
def test_karpathys_references_are_of_one_split(split: str | None, photos: list[int], note: str, tmp_path: Path) -> None:
    path = write(tmp_path / "k.json", karpathy(a="train", b="val", c="test"))
    found = reference_photos(path, split)
    assert [photo.photo_id for photo in found] == photos
    assert found.notes == ((f"{path}: {note}",) if note else ())
    evaluation = scored(write(tmp_path / "r.json", results()), path)
    assert [photo.photo_id for photo in evaluation.photos] == [632]


def test_splits_that_are_not_there(captions: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "k.json", karpathy(a="train", b="val", c="val"))
    with pytest.raises(DataError, match="no photo in split 'test'; it has train, val: choose one of these"):
        reference_photos(path)
    with pytest.raises(DataError, match="no splits; leave out split 'test'"):
        reference_photos(captions, "test")
    one = write(tmp_path / "one.json", karpathy(a="val", b="val", c="val"))
    assert len(reference_photos(one)) == 3 and reference_photos(one).notes == ()


# --- Boxes -----------------------------------------------------------------------------------------------------


def boxes(of: Callable[[int], Any] = int, names: Callable[[int], str] | None = None, **more: Any) -> dict[str, Any]:
    images = [{"id": of(number), "width": 90, "height": 60} for number in CAPTIONS]
    if names is not None:
        images = [{**image, "file_name": names(number)} for image, number in zip(images, CAPTIONS, strict=True)]
    annotations = [{"image_id": of(285), "category_id": 23, "bbox": [1, 2, 3, 4]}]
    categories = [{"id": 23, "name": "bear"}]
    return {"images": images, "annotations": annotations, "categories": categories, **more}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        boxes(),
        boxes(str),
        boxes(padded),
        boxes(file),
        boxes(lambda number: number + 1, file),
        boxes(int, lambda number: f"{number:012d}.jpg"),
    ],
    ids=["same", "text", "zeros", "names as ids", "ids of its own", "other names"],
)
def test_boxes_belong_to_photos_however_they_are_spelled(
    content: dict[str, Any], captions: Path, tmp_path: Path
) -> None:
    evaluation = scored(write(tmp_path / "r.json", results()), captions, instances=write(tmp_path / "b.json", content))
    assert evaluation.objects is not None and evaluation.objects.images == 3
    assert {photo.photo_id: photo.hallucinated for photo in evaluation.photos}[285] == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            boxes(lambda number: number + 5000),
            r"none of the 3 photos \(image_id 139, 285, 632\), but 5139, 5285, 5632",
        ),
        (
            boxes(categories=[{"id": 23, "name": "Bär"}]),
            r"none of COCO's 80 categories, .*\(the file has: Bär\)",
        ),
        (
            boxes(int, lambda number: FILES[{139: 285, 285: 139, 632: 632}[number]]),
            "photo 139 is 'COCO_val2017_000000000285.jpg' by its id, but 285 by its file name",
        ),
        (boxes(images=[{"id": 285, "width": 0, "height": 9}]), r"images\[0\] is 0 x 9 pixels"),
        (references(), "captions in COCO's format, with no list 'categories' at its top"),
        (results(), "a list of results, one caption a photo; name boxes in COCO's format"),
        (table(), r"a table \(CSV\) .*name boxes in COCO's format"),
    ],
)
def test_boxes_that_do_not_fit_are_said(content: Any, words: str, captions: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        CaptionEvaluator(reference_photos(captions), instances=write(tmp_path / "b.json", content))
