"""Runs that are killed at random moments and given again: each photo captioned exactly once, and nothing left over."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image
from tests.cli import stand_in
from tests.model_folder import draw_photo

from wordgaze.captioning.sinks.lines import CsvLines, JsonLines, Row
from wordgaze.captioning.sinks.parquet import partial_file, read_parquet
from wordgaze.cli.main import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

KILLS = 25
"""Of each of the four kinds of runs."""
PHOTOS = 120


def quietly(log: Path, run: Callable[..., object], *arguments: object) -> None:
    """Run in a process of its own, whose stderr goes to a file and whose stdout must stay empty."""
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    run(*arguments)


def start(folder: Path, run: Callable[..., object], *arguments: object) -> multiprocessing.process.BaseProcess:
    """Start a process that has imported all that a run needs, so that most moments are within the run."""
    for name in ("cli.caption", "tasks.alt_texts", "tasks.folder_run"):
        import_module(f"wordgaze.{name}")
    Image.init()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=quietly, args=(folder / "log.txt", run, *arguments))
    process.start()
    return process


def caption(*arguments: str) -> None:
    main(["caption", *arguments], prog_name="wordgaze")


def rows_in(path: Path) -> list[Row]:
    """Return the whole rows of a file; at most its last line is not whole."""
    if path.suffix == ".parquet":
        if not partial_file(path).exists():
            return list(read_parquet(path)) if path.exists() else []
        path = partial_file(path)
    if not path.exists():
        return []
    lines = CsvLines() if path.suffix == ".csv" else JsonLines()
    found = path.read_bytes().splitlines(keepends=True)
    return [lines.decode(line) for line in found if line.endswith(b"\n") and line != lines.header]


def lines_in(path: Path) -> int:
    """Return how many lines a run has written: into the file, the one that Parquet is made from, and the journal."""
    lines = 0
    for file in path.parent.glob(f"{path.name}*"):
        # The journal may go meanwhile.
        with suppress(FileNotFoundError):
            lines += 0 if file.suffix == ".parquet" else file.read_bytes().count(b"\n")
    return lines


def check_rows(path: Path, before: list[Row], photos: list[Path]) -> list[Row]:
    """Return a killed run's rows: those of before are still there, and no photo has two."""
    rows = rows_in(path)
    count = Counter(row["file"] for row in rows)
    assert set(count) <= set(map(str, photos)) and set(count.values()) <= {1}
    assert {row["file"] for row in before} <= set(count)
    captions = {row["file"]: row.get("caption") for row in rows}
    assert all(captions[row["file"]] == row["caption"] for row in before if "caption" in row)
    return rows


@pytest.fixture(scope="module")
def moments() -> random.Random:
    seed = random.randrange(1_000_000)
    print(f"the moments are drawn with seed {seed}")
    return random.Random(seed)


KINDS = {
    "rows.jsonl": ["--sidecar", ".txt", "--xmp", "sidecar"],
    "rows.csv": [],
    "rows.parquet": ["--sidecar", ".caption"],
    "retried.jsonl": ["--retry", "failed"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KINDS])
def test_runs_killed_at_random_moments_lose_nothing(tmp_path: Path, moments: random.Random, name: str) -> None:
    """The process of the stand-in captioner starts in milliseconds, so that most moments are within the run."""
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    folder, out = tmp_path / "photos", tmp_path / name
    command = (0.005, str(folder), "-o", str(out), "--batch-size", "4", *KINDS[name])
    kills = rounds = 0
    seen: set[int] = set()
    while kills < KILLS:
        rounds += 1
        photos, rows = begin(folder, out, command), []
        while kills < KILLS:
            process = start(tmp_path, stand_in.run, *command)
            # However busy the machine is: after some more rows, or perhaps before the first.
            wanted = lines_in(out) + moments.randint(0, 16)
            while process.is_alive() and lines_in(out) < wanted:
                time.sleep(0.001)
            process.join(moments.uniform(0, 0.02))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += 1
            rows = check_rows(out, rows, photos)
            seen.add(lines_in(out))
            for sidecar in folder.glob("*.txt"):
                assert sidecar.read_text() == f"{stand_in.caption_of(int(sidecar.stem))}\n"
        finish(tmp_path, command, photos, out)
    print(f"{name}: {kills} kills in {rounds} rounds, with {len(seen)} different numbers of rows")
    assert len(seen) >= 8


def begin(folder: Path, out: Path, command: tuple) -> list[Path]:
    """Return new photos; those to be retried have failed in a first run."""
    shutil.rmtree(folder, ignore_errors=True)
    out.unlink(missing_ok=True)
    folder.mkdir()
    photos = [stand_in.draw(folder / f"{number:03}.png", number) for number in range(PHOTOS)]
    if "--retry" not in command:
        return photos
    kept = {photo: photo.read_bytes() for photo in photos}
    for photo in photos:
        photo.write_bytes(b"")
    first = start(folder.parent, stand_in.run, *command)
    first.join()
    assert first.exitcode == 1
    for photo, data in kept.items():
        photo.write_bytes(data)
    return photos


def finish(folder: Path, command: tuple, photos: list[Path], out: Path) -> None:
    """Let a last run complete; each photo then has its one caption, and nothing else is there."""
    last = start(folder, stand_in.run, *command)
    last.join()
    assert last.exitcode == 0, (folder / "log.txt").read_text()
    rows = rows_in(out)
    assert sorted((row["file"], row["caption"]) for row in rows) == [
        (str(photo), stand_in.caption_of(number)) for number, photo in enumerate(photos)
    ]
    suffixes = {flag for flag in command if str(flag) in (".txt", ".caption")}
    assert sorted(path.name for path in folder.iterdir()) == sorted(["log.txt", "photos", out.name])
    expected = [photo.name for photo in photos]
    expected += [photo.with_suffix(suffix).name for suffix in suffixes for photo in photos]
    expected += [f"{photo.name}.xmp" for photo in photos if "--xmp" in command]
    assert sorted(path.name for path in photos[0].parent.iterdir()) == sorted(expected)


def test_the_bundled_model_killed_twice_captions_each_photo_once(tmp_path: Path, moments: random.Random) -> None:
    folder, out = tmp_path / "photos", tmp_path / "rows.jsonl"
    folder.mkdir()
    photos = [draw_photo(folder / f"{number:02}.png", number) for number in range(9)]
    arguments = (str(folder), "-o", str(out), "--sidecar", ".txt", "--batch-size", "2", "--num-beams", "1")
    rows: list[Row] = []
    for _ in range(2):
        process = start(tmp_path, caption, *arguments)
        wanted = len(rows) + moments.randint(1, 3)
        while process.is_alive() and len(rows_in(out)) < wanted:
            time.sleep(0.005)
        process.kill()
        process.join()
        rows = check_rows(out, rows, photos)
        assert wanted <= len(rows) < len(photos)
    last = start(tmp_path, caption, *arguments)
    last.join()
    assert last.exitcode == 0, (tmp_path / "log.txt").read_text()
    captions = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["file"] for row in captions] == [str(photo) for photo in photos]
    assert [photo.with_suffix(".txt").read_text() for photo in photos] == [f"{row['caption']}\n" for row in captions]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "photos", "rows.jsonl"]
