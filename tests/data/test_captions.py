"""Captions and boxes as they lie on disk, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wordgaze.data.captions import Source, load_sources, read_captions
from wordgaze.data.instances import Box, read_instances
from wordgaze.data.readers import READERS
from wordgaze.data.readers.caption_file import CaptionedPhoto, Reader
from wordgaze.errors import ConfigError, DataError


def coco() -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "dog.jpg"}, {"id": 8, "file_name": "cat.jpg"}],
        "annotations": [
            {"image_id": 8, "caption": "A cat.\n"},
            {"image_id": 7, "caption": "  A dog   runs "},
            {"image_id": 7, "caption": "One dog"},
        ],
    }


def karpathy() -> dict[str, Any]:
    return {
        "dataset": "coco",
        "images": [
            {
                "filepath": f"{folder}2014",
                "filename": f"{number}.jpg",
                "cocoid": 100 + number,
                "imgid": number,
                "split": split,
                "sentences": [{"raw": f"Photo {number}.", "tokens": ["photo"]}, {"raw": "Again."}],
            }
            for number, (folder, split) in enumerate(
                [("train", "train"), ("val", "restval"), ("val", "val"), ("val", "test"), ("train", "train")]
            )
        ],
    }


def boxes() -> dict[str, Any]:
    return {
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "images": [{"id": 7, "width": 640, "height": 480}, {"id": 8, "width": 30, "height": 40}],
        "annotations": [
            {"image_id": 7, "category_id": 18, "bbox": [1, 2.5, 30, 40], "iscrowd": 0},
            {"image_id": 7, "category_id": 1, "bbox": [0.0, 0.0, 640.0, 9.0], "iscrowd": 1},
        ],
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(content: object, name: str = "captions.json") -> Path:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


# What is read


def test_coco_captions_are_read_clean_and_in_the_files_order(write: Callable[..., Path], tmp_path: Path) -> None:
    captions = read_captions(write(coco()))
    assert list(captions) == [
        CaptionedPhoto(7, tmp_path / "dog.jpg", ("A dog runs", "One dog")),
        CaptionedPhoto(8, tmp_path / "cat.jpg", ("A cat.",)),
    ]
    assert len(captions) == 2
    assert captions.description == f"{tmp_path / 'captions.json'}: 2 photos, 3 captions"


def test_photos_are_beside_the_file_unless_a_root_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(coco())
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    assert read_captions(path).photos[0].path == tmp_path / "photos" / "dog.jpg"
    assert read_captions(path, tmp_path / "elsewhere").photos[0].path == tmp_path / "elsewhere" / "dog.jpg"
    with pytest.raises(DataError, match=r"nowhere: no such folder; name the one"):
        read_captions(path, tmp_path / "nowhere")


def test_what_is_empty_is_left_out_and_counted(write: Callable[..., Path]) -> None:
    content = coco()
    content["annotations"][0]["caption"] = " \n"
    content["annotations"][2]["caption"] = ""
    captions = read_captions(write(content))
    assert [photo.captions for photo in captions] == [("A dog runs",)]
    assert captions.description.endswith(
        "1 photos, 1 captions; left out 2 empty captions and 1 photos without a caption"
    )


@pytest.mark.parametrize(
    ("split", "numbers"),
    [("train", [0, 1, 4]), ("restval", [1]), ("val", [2]), ("test", [3]), (None, [0, 1, 2, 3, 4])],
)
def test_karpathys_splits(write: Callable[..., Path], tmp_path: Path, split: str | None, numbers: list[int]) -> None:
    captions = read_captions(write(karpathy()), split=split)
    assert [photo.photo_id for photo in captions] == [100 + number for number in numbers]
    folder = {0: "train2014", 1: "val2014", 2: "val2014", 3: "val2014", 4: "train2014"}
    assert [photo.path for photo in captions] == [tmp_path / folder[n] / f"{n}.jpg" for n in numbers]
    assert captions.photos[0].captions == (f"Photo {numbers[0]}.", "Again.")


def test_karpathys_flickr_files_have_no_folders_and_no_coco_ids(write: Callable[..., Path], tmp_path: Path) -> None:
    content = karpathy()
    for image in content["images"]:
        del image["filepath"], image["cocoid"]
    assert read_captions(write(content), split="val").photos[0] == CaptionedPhoto(
        2, tmp_path / "2.jpg", ("Photo 2.", "Again.")
    )


def test_a_folder_of_photos_with_texts_beside_them(tmp_path: Path) -> None:
    for name in ("b.jpg", "in/a.png", "alone.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b.txt").write_bytes("\ufeffA café\r\n\r\n  two\tspaces \n".encode())
    (tmp_path / "in" / "a.txt").write_text("one line")
    (tmp_path / "README.txt").write_text("not a caption")
    captions = read_captions(tmp_path)
    assert list(captions) == [
        CaptionedPhoto("b.jpg", tmp_path / "b.jpg", ("A café", "two spaces")),
        CaptionedPhoto("in/a.png", tmp_path / "in" / "a.png", ("one line",)),
    ]
    assert captions.description.endswith("left out 1 empty captions and 1 photos without a caption")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_texts_as_notepad_saves_them(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.txt").write_text("A caf\u00e9\r\nTwo", encoding=encoding)
    assert read_captions(tmp_path).photos[0].captions == ("A caf\u00e9", "Two")


def test_a_format_can_be_added(write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(file: Any) -> list[CaptionedPhoto]:
        rows = (line.split("\t") for line in file.path.read_text().splitlines())
        return [CaptionedPhoto(name, file.root / name, (caption,)) for name, caption in rows]

    tables = Reader(lambda file: file.path.suffix == ".tsv", read)
    known = dict(READERS)
    monkeypatch.setattr("wordgaze.data.captions.READERS", {"tsv": tables, **known})
    captions = read_captions(write("a.jpg\tA dog \nb.jpg\t", "captions.tsv"))
    assert list(captions) == [CaptionedPhoto("a.jpg", tmp_path / "a.jpg", ("A dog",))]
    assert "1 empty captions" in captions.description


def test_missing_photos_are_only_looked_for_when_asked(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(coco())
    (tmp_path / "dog.jpg").touch()
    assert len(read_captions(path)) == 2
    with pytest.raises(DataError, match=r"1 of 2 photos are missing, the first is .*cat.jpg; set root"):
        read_captions(path, check_files=True)
    with pytest.raises(DataError, match="1 of 2 photos are missing"):
        load_sources([Source(str(path))], check_files=True)
    (tmp_path / "cat.jpg").touch()
    assert len(read_captions(path, check_files=True)) == 2


# What is refused


def change(content: dict[str, Any], item: str, **values: object) -> dict[str, Any]:
    """``content`` with keys of one item changed, or dropped where the value is None."""
    kind, _, index = item.partition(" ")
    item = content[kind][int(index)]
    for key, value in values.items():
        if value is None:
            del item[key]
        else:
            item[key] = value
    return content


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{\n "images": [,]\n}', r"broken JSON in line 2, column 13 .*; fix it there"),
        ("[1, 2]", "a list at its top"),
        ("[" * 100_000, "nested too deeply"),
        ({"photos": [], "texts": []}, r"not in a known caption format \(at its top: photos, texts\)"),
        ({"images": []}, "no list 'annotations' at its top, but images"),
        ({"images": {}, "annotations": []}, "no list 'images'"),
        ({"images": [], "annotations": []}, "lists no photos"),
        ({"images": [3], "annotations": []}, r"images\[0\] is 3; it must be an object"),
        (change(coco(), "images 1", file_name=None), r"images\[1\] has no 'file_name'; give a text"),
        (change(coco(), "images 1", id=7), r"images\[1\] has the id 7 of an earlier one"),
        (change(coco(), "images 1", id=7.5), r"images\[1\] has id 7.5; give a whole number or a text"),
        (change(coco(), "annotations 2", caption=None), r"annotations\[2\] has no 'caption'"),
        (change(coco(), "annotations 2", caption=5), r"annotations\[2\] has caption 5; give a text"),
        (
            change(coco(), "annotations 1", image_id=99),
            r"annotations\[1\] has image_id 99, which 'images' does not",
        ),
        (boxes() | {"images": coco()["images"]}, r"annotations\[0\] is a box, not a caption"),
        (change(karpathy(), "images 3", split=None), r"images\[3\] has no 'split'"),
        (change(karpathy(), "images 3", split={}), r"images\[3\] has split {}; give a text"),
        (change(karpathy(), "images 3", filename=None), r"images\[3\] has no 'filename'"),
        (change(karpathy(), "images 3", sentences=None), r"images\[3\] has no 'sentences'; give a list"),
        (change(karpathy(), "images 3", sentences=["text"]), r"images\[3\].sentences\[0\] is 'text'"),
        (
            change(karpathy(), "images 3", sentences=[{"tokens": []}]),
            r"images\[3\].sentences\[0\] has no 'raw'",
        ),
        (change(karpathy(), "images 3", cocoid=101), "several photos have the id 101"),
    ],
)
def test_a_broken_file_is_refused_with_place_and_remedy(write: Callable[..., Path], content: object, what: str) -> None:
    path = write(content)
    with pytest.raises(DataError, match=what) as caught:
        read_captions(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < len(str(path)) + 250


def test_what_can_not_be_read_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json: no such file or folder"):
        read_captions(tmp_path / "none.json")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_captions(tmp_path / "photo.jpg")
    with pytest.raises(DataError, match="no photo in split 'dev'; it has restval, test, train, val"):
        read_captions(write(karpathy()), split="dev")
    path = write(coco())
    with pytest.raises(DataError, match="no splits; leave out split 'val'"):
        read_captions(path, split="val")
    with pytest.raises(ConfigError, match="format is 'cocco'; use auto or one of sidecar, karpathy, coco"):
        read_captions(path, format="cocco")
    with pytest.raises(DataError, match="not a folder"):
        read_captions(path, format="sidecar")
    with pytest.raises(DataError, match="can't be read"):
        read_captions(tmp_path, format="coco")
    (tmp_path / "photo.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"photo.txt: not UTF-8 text \(byte 3\)"):
        read_captions(tmp_path)


# Several sources


@pytest.fixture
def many(write: Callable[..., Path]) -> Source:
    """Forty photos with one caption each; even ones have a dog, every fifth a person."""
    ids = range(40)
    write(
        {
            "categories": boxes()["categories"],
            "images": [{"id": i, "width": 9, "height": 9} for i in ids],
            "annotations": [
                {"image_id": i, "category_id": category, "bbox": [0, 0, 1, 1]}
                for i in ids
                for category, every in ((18, 2), (1, 5))
                if i % every == 0
            ],
        },
        "instances.json",
    )
    path = write(
        {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids],
            "annotations": [{"image_id": i, "caption": f"photo {i}"} for i in ids],
        }
    )
    return Source(str(path), instances=str(path.parent / "instances.json"))


def ids_of(source: Source, **options: Any) -> list[Any]:
    fields = {"captions": source.captions, "instances": source.instances} | options
    return [photo.photo_id for photo in load_sources([Source(**fields)])]


def test_a_limit_draws_a_seeded_part(many: Source) -> None:
    drawn = ids_of(many, limit=10, seed=1)
    assert len(set(drawn)) == 10
    assert drawn == sorted(drawn) == ids_of(many, limit=10, seed=1)
    assert drawn != ids_of(many, limit=10, seed=2)
    assert drawn != list(range(10))
    assert set(drawn) < set(ids_of(many, limit=20, seed=1))
    assert ids_of(many, limit=1000) == list(range(40))


def test_categories_keep_photos_that_have_one_of_them(many: Source) -> None:
    assert ids_of(many, categories=["dog"]) == list(range(0, 40, 2))
    assert ids_of(many, categories=["dog", "person"]) == [i for i in range(40) if i % 2 == 0 or i % 5 == 0]
    few = ids_of(many, categories=["person"], limit=3)
    assert len(few) == 3 and all(i % 5 == 0 for i in few)
    with pytest.raises(DataError, match=r"no category 'dgo'; did you mean 'dog'\?"):
        ids_of(many, categories=["dgo"])
    with pytest.raises(DataError, match="no category 'x'; it has dog, person"):
        ids_of(many, categories=["x"])


def test_boxes_of_categories_may_spell_ids_otherwise(many: Source, write: Callable[..., Path]) -> None:
    content = json.loads(Path(str(many.instances)).read_text())
    for item in (*content["images"], *content["annotations"]):
        key = "image_id" if "image_id" in item else "id"
        item[key] = f"{item[key]:05d}"
    other = write(content, "padded.json")
    assert ids_of(many, categories=["dog"], instances=str(other)) == list(range(0, 40, 2))


def test_categories_that_no_photo_has_are_refused(many: Source, write: Callable[..., Path]) -> None:
    elsewhere = write(boxes() | {"annotations": []}, "elsewhere.json")
    with pytest.raises(DataError, match=r"none of its photos has dog in .*elsewhere.json"):
        ids_of(many, categories=["dog"], instances=str(elsewhere))


@pytest.mark.parametrize("text", ['[0, "5", 99]', "0\r\n5\n\n 99 \n"], ids=["JSON", "lines"])
def test_photos_can_be_excluded_by_id(many: Source, write: Callable[..., Path], text: str) -> None:
    exclude = str(write(text, "exclude"))
    assert ids_of(many, exclude=exclude, categories=["person"]) == [10, 15, 20, 25, 30, 35]
    remaining = load_sources([Source(many.captions, exclude=exclude)])
    assert len(remaining) == 38
    assert (
        "without 2 that" in remaining.description and "1 of its 3 ids are not here, such as 99" in remaining.description
    )


def test_an_excluded_photo_may_be_missing(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(coco())
    (tmp_path / "dog.jpg").touch()
    exclude = str(write("8\n", "exclude.txt"))
    assert len(load_sources([Source(str(path), exclude=exclude)], check_files=True)) == 1
    with pytest.raises(DataError, match="are missing"):
        load_sources([Source(str(path), exclude=str(write("7", "other.txt")))], check_files=True)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"ids": [1]}', "not a list of ids"),
        ("[1, 2.5]", "not a list of ids"),
        ("[1, [2]]", "not a list of ids"),
        ("[1, ", "broken JSON"),
        ("\n".join(map(str, range(40))), "excludes all of its photos"),
        (None, "can't be read"),
    ],
)
def test_a_wrong_file_of_ids_is_refused(many: Source, write: Callable[..., Path], text: str | None, what: str) -> None:
    exclude = Path(many.captions).with_name("none") if text is None else write(text, "exclude")
    with pytest.raises(DataError, match=what):
        ids_of(many, exclude=str(exclude))


def test_sources_are_put_together_with_ids_of_their_own(many: Source, write: Callable[..., Path]) -> None:
    other = write(coco(), "other.json")
    both = load_sources([Source(str(other), repeat=2), Source(many.captions, limit=1, seed=4)])
    assert [photo.photo_id for photo in both][:4] == ["1/7", "1/8", "1/7", "1/8"]
    assert len(both) == 5 and str(both.photos[4].photo_id).startswith("2/")
    assert both.description.splitlines() == [
        f"{other}: 2 photos, 3 captions; 2 times",
        f"{many.captions}: 40 photos, 40 captions; drawn with seed 4: 1 photos, 1 captions",
    ]


def test_training_on_karpathys_file_needs_a_split(write: Callable[..., Path]) -> None:
    path = str(write(karpathy()))
    with pytest.raises(DataError, match="among them a test set; name one with split"):
        load_sources([Source(path)])
    assert [photo.photo_id for photo in load_sources([Source(path, split="train")])] == [100, 101, 104]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"limit": 0}, "limit is 0"),
        ({"repeat": 0}, "repeat is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"categories": ["dog"]}, "name a COCO instances file"),
        ({"categories": "dog"}, "give a list"),
    ],
)
def test_senseless_sources_are_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Source("captions.json", **options)
    with pytest.raises(ConfigError, match="no sources"):
        load_sources([])


# Boxes


def test_boxes_are_read_by_photo(write: Callable[..., Path]) -> None:
    instances = read_instances(write(boxes()))
    assert instances.categories == {1: "person", 18: "dog"}
    assert instances.sizes == {7: (640, 480), 8: (30, 40)}
    assert instances.boxes == {
        7: (Box("dog", 1.0, 2.5, 30.0, 40.0), Box("person", 0.0, 0.0, 640.0, 9.0, crowd=True)),
        8: (),
    }


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            coco(),
            "no list 'categories' at its top, but images, annotations; check that this is the right file",
        ),
        (change(boxes(), "images 1", id=7), r"images\[1\] has the id 7 of an earlier one"),
        (change(boxes(), "images 1", width=None), r"images\[1\] has no 'width'"),
        (change(boxes(), "annotations 1", image_id=9), r"annotations\[1\] has image_id 9, which 'images'"),
        (change(boxes(), "annotations 1", category_id=9), r"\[1\] has category_id 9, which 'categories'"),
        (
            change(boxes(), "annotations 1", bbox=[1, 2, 3]),
            r"annotations\[1\] has bbox \[1, 2, 3\]; give x, y",
        ),
        (change(boxes(), "annotations 1", bbox=[1, 2, -3, 4]), "has bbox"),
        (change(boxes(), "annotations 1", bbox=[1, 2, float("nan"), 4]), "has bbox"),
    ],
)
def test_broken_boxes_are_refused(write: Callable[..., Path], content: object, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_instances(write(content))


# The shared photos


def test_the_shared_captions_are_what_their_readme_says(shared_data: Path) -> None:
    data = shared_data / "data"
    for name, photos, captions in (
        ("flickr/captions_train", 8619, 43095),
        ("flickr/captions_val", 1000, 5000),
        ("coco/captions_train", 2581, 4969),
        ("coco/captions_val", 397, 1985),
    ):
        read = read_captions(data / f"{name}.json", check_files=True)
        assert read.description == f"{data / name}.json: {photos:,} photos, {captions:,} captions"
    instances = read_instances(data / "coco/instances_val.json")
    assert (len(instances.categories), len(instances.boxes)) == (80, 159)
    assert sum(map(len, instances.boxes.values())) == 1363
    for photo_id, group in instances.boxes.items():
        width, height = instances.sizes[photo_id]
        assert all(box.x + box.width <= width + 1 and box.y + box.height <= height + 1 for box in group)
