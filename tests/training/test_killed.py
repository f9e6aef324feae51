"""A run that is killed at random moments, and resumed each time, has the weights of one that was left alone."""

import multiprocessing
import random
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.training.runs import rows_of, untimed, weights_of

from wordgaze.tasks.train import train

KILLS = 8


def run(config, out, said):
    """Train in a process of its own; lines go to a file, which a killed process leaves."""
    torch.set_num_threads(1)
    with Path(said).open("a") as file:
        train(config, out, on_message=lambda line: print(line, file=file, flush=True))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_killed_at_random_moments_has_the_weights_of_one_that_was_not(tmp_path, small_config, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = small_config(train={"epochs": 12, "checkpoint_every": 2, "ema_decay": 0.9})
    # Its processes have imported all that a run needs, and do so once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wordgaze.tasks.train", "tests.training.test_killed"])

    def start(name):
        """Start a run, and return its process when it is about to take its first step."""
        said, times = tmp_path / f"{name}.txt", starts.get(name, 0) + 1
        starts[name] = times
        process = context.Process(target=run, args=(config, tmp_path / name, said))
        process.start()
        while process.is_alive() and (not said.exists() or said.read_text().count(" M learning; ") < times):
            time.sleep(0.01)
        return process

    starts = {}
    start("warm-up").join()
    whole, began = start("whole"), time.monotonic()
    whole.join()
    seconds = time.monotonic() - began
    assert whole.exitcode == 0

    seed = random.randrange(1_000_000)
    print(f"the moments are drawn with seed {seed}")
    moments = random.Random(seed)
    kills = 0
    while kills < KILLS:
        process = start("killed")
        process.join(moments.uniform(0, 0.25) * seconds)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    last = start("killed")
    last.join()
    assert last.exitcode == 0
    resumed = [line for line in (tmp_path / "killed.txt").read_text().splitlines() if line.startswith("resuming from")]
    steps = [int(line.rpartition(" ")[2]) for line in resumed]
    print(f"{kills} times killed, resumed at the steps {steps}")
    assert kills >= 3 and steps == sorted(steps) and any(step % 5 for step in steps)
    for name in ("log.csv", "samples.csv"):
        rows, others = (rows_of(tmp_path / folder / name) for folder in ("whole", "killed"))
        assert [untimed(row) for row in rows] == [untimed(row) for row in others]
    weights = weights_of(tmp_path / "killed")
    for name, tensor in weights_of(tmp_path / "whole").items():
        assert torch.equal(tensor, weights[name]), name
    names = {path.name for path in (tmp_path / "killed").iterdir()}
    assert names == {path.name for path in (tmp_path / "whole").iterdir()}
    assert {path.suffix for path in (tmp_path / "killed" / "checkpoints").iterdir()} == {".ckpt", ".json"}
