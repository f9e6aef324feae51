"""Runs into files that end early: by a signal, a full disk, a folder that goes; each is said, and a rerun completes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.cli import stand_in

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main

SUFFIXES = ["jsonl", "csv", "parquet"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        stand_in.draw(folder / f"{number:02}.png", number)
    return folder


class Disk(stand_in.StandIn):
    """A captioner that lets something happen to the disk before its third batch."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__(0)
        self._happens, self._batches = happens, 0

    def caption_pixels(self, *arguments: Any, **others: Any) -> Any:
        self._batches += 1
        if self._batches == 3:
            self._happens()
        return super().caption_pixels(*arguments, **others)


def caption(monkeypatch: pytest.MonkeyPatch, captioner: stand_in.StandIn, *arguments: object) -> Result:
    monkeypatch.setattr(Captioner, "from_pretrained", lambda *_, **__: captioner)
    return CliRunner().invoke(main, ["caption", "--batch-size", "2", *map(str, arguments)])


def completes(monkeypatch: pytest.MonkeyPatch, folder: Path, out: Path, *flags: str) -> None:
    """Check that a rerun does the rest."""
    result = caption(monkeypatch, stand_in.StandIn(0), folder, "-o", out, *flags)
    assert result.exit_code == 0, result.output
    assert "written" in result.stderr
    again = caption(monkeypatch, stand_in.StandIn(0), folder, "-o", out, *flags)
    assert again.stderr.endswith(f"{out}: 12 skipped (captioned before)\n")
    if out.suffix == ".jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert sorted(row["caption"] for row in rows) == sorted(map(stand_in.caption_of, range(12)))


def fill(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Let every write that goes on the disk fail, after half of what it is given."""
    true_write = os.write

    def write(handle: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(error, os.strerror(error))
        return true_write(handle, data[: len(data) // 2])

    def fsync(handle: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO], ids=["full", "read-only", "broken"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_takes_no_more_is_said_and_leaves_no_half_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, error: int
) -> None:
    out = folder.parent / f"rows.{suffix}"
    with monkeypatch.context() as patch:
        result = caption(patch, Disk(lambda: fill(patch, error)), folder, "-o", out)
    assert result.exit_code == 2 and result.stdout == ""
    lines = out if suffix != "parquet" else out.with_name("rows.parquet.partial.jsonl")
    assert f"wordgaze: {lines}: {os.strerror(error)}" in result.stderr
    assert lines.read_bytes().endswith(b"\n") and lines.read_bytes().count(b".png") >= 3
    completes(monkeypatch, folder, out)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["photos", out.name]


def test_a_disk_that_is_full_for_sidecars_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder.parent / "rows.jsonl"
    with monkeypatch.context() as patch:
        result = caption(patch, Disk(lambda: fill(patch, errno.ENOSPC)), folder, "--sidecar", ".txt", "-o", out)
    assert result.exit_code == 2
    assert f"wordgaze: {folder / '03.txt'}: No space left on device; free some space" in result.stderr
    assert len(list(folder.glob("*.txt"))) == 3
    completes(monkeypatch, folder, out, "--sidecar", ".txt")
    assert len(list(folder.iterdir())) == 24


def test_a_folder_of_photos_that_vanishes_makes_no_failures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive that is unplugged: what is decoded is captioned, and no row says that a photo does not exist."""
    out, away = folder.parent / "rows.jsonl", folder.parent / "away"
    for number in range(12, 100):
        stand_in.draw(folder / f"{number:02}.png", number)
    result = caption(monkeypatch, Disk(lambda: folder.rename(away)), folder, "-o", out)
    assert result.exit_code == 2
    assert f"wordgaze: The folder {folder} has vanished while its photos were captioned" in result.stderr
    assert "error" not in out.read_text() and 3 <= len(out.read_text().splitlines()) < 100
    away.rename(folder)
    result = caption(monkeypatch, stand_in.StandIn(0), folder, "-o", out)
    assert result.exit_code == 0 and len(out.read_text().splitlines()) == 100


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_folder_that_vanishes_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    outputs = folder.parent / "out"
    outputs.mkdir()
    out = outputs / f"rows.{suffix}"
    result = caption(monkeypatch, Disk(lambda: outputs.rename(folder.parent / "x")), folder, "-o", out)
    assert result.exit_code == 2 and "was removed or replaced while it was written" in result.stderr
    result = caption(monkeypatch, stand_in.StandIn(0), folder, "-o", out)
    assert result.exit_code == 2 and f"There is no folder {outputs}" in result.stderr
    outputs.mkdir()
    completes(monkeypatch, folder, out)


def test_a_photo_s_error_is_a_row_when_its_folder_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder.parent / "rows.jsonl"
    for number in range(12, 40):
        stand_in.draw(folder / f"{number:02}.png", number)
    result = caption(monkeypatch, Disk((folder / "39.png").unlink), folder, "-o", out)
    assert result.exit_code == 1 and "failed: no such file (1)" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="has other signals")
@pytest.mark.parametrize("flags", [["-o", "rows.jsonl"], pytest.param(["--json"], marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_batch_finish_and_then_ends_the_run_itself(
    folder: Path, number: signal.Signals, flags: list[str]
) -> None:
    """A shell shows 143 and 130; a full temporary folder, here none at all, matters to nothing."""
    environment = {**os.environ, "TMPDIR": str(folder / "nowhere")}
    command = [sys.executable, "-m", "tests.cli.stand_in", "0.3", "photos", "--batch-size", "4", *flags]
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    log = folder.parent / "log.txt"
    rows = folder.parent / "rows.jsonl"
    with log.open("wb") as err, (folder.parent / "out.jsonl").open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder.parent,
            env=environment,
            stdout=out,
            stderr=err,
            # A shell that runs the tests in the background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        written = rows if "-o" in flags else folder.parent / "out.jsonl"
        while process.poll() is None and not (written.exists() and written.stat().st_size):
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait() == -number
    # Batches of one, two, four, ...: the one that was under way is whole.
    captioned = [json.loads(line)["caption"] for line in written.read_text().splitlines()]
    assert len(captioned) in (3, 7) and captioned == list(map(stand_in.caption_of, range(len(captioned))))
    assert f"stopped by {number.name}; the same command resumes" in log.read_text()
    assert "Traceback" not in log.read_text()
