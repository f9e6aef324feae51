"""``wordgaze calibrate``: judges a model by photos, or by what evaluate wrote, and gives its folder a confidence."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result
from tests.model_folder import draw_photo
from tests.packed_sets import captions_flags

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.files import MODEL_FILES
from wordgaze.folder import CONFIDENCE, load_folder
from wordgaze.hub import bundled_folder

PHOTOS = 100


class Data(NamedTuple):
    """Photos with captions of which half are the model's own, and what evaluate says of them."""

    folder: Path
    model: Path

    def files(self) -> list[str]:
        return ["--images", str(self.folder / "photos"), "--captions", str(self.folder / "val.json")]


def run(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)])


@pytest.fixture(scope="module")
def data(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("data")
    (folder / "photos").mkdir()
    files = [draw_photo(folder / "photos" / f"{number}.png", number) for number in range(PHOTOS)]
    texts = [caption.text for caption in Captioner.from_pretrained(model_folder, "cpu").caption(list(files))]
    images = [{"id": number, "file_name": file.name} for number, file in enumerate(files)]
    annotations = [
        {"id": 10 * number + turn, "image_id": number, "caption": caption}
        for number, text in enumerate(texts)
        for turn, caption in enumerate([f"{text} dog", text] if number % 2 else ["a kite", "many horses"])
    ]
    (folder / "val.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    boxes = {
        "images": [{"id": number, "width": 120, "height": 90} for number in range(PHOTOS)],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [box],
    }
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return Data(folder, model_folder)


@pytest.fixture
def model(data: Data, tmp_path: Path) -> Path:
    """A copy of the model, to write a confidence into."""
    return Path(shutil.copytree(data.model, tmp_path / "model"))


@pytest.mark.parametrize("boxes", [[], ["--instances", "boxes.json"]], ids=["references", "boxes"])
def test_photos_are_judged_as_evaluate_judges_them(
    data: Data, model: Path, tmp_path: Path, boxes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.folder)
    judged, out, other = tmp_path / "val.json", tmp_path / "out.json", tmp_path / "other.json"
    flags = ["--device", "cpu"]
    result = run("calibrate", model, *data.files(), *boxes, "--json", out, *flags)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split() == [
        "confidence",
        "captions",
        "mean",
        "right",
        "(95",
        "%",
        "interval)",
    ]
    assert [line.split(":")[0] for line in result.stdout.splitlines()[-3:-1]] == ["all", "val"]
    assert load_folder(model).confidence is not None
    written = (model / CONFIDENCE).read_bytes()
    assert json.loads(written) == json.loads(out.read_text())["confidence"]
    (model / CONFIDENCE).unlink()
    assert run("evaluate", "--model", model, *data.files(), *boxes, "--per-image", judged, *flags).exit_code == 0
    again = run("calibrate", model, judged, "--json", other, *flags)
    assert (again.exit_code, again.stdout) == (0, result.stdout)
    assert (model / CONFIDENCE).read_bytes() == written
    assert other.read_bytes() == out.read_bytes()
    captioned = run("caption", data.folder / "photos" / "0.png", "--model", model, "--confidence", *flags)
    assert 0 <= float(captioned.stdout.split("\t")[2]) <= 1


def test_a_photo_that_can_not_be_read_leaves_the_folder_as_it_was(data: Data, model: Path) -> None:
    shutil.copytree(data.folder, model.parent / "data")
    (model.parent / "data/photos/7.png").write_text("no photo")
    result = run("calibrate", model, *Data(model.parent / "data", model).files(), "--device", "cpu")
    assert result.exit_code == 2 and "7.png: " in result.stderr and "one of 100 photos to score" in result.stderr
    assert not (model / CONFIDENCE).exists()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A folder with a little of everything, none of it valid; the current folder is there."""
    names = [f"one/{name}" for name in MODEL_FILES] + [
        "val.json",
        "photo.png",
        "photos/a.png",
        "empty/notes.txt",
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    row = {"image_id": 1, "caption": "a cat", "references": ["a dog"], "CIDEr": 1.0}
    (tmp_path / "rows.json").write_text(json.dumps([{**row, "file": "photo.png"}]))
    (tmp_path / "link.json").symlink_to("val.json")
    (tmp_path / "bundled").symlink_to(bundled_folder())
    os.link(tmp_path / "one/model.safetensors", tmp_path / "hard.json")
    monkeypatch.chdir(tmp_path)
    return {name: (tmp_path / name).read_bytes() for name in [*names, "rows.json"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing argument 'DIR'"),
        ("one", "Give either --images PHOTOS with --captions FILE"),
        ("one val.json --images photos --captions val.json", "Give either"),
        ("one --images photos", "--images and --captions belong together"),
        ("one --captions val.json", "--images and --captions belong together"),
        ("one val.json --split test", "leave out --split"),
        ("one val.json --instances boxes.json", "leave out --instances"),
        ("one val.json --json val.json", "val.json is an input and would be overwritten"),
        ("one link.json --json val.json", "val.json"),
        ("one val.json --json one/config.json", "one/config.json"),
        ("one val.json --json hard.json", "one/model.safetensors"),
        ("one val.json --json one/confidence.json", "one/confidence.json"),
        ("one val.json --json nowhere/out.json", "There is no folder nowhere"),
        ("one val.json --json photos", "photos is a folder"),
        ("nothing val.json", "There is no model folder nothing"),
        ("owner/name val.json", "There is no model folder owner/name"),
        ("val.json val.json", "There is no model folder val.json"),
        ("empty val.json", "empty has no config.json"),
        ("one val.json", "one/config.json is damaged"),
        ("bundled val.json", "bundled is a link to the bundled model"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_written(
    files: dict[str, bytes], arguments: str, message: str
) -> None:
    there = sorted(Path().rglob("*"))
    confidence = (bundled_folder() / CONFIDENCE).read_bytes()
    result = run("calibrate", *arguments.split())
    assert result.exit_code == 2, result.output
    assert message in result.stderr and "bug" not in result.stderr
    assert sorted(Path().rglob("*")) == there
    assert {name: Path(name).read_bytes() for name in files} == files
    assert (bundled_folder() / CONFIDENCE).read_bytes() == confidence


@pytest.mark.parametrize("rows", [True, False], ids=["rows", "photos"])
def test_a_judged_photo_is_not_written_over(data: Data, model: Path, rows: bool) -> None:
    photos = Path(shutil.copytree(data.folder, model.parent / "data")) / "photos"
    before = (photos / "3.png").read_bytes()
    judged = model.parent / "rows.json"
    row = {"image_id": 3, "caption": "a", "references": ["a"], "CIDEr": 1.0, "file": str(photos / "3.png")}
    judged.write_text(json.dumps([row]))
    given = [judged] if rows else Data(photos.parent, model).files()
    result = run("calibrate", model, *given, "--json", photos / "3.png")
    assert result.exit_code == 2 and "3.png is an input and would be overwritten" in result.stderr
    assert (photos / "3.png").read_bytes() == before and not (model / CONFIDENCE).exists()


def test_a_link_to_another_confidence_is_refused_and_not_followed(data: Data, model: Path) -> None:
    """A folder of links to the bundled model's files would otherwise change that model."""
    other = model.parent / "other.json"
    other.write_text("{}")
    (model / CONFIDENCE).symlink_to(other)
    shutil.copyfile(bundled_folder() / CONFIDENCE, other)
    before = other.read_bytes()
    result = run("calibrate", model, *data.files(), "--device", "cpu")
    assert result.exit_code == 2 and "is a link out of the model folder" in result.output
    assert other.read_bytes() == before


def test_photos_in_archives_and_in_tables_calibrate_as_those_in_a_folder(data: Data, tmp_path: Path) -> None:
    content = json.loads((data.folder / "val.json").read_text())
    captions = {
        data.folder / "photos" / image["file_name"]: [
            one["caption"] for one in content["annotations"] if one["image_id"] == image["id"]
        ]
        for image in content["images"]
    }
    weights = []
    for kind in ("folder", "tar", "table"):
        flags = data.files() if kind == "folder" else captions_flags(kind, tmp_path, captions)
        shutil.copytree(data.model, tmp_path / kind)
        result = run("calibrate", tmp_path / kind, *flags, "--device", "cpu")
        assert result.exit_code == 0, result.output
        weights.append(json.loads((tmp_path / kind / CONFIDENCE).read_text())["weights"])
    assert weights == [pytest.approx(weights[0])] * 3
