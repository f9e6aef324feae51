"""Several devices share the photos out: here two processes on the CPU, started by Lightning as it would on GPUs."""

import csv
import subprocess
import sys

import pytest

from wordgaze.hub import load_folder
from wordgaze.tasks.train import describe


@pytest.mark.slow
def test_two_processes_train_validate_and_go_on(tmp_path, small_config):
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(
        describe(small_config(train={"devices": 2, "checkpoint_every": 2}, data={"batch_size": 4}))
    )
    command = [sys.executable, "-m", "wordgaze", "train", "--config", str(config), "--out", str(run)]
    for epochs in (1, 2):
        done = subprocess.run(
            [*command, f"--train.epochs={epochs}"], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        # What the first process says, the second does not say again.
        assert done.stderr.count("40 training photos") == 1
        assert done.stdout.count("CIDEr") == 1
        assert ("going on from" in done.stderr) == (epochs == 2)
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # 40 photos, 4 a step on each of two devices: five steps an epoch.
    assert [row["step"] for row in rows if row["loss"]] == [str(step) for step in range(1, 11)]
    assert [row["step"] for row in rows if row["CIDEr"]] == ["5", "10"]
    with (run / "samples.csv").open(newline="") as file:
        samples = list(csv.DictReader(file))
    assert len(samples) == 2 * 8
    assert all(row["caption"] for row in samples)  # each process captions half of the photos
    assert load_folder(run).model.grid == (3, 3)
