"""Several workers share the shards by claims, are killed at random, and each photo gets its row exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.captioning.shards.standin import caption_of, layout, rows_of, write_tar

ROOT = Path(__file__).resolve().parents[3]
SHARDS, PHOTOS = 8, 30


def start(out: Path, tars: list[Path], seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.captioning.shards.standin", str(out), str(seconds), *map(str, tars)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def make_tars(folder: Path) -> list[Path]:
    return [write_tar(folder / f"{n:05}.tar", layout(PHOTOS * n, PHOTOS)) for n in range(SHARDS)]


def check(out: Path) -> None:
    for shard in range(SHARDS):
        rows = rows_of(out, f"{shard:05}")
        numbers = range(PHOTOS * shard, PHOTOS * (shard + 1))
        assert [row.key for row in rows] == [f"{number:09}" for number in numbers]
        assert [row.caption for row in rows] == [caption_of(number) for number in numbers]
    names = sorted(name for name in os.listdir(out) if not name.startswith("wordgaze_plan_"))
    assert names == [f"{shard:05}{end}" for shard in range(SHARDS) for end in (".jsonl", "_stats.json")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_workers_killed_at_random_moments_lose_and_double_nothing(tmp_path: Path, kind: signal.Signals) -> None:
    """A stopped worker sleeps through its claim's expiry, and goes on when others have done its shard."""
    tars, out, chance = make_tars(tmp_path), tmp_path / "out", random.Random(27)
    workers = [start(out, tars, 0.03) for _ in range(3)]
    stopped = []
    for _ in range(12):
        time.sleep(chance.uniform(0.05, 0.6))
        victim = chance.randrange(len(workers))
        if workers[victim].poll() is not None:
            break
        workers[victim].send_signal(kind)
        if kind == signal.SIGSTOP:
            stopped.append(workers[victim])
        else:
            assert workers[victim].wait(30) == -kind
        workers[victim] = start(out, tars, 0.03)
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    check(out)
    for worker in stopped:
        worker.send_signal(signal.SIGCONT)
    for worker in stopped:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
    check(out)


def test_three_workers_share_the_shards(tmp_path: Path) -> None:
    tars, out = make_tars(tmp_path), tmp_path / "out"
    workers = [start(out, tars, 0.01) for _ in range(3)]
    done = []
    for worker in workers:
        output, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
        done += output.splitlines()
    # Each worker names all shards, and each shard is one worker's own.
    assert len(done) == 3 * SHARDS and sorted(line[:5] for line in done if line.endswith("True")) == [
        f"{shard:05}" for shard in range(SHARDS)
    ]
    check(out)
