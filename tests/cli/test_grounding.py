"""``wordgaze grounding``: the table it prints and the numbers it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.model_folder import model_folder  # noqa: F401
from tests.tasks.test_grounding import write_data

from wordgaze.cli.main import main

# ruff: noqa: F811  (fixtures are arguments of the same name)


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
    assert (
        {"all", "person", "other"} == set(values["center"]) == set(values["uniform"]) == set(values["mass"])
    )
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
