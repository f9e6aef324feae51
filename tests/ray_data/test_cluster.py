"""`python -m wordgaze.ray_data` on a cluster of two workers, one of which is killed in mid-run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.captioning.shards.standin import rows_of

from wordgaze.captioner import Captioner
from wordgaze.data.listing import photos_in
from wordgaze.ray_data import __main__ as script
from wordgaze.tasks.caption_shards import shard_run, shards_of_photos

SRC = Path(__file__).resolve().parents[2] / "src"
COPIES, PHOTOS_AT_ONCE = 40, 8


@pytest.fixture
def ray_folder() -> Iterator[str]:
    # Sockets have short names.
    folder = tempfile.mkdtemp(prefix="wg", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def workers(ray_folder: str) -> list[int]:
    """Return the processes of the cluster in ``ray_folder`` that caption."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if (
            name.startswith(b"ray::MapWorker(MapBatches(CaptionTable))")
            and f"RAY_TMPDIR={ray_folder}\0".encode() in environment
        ):
            pids.append(int(process.name))
    return pids


def start(command: list[str], ray_folder: str, log: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_TMPDIR": ray_folder, "PYTHONPATH": str(SRC), "RAY_USAGE_STATS_ENABLED": "0"}
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "wordgaze.ray_data", *command], stdout=file, stderr=file, env=environment
        )


def rows_in(out: Path) -> list[dict[str, Any]]:
    import pyarrow.dataset

    rows = pyarrow.dataset.dataset(str(out / "rows"), format="parquet").to_table().to_pylist()
    return sorted(rows, key=lambda row: row["key"])


@pytest.mark.slow
@pytest.mark.extra("ray")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
def test_a_killed_worker_and_a_killed_run_lose_nothing(
    mixed: Path,
    model_folder: Path,
    captioner: Captioner,
    tmp_path: Path,
    ray_folder: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out, log = tmp_path / "many", tmp_path / "out", tmp_path / "log"
    folder.mkdir()
    for number in range(COPIES):
        for photo in mixed.glob("*.*g"):
            os.link(photo, folder / f"{number:02}{photo.name}")
    command = [str(folder), "--out-dir", str(out), "--model", str(model_folder), "--device", "cpu"]
    command += ["--num-beams", "2", "--photos", str(PHOTOS_AT_ONCE)]

    def started() -> subprocess.Popen[bytes]:
        """Return a run that has written more files than were there."""
        before = len(list(out.glob("rows/*.parquet")))
        run, limit = start(command, ray_folder, log), time.monotonic() + 120
        while run.poll() is None and time.monotonic() < limit and len(list(out.glob("rows/*.parquet"))) < before + 2:
            time.sleep(0.02)
        assert run.poll() is None, log.read_text()
        return run

    # The run itself, with all that it started.
    run = started()
    run.kill()
    run.wait()
    assert len(list(out.glob("checkpoint/*"))) < COPIES
    # A worker.
    run = started()
    os.kill(workers(ray_folder)[0], signal.SIGKILL)
    assert len(list(out.glob("checkpoint/*"))) < COPIES
    assert run.wait(120) == 1, log.read_text()
    assert f"{6 * COPIES} of {8 * COPIES} photos captioned" in log.read_text()

    shards = shards_of_photos(photos_in([folder]).photos)
    list(shard_run(captioner, shards, tmp_path / "shards", captioner.generation_options(num_beams=2)).run())
    expected = [row.__dict__ for row in rows_of(tmp_path / "shards", "00000")]
    numbers = ("log_probability", "confidence")
    found = rows_in(out)
    for row, other in zip(found, expected, strict=True):
        assert {**row, **dict.fromkeys(numbers)} == {**other, **dict.fromkeys(numbers)}
        assert [row[name] for name in numbers] == pytest.approx([other[name] for name in numbers], abs=1e-4)

    # Nothing is left to do, and other options are not mixed in.
    assert start(command, ray_folder, log).wait(120) == 1
    assert rows_in(out) == found
    assert script.main([*command, "--num-beams", "4"]) == 2
    assert "num_beams 2, now 4" in capsys.readouterr().err


def test_arguments_that_make_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["a.tar", "--out-dir", str(tmp_path / "out")]) == 2
    assert "takes no tars" in capsys.readouterr().err
    assert script.main([str(tmp_path), "--out-dir", str(tmp_path / "out")]) == 2
    assert "There are no photos" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.extra("ray")
def test_what_a_folder_of_other_rows_is_told(
    photos: list[Path], model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [str(photos[0]), "--model", str(model_folder), "--out-dir", str(out)]
    assert script.main(["-", *command]) == 2
    assert "stdin has no name" in capsys.readouterr().err
    out.mkdir()
    (out / "notes.txt").touch()
    assert script.main(command) == 2
    assert "holds files that are not of such a run" in capsys.readouterr().err
    (out / "run.json").write_text("{")
    assert script.main(command) == 2
    assert "is damaged, or of another version" in capsys.readouterr().err
