"""A folder with one of every fault is checked; and sets of every kind against each other."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.faulty_set import FAULTY_CAPTIONS, draw, faulty_set

from wordgaze.data.captions import read_captions
from wordgaze.data.check.clean_copy import clean_copy
from wordgaze.data.check.findings import KINDS, Finding
from wordgaze.errors import DataError
from wordgaze.tasks.data_check import CheckOptions, DataCheck, DataChecker
from wordgaze.tasks.data_check_page import check_page


def checked(path: Path | str, **options: Any) -> DataCheck:
    return DataChecker(str(path), CheckOptions(**options)).check()


def all_of(check: DataCheck) -> list[Finding]:
    return [finding for findings in check.findings.values() for finding in findings]


def good_set(folder: Path, seeds: range, name: str = "captions.json") -> Path:
    photos = folder / "photos"
    photos.mkdir(parents=True)
    images, annotations = [], []
    for seed in seeds:
        draw(photos / f"{seed}.png", seed)
        images.append({"id": seed, "file_name": f"{seed}.png"})
        annotations.append({"id": seed, "image_id": seed, "caption": f"the dog number {seed} is with a ball"})
    (folder / name).write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder / name


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty_set(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def check(faulty: Path) -> DataCheck:
    return checked(faulty)


def test_every_kind_is_found_once_and_nothing_else(faulty: Path, check: DataCheck) -> None:
    expected = dict.fromkeys(KINDS, 1) | {"broken-entry": 2, "not-text": 2, "encoding": 2}
    # One file has neither splits nor broken JSON.
    del expected["broken-file"], expected["across-splits"]
    assert {kind: len(findings) for kind, findings in check.findings.items()} == expected
    assert list(check.findings) == [kind for kind in KINDS if kind in expected]
    assert not any("good" in finding.file for finding in all_of(check))


def test_every_finding_names_its_file(faulty: Path, check: DataCheck) -> None:
    numbers = {kind: f"{number}.png" for number, kind in enumerate(FAULTY_CAPTIONS, start=50)}
    files = {kind: {Path(finding.file).name for finding in findings} for kind, findings in check.findings.items()}
    assert {kind: files[kind] for kind in numbers} == {kind: {name} for kind, name in numbers.items()}
    assert files["missing-photo"] == {"missing.jpg"} and files["unreadable-photo"] == {"page.jpg"}
    assert files["same-photo"] == {"same.png"} and files["near-duplicate"] == {"near.jpg"}
    assert files["odd-photo"] == {"clear.png"} and files["common-caption"] == {"60.png"}
    assert files["broken-entry"] == {"captions.json"}
    [near] = check.findings["near-duplicate"]
    assert "good-1.png (mirrored; " in near.message


def test_a_sound_set_has_no_findings(tmp_path: Path) -> None:
    check = checked(good_set(tmp_path / "set", range(25)))
    assert check.findings == {} and (len(check.contents.photos), check.captions) == (25, 25)


def test_kinds_can_be_ignored(faulty: Path, check: DataCheck) -> None:
    less = checked(faulty, ignore=("same-photo", "missing-photo"))
    assert set(check.findings) - set(less.findings) == {"same-photo", "missing-photo"}


def test_each_photo_is_opened_once_and_told(faulty: Path) -> None:
    checker, told = DataChecker(str(faulty), CheckOptions()), []
    checker.check(lambda: told.append(1))
    assert len(told) == len(checker.paths) == 48


def test_the_clean_copy_has_no_fault_left(faulty: Path, check: DataCheck, tmp_path: Path) -> None:
    copy = clean_copy(check.contents, all_of(check))
    path = tmp_path / "clean.json"
    path.write_text(json.dumps(copy.content))
    again = checked(path, root=str(faulty.parent / "photos"))
    assert {kind for kind in again.findings if KINDS[kind].wrong} == set()
    assert (len(again.contents.photos), again.captions) == (copy.photos, copy.captions) == (44, 44)
    assert copy.content["info"] == {"year": 2026} and copy.mended == 1
    assert copy.left_out == {
        kind: 1
        for kind in (
            *("same-photo", "missing-photo", "unreadable-photo", "no-caption"),
            *("empty-caption", "not-text", "encoding", "duplicate-caption"),
        )
    }
    captions = [caption for photo in again.contents.photos for caption in photo.captions]
    assert "the café is at the corner with two chairs" in captions


def test_against_another_set_by_content_not_by_name(tmp_path: Path) -> None:
    train, val = good_set(tmp_path / "train", range(20)), good_set(tmp_path / "val", range(15, 30))
    for seed in range(16, 20):
        (val.parent / "photos" / f"{seed}.png").unlink()
        draw(val.parent / "photos" / f"{seed}.png", seed + 100)
    draw(train.parent / "photos/3.png", 25).convert("RGB").resize((90, 60)).save(train.parent / "photos/3.png")
    check = checked(train, against=str(val))
    messages = {Path(finding.file).name: finding.message for finding in check.findings["across-splits"]}
    assert messages.keys() == {"15.png", "3.png"} and set(check.findings) == {"across-splits"}
    assert messages["15.png"] == f"is the same file as {val.parent}/photos/15.png of {val}"
    assert messages["3.png"].startswith(f"is nearly the same as {val.parent}/photos/25.png of {val} (")
    copy = clean_copy(check.contents, all_of(check))
    assert copy.left_out == {"across-splits": 2} and copy.photos == 18


def test_what_is_missing_in_the_other_set_is_told_too(tmp_path: Path) -> None:
    train, val = good_set(tmp_path / "train", range(5)), good_set(tmp_path / "val", range(5, 10))
    (val.parent / "photos/7.png").unlink()
    check = checked(train, against=str(val))
    [finding] = all_of(check)
    assert finding.kind == "missing-photo" and finding.file == str(val.parent / "photos/7.png")
    assert clean_copy(check.contents, all_of(check)).photos == 5


def karpathy(folder: Path, *photos: tuple[int, str, int]) -> Path:
    """Write a file of photos (id, split, seed of the picture)."""
    (folder / "photos").mkdir()
    images = []
    for number, split, seed in photos:
        draw(folder / "photos" / f"{number}.png", seed)
        sentences = [{"raw": f"the dog number {number} is here"}, {"raw": ""}]
        images.append({"cocoid": number, "filename": f"{number}.png", "split": split, "sentences": sentences})
    path = folder / "dataset.json"
    path.write_text(json.dumps({"dataset": "coco", "images": images}))
    return path


def test_between_the_splits_of_one_file(tmp_path: Path) -> None:
    path = karpathy(
        tmp_path, (1, "test", 1), (2, "train", 1), (3, "restval", 1), (4, "val", 4), (5, "train", 5), (6, "val", 1)
    )
    check = checked(path)
    pairs = {(Path(finding.file).stem, Path(finding.other or "").stem) for finding in check.findings["across-splits"]}
    # Training photos that are also in test; of test and validation the later one.
    assert {first for first, _ in pairs} == {"2", "3", "6"}
    assert [Path(finding.file).stem for finding in check.findings["same-photo"]] == ["3"]
    copy = clean_copy(check.contents, all_of(check))
    assert [image["cocoid"] for image in copy.content["images"]] == [1, 4, 5] and copy.format == "karpathy"
    assert copy.content["dataset"] == "coco" and copy.captions == 3


def test_one_split_alone(tmp_path: Path) -> None:
    path = karpathy(tmp_path, (1, "test", 1), (2, "train", 1), (3, "restval", 3))
    check = checked(path, split="train")
    assert [photo.photo_id for photo in check.contents.photos] == [2, 3] and set(check.findings) == {"empty-caption"}


def test_a_folder_of_texts(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    draw(tmp_path / "b.png", 2)
    (tmp_path / "a.txt").write_text("a dog\n\na cat\n")
    check = checked(tmp_path)
    assert {kind: [Path(f.file).name for f in findings] for kind, findings in check.findings.items()} == {
        "no-caption": ["b.png"],
        "empty-caption": ["a.png"],
    }
    copy = clean_copy(check.contents, all_of(check))
    assert copy.format == "coco" and copy.content["images"] == [{"id": "a.png", "file_name": "a.png"}]
    path = tmp_path / "clean.json"
    path.write_text(json.dumps(copy.content))
    [photo] = read_captions(path, check_files=True)
    assert photo.captions == ("a dog", "a cat")


def test_broken_json_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text('{"images": [],\n "annotations": [\n {"id" 3}]}')
    [finding] = all_of(checked(path))
    assert (finding.kind, finding.file) == ("broken-file", str(path))
    assert finding.message.startswith("broken JSON in line 3, column 8")


@pytest.mark.parametrize("content", [b'{"images": [\xff]}', b"PK\x03\x04", b"[]", b"{}", b""])
def test_what_is_no_caption_file_is_a_finding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "captions.json").write_bytes(content)
    assert [finding.kind for finding in all_of(checked(tmp_path / "captions.json"))] == ["broken-file"]


def test_a_set_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        checked(tmp_path / "none.json")


def test_a_photo_that_is_listed_twice(tmp_path: Path) -> None:
    path = good_set(tmp_path / "set", range(3))
    content = json.loads(path.read_text())
    content["images"].append({"id": 9, "file_name": "1.png"})
    content["annotations"].append({"id": 9, "image_id": 9, "caption": "again"})
    path.write_text(json.dumps(content))
    [finding] = all_of(checked(path))
    assert finding.kind == "same-photo" and finding.message == "is listed twice (ids 1 and 9)"


def test_the_same_file_under_another_name_beats_an_earlier_near_one(tmp_path: Path) -> None:
    path = good_set(tmp_path / "set", range(3))
    photos = path.parent / "photos"
    draw(photos / "0.png", 1).resize((80, 60)).save(photos / "0.png")
    shutil.copy(photos / "1.png", photos / "2.png")
    check = checked(path)
    assert [(f.kind, Path(f.file).name, Path(f.other or "").name) for f in all_of(check)] == [
        ("same-photo", "2.png", "1.png"),
        ("near-duplicate", "1.png", "0.png"),
    ]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_photos_in_shards_are_opened_and_compared_where_they_lie(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number, seed in enumerate((1, 2, 1)):
        draw(folder / f"{number}.png", seed)
        (folder / f"{number}.txt").write_text(f"the dog number {number} is here")
    (folder / "3.png").write_bytes(b"no photo")
    (folder / "3.txt").write_text("the photo is broken")
    if kind == "tar":
        with tarfile.open(tmp_path / "shard-0.tar", "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.add(file, file.name)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        photos = sorted(folder.glob("*.png"))
        columns = {
            "image": [{"bytes": photo.read_bytes(), "path": photo.name} for photo in photos],
            "caption": [photo.with_suffix(".txt").read_text() for photo in photos],
        }
        pq.write_table(pa.table(columns), tmp_path / "shard-0.parquet", row_group_size=2)
    check = checked(tmp_path / f"shard-0.{kind}")
    assert {kind: [Path(f.file).name for f in findings] for kind, findings in check.findings.items()} == {
        "unreadable-photo": ["3.png"],
        "same-photo": ["2.png"],
    }
    assert check_page(check).count("<img ") == 2


def test_a_table_with_columns_of_its_own(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    (tmp_path / "set.csv").write_text("bild,satz\na.png,the dog is here\nb.png,the cat is there\n")
    check = checked(tmp_path / "set.csv", columns=("bild", "satz"))
    assert set(check.findings) == {"missing-photo"} and check.contents.format == "table"
    assert clean_copy(check.contents, all_of(check)).content["images"] == [{"id": "a.png", "file_name": "a.png"}]


def test_a_missing_photo_that_is_listed_twice_is_left_out_twice(tmp_path: Path) -> None:
    path = good_set(tmp_path / "set", range(3))
    content = json.loads(path.read_text())
    content["images"].append({"id": 9, "file_name": "1.png"})
    content["annotations"].append({"id": 9, "image_id": 9, "caption": "again"})
    path.write_text(json.dumps(content))
    (path.parent / "photos/1.png").unlink()
    check = checked(path)
    assert len(check.findings["missing-photo"]) == 2 and clean_copy(check.contents, all_of(check)).photos == 2
