"""``wordgaze caption``: what goes to stdout, what to stderr, and which status it ends with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.folder import save_confidence
from wordgaze.generation.confidence import FEATURES, Confidence


@pytest.fixture(scope="module")
def sure_model(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same model with a confidence, which differs from caption to caption."""
    folder = Path(shutil.copytree(model_folder, tmp_path_factory.mktemp("sure") / "model"))
    save_confidence(Confidence(1.0, dict.fromkeys(FEATURES, 0.1)), folder)
    return ["--model", str(folder), "--device", "cpu"]


def caption(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["caption", *map(str, arguments)])


def test_a_line_a_photo_in_the_order_of_the_arguments(model: list[str], model_folder: Path, photos: list[Path]) -> None:
    result = caption(photos[3], photos[0], photos[3], *model)
    captioner = Captioner.from_pretrained(model_folder, "cpu")
    captions = {photo: str(captioner.caption(photo)) for photo in photos}
    assert result.stdout.splitlines() == [f"{p}\t{captions[p]}" for p in (photos[3], photos[0], photos[3])]
    assert result.stderr == "" and result.exit_code == 0
    assert captions[photos[0]] != captions[photos[3]]


def test_the_rest_is_done_when_some_fail(model: list[str], mixed: Path) -> None:
    result = caption(mixed, mixed / "nothere.jpg", *model, "--batch-size", 3)
    done = [Path(line.split("\t")[0]).name for line in result.stdout.splitlines()]
    assert done == ["b.png", "c.png", "d.png", "e.png", "f.png", "g.png"]
    left_out, *failed = result.stderr.splitlines()
    assert left_out == "wordgaze: left out: 1 .txt"
    assert [line.split(": ")[:2] for line in failed] == [
        ["wordgaze", str(mixed / name)] for name in ("a.jpg", "d2.png", "nothere.jpg")
    ]
    assert "no such file" in failed[2]
    assert result.exit_code == 1


def test_json_has_an_object_a_line_failures_too(model: list[str], mixed: Path) -> None:
    result = caption(mixed, *model, "--json", "--num-captions", 2)
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    names = [Path(value["file"]).name for value in objects]
    assert names == ["a.jpg", "b.png", "c.png", "d.png", "d2.png", "e.png", "f.png", "g.png"]
    assert list(objects[0]) == ["file", "error"]
    assert list(objects[1]) == ["file", "caption", "log_probability", "words", "alternatives"]
    assert list(objects[1]["words"][0]) == ["word", "probability"]
    assert " ".join(word["word"] for word in objects[1]["words"]) == objects[1]["caption"]
    assert list(objects[1]["alternatives"][0]) == ["caption", "log_probability", "words"]
    assert result.stderr == "wordgaze: left out: 1 .txt\n" and result.exit_code == 1


def test_flags_of_generation_reach_the_search(model: list[str], photos: list[Path]) -> None:
    def lines(*flags: str) -> list[str]:
        result = caption(photos[0], *model, "--json", *flags)
        assert result.exit_code == 0, result.stderr
        return [value["caption"] for value in map(json.loads, result.stdout.splitlines())]

    assert len(lines("--max-length", "2")[0]) < len(lines("--min-length", "8")[0])
    sampled = [lines("--sample", "--temperature", "5", "--seed", str(seed)) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_confidence_is_a_third_column(model: list[str], sure_model: list[str], mixed: Path) -> None:
    plain, sure = caption(mixed, *model), caption(mixed, *sure_model, "--confidence")
    columns = [line.split("\t") for line in sure.stdout.splitlines()]
    assert ["\t".join(row[:2]) for row in columns] == plain.stdout.splitlines()
    values = [json.loads(line) for line in caption(mixed, *sure_model, "--json").stdout.splitlines()]
    expected = [value["confidence"] for value in values if "error" not in value]
    assert [row[2] for row in columns] == [f"{confidence:.2f}" for confidence in expected]
    assert all(0 < confidence < 1 for confidence in expected) and len(set(expected)) > 1
    assert sure.exit_code == 1 and sure.stderr == plain.stderr and len(sure.stderr.splitlines()) == 3
    assert caption(mixed, *sure_model).stdout == plain.stdout  # nobody asked


def test_json_has_the_confidence_of_the_best_caption(sure_model: list[str], photos: list[Path]) -> None:
    result = caption(photos[0], *sure_model, "--json", "--confidence", "--num-captions", "2")
    [value] = map(json.loads, result.stdout.splitlines())
    assert list(value) == ["file", "caption", "log_probability", "confidence", "words", "alternatives"]
    assert "confidence" not in value["alternatives"][0]


def test_samples_have_no_confidence(sure_model: list[str], photos: list[Path]) -> None:
    [value] = map(json.loads, caption(photos[0], *sure_model, "--json", "--sample").stdout.splitlines())
    assert "confidence" not in value
    result = caption(photos[0], *sure_model, "--confidence", "--sample")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("wordgaze: A sampled caption has no confidence")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["--num-beams", "0"], "num_beams is 0"),
        (["--num-captions", "9"], "9 captions from 2 beams"),
        (["--max-length", "25"], "max_length is 25"),
        (["--device", "gpu7"], "'gpu7'"),
        (["--precision", "float8"], "float8"),
        (["--batch-size", "0"], "batch-size"),
        (["--no-such-flag"], "no-such-flag"),
        (["--confidence"], "has no confidence"),
        (["--model", "./nothere"], "nothere does not exist"),
    ],
)
def test_a_wrong_command_ends_with_2_and_captions_nothing(
    model: list[str], photos: list[Path], arguments: list[str], message: str
) -> None:
    result = caption(*([photos[0]] if arguments else []), *model, *arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert message in result.stderr and "Traceback" not in result.stderr


def test_an_empty_folder_is_a_wrong_command(model: list[str], tmp_path: Path) -> None:
    result = caption(tmp_path, *model)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"wordgaze: There are no photos in {tmp_path}")


def test_a_name_that_is_no_text_leaves_as_its_bytes(model: list[str], photos: list[Path]) -> None:
    name = photos[0].with_name(os.fsdecode(b"\xff.png"))
    photos[0].rename(name)
    result = caption(name, *model)
    assert result.stdout_bytes.startswith(os.fsencode(name) + b"\t") and result.exit_code == 0


def test_another_process_says_the_same_in_valid_json(model: list[str], model_folder: Path, photos: list[Path]) -> None:
    odd = photos[0].with_name(os.fsdecode(b"\xff\xc3\xa4.png"))
    photos[0].rename(odd)
    done = subprocess.run(
        [sys.executable, "-m", "wordgaze.cli.main", "caption", odd, photos[1], *model, "--json"],
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "1"},
        check=True,
    )
    assert done.stderr == b""
    text = done.stdout.decode("utf-8")
    values = [json.loads(line) for line in text.splitlines()]
    assert [os.fsencode(value["file"]) for value in values] == [os.fsencode(odd), os.fsencode(photos[1])]
    assert "ä" in text
    captions = Captioner.from_pretrained(model_folder, "cpu").caption([odd, photos[1]])
    assert [value["caption"] for value in values] == list(map(str, captions))
