"""``wordgaze caption --out-dir``: shards of tars and lists with a real, small model."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.captioning.shards.standin import write_tar

from wordgaze.cli.main import main
from wordgaze.errors import ConfigError
from wordgaze.tasks.caption_shards import parse_part


def caption(model: list[str], *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["caption", *map(str, arguments), *model])


def json_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def tar(photos: list[Path], tmp_path: Path) -> Path:
    return write_tar(tmp_path / "tars" / "00000.tar", {photo.name: photo.read_bytes() for photo in photos})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()


def test_a_tar_gives_the_captions_of_its_photos(
    model: list[str], tar: Path, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = caption(model, tar, "--out-dir", out, "--batch-size", "3")
    assert done.exit_code == 0 and done.stdout == ""
    assert "00000: 6 photos (6 success)" in done.stderr and "1 of 1 shards done: 6 of 6 photos captioned" in done.stderr
    rows = json_rows(out / "00000.jsonl")
    plain = caption(model, *photos, "--json", "--batch-size", "3")
    expected = [json.loads(line) for line in plain.stdout.splitlines()]
    assert [row["caption"] for row in rows] == [row["caption"] for row in expected]
    assert [row["log_probability"] for row in rows] == pytest.approx([row["log_probability"] for row in expected])
    assert (rows[0]["width"], rows[0]["height"]) == (120, 90)
    again = caption(model, tar, "--out-dir", out)
    assert again.exit_code == 0 and "1 of 1 shards done, 1 of them by other runs: 6 of 6" in again.stderr
    other = caption(model, tar, "--out-dir", out, "--num-beams", "3")
    assert other.exit_code == 2 and "other options (num_beams" in other.stderr


def test_a_folder_exits_with_1_until_each_photo_is_captioned(model: list[str], mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (mixed, "--out-dir", out)
    for _ in range(2):
        done = caption(model, *arguments)
        assert done.exit_code == 1
        assert "6 of 8 photos captioned" in done.stderr and "1 not captioned: is not a photo" in done.stderr
    for name in ("a.jpg", "d2.png"):
        shutil.copy(mixed / "b.png", mixed / name)
    retried = caption(model, *arguments, "--retry", "failed")
    assert retried.exit_code == 0 and "8 of 8 photos captioned" in retried.stderr
    assert [row["status"] for row in json_rows(out / "00000.jsonl")] == ["success"] * 8


def test_a_list_may_name_tars(model: list[str], tar: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{tar}\n")
    done = caption(model, "--files-from", tmp_path / "list", "--out-dir", tmp_path / "out", "--shard", "0/2")
    assert done.exit_code == 0 and (tmp_path / "out" / "00000.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["TAR"], "00000.tar is a tar of photos; give --out-dir DIR"),
        (["TAR", "--claim"], "give --out-dir DIR"),
        (["photo.jpg", "--claim"], "are for --out-dir; add --out-dir DIR"),
        (["photo.jpg", "--retry", "failed"], "--retry is for -o and --out-dir"),
        (["TAR", "--out-dir", "OUT", "--claim", "--shard", "0/2"], "give one of the two"),
        (["TAR", "--out-dir", "OUT", "--shard", "2/2"], "give I/N"),
        (["TAR", "--out-dir", "OUT", "--shard", "auto"], "needs the variables of SLURM or torchrun"),
        (["TAR", "--out-dir", "TARS"], "The tars lie in"),
        (["TAR", "TAR", "--out-dir", "OUT"], "would both be written as 00000"),
        (["TAR", "photo.jpg", "--out-dir", "OUT"], "photo.jpg is not a tar"),
        (["TAR", "--out-dir", "OUT", "--json"], "leave out --json"),
        (["TAR", "--out-dir", "OUT", "--sidecar", ".txt"], "leave out --json, --confidence, -o, --sidecar and --xmp"),
        (["--out-dir", "OUT"], "Missing argument"),
    ],
)
def test_wrong_arguments(
    model: list[str], tar: Path, tmp_path: Path, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    names = {"TAR": str(tar), "OUT": str(tmp_path / "out"), "TARS": str(tar.parent)}
    done = caption(model, *(names.get(argument, argument) for argument in arguments))
    assert done.exit_code == 2 and sentence in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists() and os.listdir(tar.parent) == ["00000.tar"]


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"RANK": "1", "WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, (1, 4)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, (3, 8)),
        ("SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=5 SLURM_ARRAY_TASK_MAX=9 SLURM_ARRAY_TASK_COUNT=5", (2, 5)),
        (
            "SLURM_ARRAY_TASK_ID=6 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=8 SLURM_ARRAY_TASK_COUNT=5 "
            "SLURM_ARRAY_TASK_STEP=2 SLURM_PROCID=1 SLURM_NTASKS=2",
            (7, 10),
        ),
        ("SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=7 SLURM_ARRAY_TASK_COUNT=2", None),
        ({"RANK": "x", "WORLD_SIZE": "4"}, None),
        ({"RANK": "1"}, None),
        ({}, None),
    ],
)
def test_the_part_of_a_machine(environment: dict[str, str] | str, part: tuple[int, int] | None) -> None:
    if isinstance(environment, str):
        environment = dict(pair.split("=") for pair in environment.split())
    if part is None:
        with pytest.raises(ConfigError, match="give --shard I/N"):
            parse_part("auto", environment)
    else:
        assert parse_part("auto", environment) == part
    assert parse_part("3/7", environment) == (3, 7)
