"""``wordgaze grounding``: the table it prints and the numbers it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.grounding_data import CAPTIONS, write_data
from tests.packed_sets import KINDS, captions_flags

from wordgaze.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data(tmp_path)
    return tmp_path


def run(data: Path, model: Path, *arguments: object) -> Result:
    files = (
        "--images",
        data / "photos",
        "--captions",
        data / "captions.json",
        "--instances",
        data / "instances.json",
    )
    return CliRunner().invoke(
        main, ["grounding", *map(str, files), "--model", str(model), "--device", "cpu", *map(str, arguments)]
    )


def test_table_and_json(data: Path, model_folder: Path) -> None:
    result = run(data, model_folder, "--json", data / "out.json", "--method", "last", "--faithfulness", 3)
    assert result.exit_code == 0, result.output
    values = json.loads((data / "out.json").read_text())
    assert values["method"] == "last" and values["words"] == 5
    pointing = values["pointing"]["other"]
    assert set(pointing) == {"value", "low", "high", "n"} and pointing["n"] == 4
    assert {"all", "person", "other"} == set(values["center"]) == set(values["uniform"]) == set(values["mass"])
    assert {"even", "odd"} == set(values["halves"])
    lines = result.stdout.splitlines()
    first = lines[1].split()
    assert first[:3] == ["reference", "5", "pointing"]
    assert f"{pointing['value']:.3f} ({pointing['low']:.3f} to {pointing['high']:.3f})" in lines[1]
    assert any(line.startswith("deletion: area ") for line in lines)
    assert values["faithfulness"]["words"] == 2
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "median"], "no method 'median'"),
        (["--json", "nowhere/out.json"], "no folder nowhere for out.json"),
        (["--faithfulness", "1"], "1 is not in the range"),
        (["--num-beams", "0"], "num_beams"),
        (["--instances", "nothere.json"], "nothere.json"),
    ],
)
def test_a_wrong_command_ends_with_2(data: Path, model_folder: Path, flags: list[str], message: str) -> None:
    result = run(data, model_folder, *flags)
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    "out",
    ["captions.json", "instances.json", "photos/2.png", "photos/../captions.json", "{model}/tokenizer.json"],
)
def test_no_output_is_an_input(data: Path, model_folder: Path, out: str) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    result = run(data, model_folder, "--json", data / out.format(model=model_folder))
    assert result.exit_code == 2 and "choose another output" in result.stderr and result.stdout == ""
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    assert "{" in (model_folder / "tokenizer.json").read_text()


def test_one_split_is_measured(data: Path, model_folder: Path) -> None:
    """And boxes are found by the photos' file names, where a file has ids of its own."""
    images = [
        {
            "cocoid": n,
            "filename": f"{n}.png",
            "split": split,
            "sentences": [{"raw": text} for text in CAPTIONS[n]],
        }
        for n, split in {2: "test", 3: "val", 7: "test", 8: "train"}.items()
    ]
    (data / "captions.json").write_text(json.dumps({"images": images}))
    boxes = json.loads((data / "instances.json").read_text())
    for item in (*boxes["images"], *boxes["annotations"]):
        key = "image_id" if "image_id" in item else "id"
        item[key] += 100
    (data / "instances.json").write_text(json.dumps(boxes))
    result = run(data, model_folder, "--split", "test", "--method", "last", "--json", data / "out.json")
    assert result.exit_code == 0 and result.stderr == "", result.output
    assert json.loads((data / "out.json").read_text())["photos"] == 2
    every = run(data, model_folder, "--method", "last")
    assert "all splits are taken (test, train, val); --split test takes" in every.stderr
    assert run(data, model_folder, "--split", "dev").exit_code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"categories": [{"id": 1, "name": "Person"}, {"id": 18, "name": "Hund"}]},
            "none of COCO's 80 categories",
        ),
        (
            {"annotations": []},
            "has boxes in .*: it lists 4 of them, without a box; name files of the same photos",
        ),
        (
            {"images": [{"id": 9, "width": 9, "height": 9}], "annotations": []},
            "their ids are 2, 3, 7, .*, but those of the boxes are 9;",
        ),
        (
            {"categories": [{"id": 1, "name": "zebra"}, {"id": 18, "name": "giraffe"}]},
            "names a thing with a box",
        ),
    ],
)
def test_boxes_that_measure_nothing_are_said(
    data: Path, model_folder: Path, change: dict[str, list[object]], message: str
) -> None:
    boxes = json.loads((data / "instances.json").read_text())
    (data / "instances.json").write_text(json.dumps({**boxes, **change}))
    result = run(data, model_folder)
    assert result.exit_code == 2 and result.stdout == ""
    assert re.search(message, result.stderr), result.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_photos_in_archives_and_in_tables_are_measured_as_those_in_a_folder(
    kind: str, data: Path, model_folder: Path
) -> None:
    expected = run(data, model_folder, "--method", "last")
    captions = {data / "photos" / f"{number}.png": texts for number, texts in CAPTIONS.items()}
    flags = [*captions_flags(kind, data, captions), "--instances", str(data / "instances.json")]
    flags += ["--model", str(model_folder), "--device", "cpu", "--method", "last"]
    result = CliRunner().invoke(main, ["grounding", *flags])
    assert result.exit_code == 0, result.output
    # Ids that are file names are neither odd nor even.
    kept = [line for line in result.stdout.splitlines() if "odd" not in line]
    assert kept[1:4] == expected.stdout.splitlines()[1:4] and kept[-1] == expected.stdout.splitlines()[-1]


def test_photos_that_the_captions_only_name_need_their_folder(data: Path) -> None:
    flags = ["--captions", str(data / "captions.json"), "--instances", str(data / "instances.json")]
    result = CliRunner().invoke(main, ["grounding", *flags])
    assert result.exit_code == 2 and "Missing option '--images'" in result.stderr
