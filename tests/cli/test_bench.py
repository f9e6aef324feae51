"""What ``wordgaze bench`` prints and writes."""

from __future__ import annotations

import json

from click.testing import CliRunner

from wordgaze.cli.main import main

QUICK = ["--batch-size", "2", "--num-beams", "1", "--num-beams", "2", "--words", "4", "--rounds", "1"]


def run(*arguments: object):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def test_the_tables_are_printed_and_written(model, photos, tmp_path):
    out = tmp_path / "out.json"
    result = run(*model, *QUICK, "--photos", photos[0].parent, "--json", out)
    assert result.exit_code == 0, result.output
    values = json.loads(out.read_text())
    assert [(row["batch"], row["num_beams"], row["phase"]) for row in values["rows"]][::4] == [
        (2, 1, "open"),
        (2, 2, "open"),
    ]
    assert {row["model"] for row in values["rows"]} == {model[1]}
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{model[1]}, cpu, float32: ")
    assert [line.split()[:2] for line in lines[2:4]] == [["2", "1"], ["2", "2"]]
    assert [line.split()[:3] for line in lines[-2:]] == [["2", "1", "8"], ["2", "2", "8"]]
    assert f"{values['whole'][0]['over_plain_encoding']:.2f} (" in lines[-2]


def test_an_output_that_is_a_photo_is_refused_before_anything_is_measured(model, photos):
    before = photos[0].read_bytes()
    result = run(*model, "--photos", photos[0].parent, "--json", photos[0])
    assert result.exit_code == 2
    assert photos[0].read_bytes() == before


def test_a_folder_without_photos_is_a_sentence(tmp_path):
    result = run("--photos", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "There are no photos" in result.stderr


def test_senseless_numbers_are_refused():
    for flag in ("--batch-size", "--num-beams", "--words", "--rounds"):
        assert run(flag, 0).exit_code == 2


def test_training_is_printed_and_written(model, photos, tmp_path):
    out = tmp_path / "out.json"
    quick = ["--batch-size", "2", "--captions-per-photo", "2", "--rounds", "1"]
    result = run("train", *model, *quick, "--photos", photos[0].parent, "--json", out)
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())["rows"]
    lines = result.stdout.splitlines()
    assert [row["way"] for row in rows] == [line[:32].strip() for line in lines[2:]]
    assert f"{rows[1]['ratio']:.2f} (" in lines[3]


def test_flags_before_train_are_refused():
    result = run("--rounds", 1, "train")
    assert result.exit_code == 2
    assert "--rounds stands before train; give it after train." in result.stderr
