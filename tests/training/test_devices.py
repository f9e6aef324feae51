"""Several devices share the photos out: here two processes on the CPU, started by Lightning as it would on GPUs."""

import csv
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.runs import losses_of, rows_of, untimed, weights_of

from wordgaze.data.captions import Source
from wordgaze.data.shapes import write_shapes
from wordgaze.errors import ConfigError
from wordgaze.folder import load_folder
from wordgaze.tasks.train import describe
from wordgaze.training.config import DecoderOptions, EncoderOptions, TokenizerOptions
from wordgaze.training.devices import choose_precision, device_ids


@pytest.mark.slow
def test_two_processes_train_validate_and_go_on(tmp_path, small_config):
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(describe(small_config(train={"devices": 2, "checkpoint_every": 2}, data={"batch_size": 4})))
    command = [sys.executable, "-m", "wordgaze", "train", "--config", str(config), "--out", str(run)]
    for epochs in (1, 2):
        done = subprocess.run([*command, f"--train.epochs={epochs}"], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        # What the first process says, the second does not say again.
        assert done.stderr.count("40 training photos") == 1
        assert done.stdout.count("CIDEr") == 1
        assert ("resuming from" in done.stderr) == (epochs == 2)
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


@pytest.mark.slow
def test_a_model_in_shares_learns_what_a_whole_one_does(tmp_path, small_config):
    """Each resumes once; layers that are frozen, and those that learn; the saved model is whole."""
    options = {"devices": 2, "ema_decay": 0.0, "precision": "float32"}
    config = small_config(train=options, data={"batch_size": 4}, encoder={"freeze": 2}, decoder={"dropout": 0.0})
    (tmp_path / "config.yaml").write_text(describe(config))
    command = [sys.executable, "-m", "wordgaze", "train", "--config", str(tmp_path / "config.yaml")]
    for strategy in ("ddp", "fsdp"):
        for epochs in (1, 2):
            settings = [f"--train.strategy={strategy}", f"--train.epochs={epochs}", "--out", str(tmp_path / strategy)]
            done = subprocess.run([*command, *settings], capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
    whole, shares = (losses_of(tmp_path / strategy) for strategy in ("ddp", "fsdp"))
    assert [float(shares[step]) for step in shares] == pytest.approx([float(whole[step]) for step in whole], rel=1e-4)
    one, other = weights_of(tmp_path / "ddp"), weights_of(tmp_path / "fsdp")
    assert one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)


def test_shares_have_no_average(small_config):
    with pytest.raises(ConfigError, match=r"set train\.ema_decay to 0"):
        small_config(train={"strategy": "fsdp"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--train.learning_rate=1e30", "--train.epochs=60"], "is not finite at step|are not finite at step"),
        (["--train.epochs=2"], r"photo \S+000003.png can't be used: it is damaged"),
        (["--train.epochs=2", "--data.on_broken=skip"], None),
    ],
    ids=["not finite", "stop", "skip"],
)
def test_two_processes_end_together(tmp_path, small_config, options, sentence):
    source = small_config().data.train[0]
    folder = tmp_path / "shapes"
    shutil.copytree(Path(source.captions).parent, folder)
    photo = folder / "photos" / "000003.png"
    photo.write_bytes(photo.read_bytes()[:60])
    source = replace(source, captions=str(folder / "captions.json"))
    config = small_config(train={"devices": 2, "log_every": 2}, data={"batch_size": 4, "train": [source]})
    (tmp_path / "config.yaml").write_text(describe(config))
    # As if the photo had broken after it was looked at.
    script = tmp_path / "command.py"
    script.write_text(
        "from wordgaze.cli.main import main\nfrom wordgaze.training import load_data\n"
        "load_data.find_broken = lambda paths, say: {}\nmain(prog_name='wordgaze')\n"
    )
    arguments = ["train", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run"), *options]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=300)
    if sentence is None:
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("left out: the photo") == 1
    else:
        assert done.returncode == 2, done.stderr
        assert re.search(sentence, done.stderr), done.stderr
        assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists() or "not finite" in sentence
        assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(tmp_path, small_config):
    """Sets that two don't share evenly, and one that leaves a process without a photo; scored by the bundled model."""
    sets = {
        name: Source(str(write_shapes(tmp_path / name, count, seed=3, size=64)))
        for name, count in (("seven", 7), ("one", 1))
    }
    config = small_config(
        train={"initial_model": "bundled", "max_steps": 1, "learning_rate": 0.0, "precision": "float32"},
        data={"validation": sets, "batch_size": 4},
    )
    sizes = {"tokenizer": TokenizerOptions(), "decoder": DecoderOptions()}
    config = replace(config, encoder=EncoderOptions(learning_rate=0.0), **sizes)
    (tmp_path / "config.yaml").write_text(describe(config))
    rows, captions = {}, {}
    for devices in (1, 2):
        out = tmp_path / str(devices)
        command = [sys.executable, "-m", "wordgaze", "train", "--config", str(tmp_path / "config.yaml")]
        done = subprocess.run(
            [*command, "--out", str(out), f"--train.devices={devices}"], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        rows[devices] = [untimed(row) for row in rows_of(out / "log.csv") if row["CIDEr"]]
        captions[devices] = rows_of(out / "samples.csv")
    assert rows[1] == rows[2]
    assert captions[1] == captions[2]
    assert len(rows[1]) == 2 and float(rows[1][0]["CIDEr/seven"]) > 0


@pytest.mark.parametrize(
    ("wanted", "avx512_bf16", "amx", "expected"),
    [
        ("auto", True, False, "bf16-mixed"),
        ("auto", False, True, "bf16-mixed"),
        ("auto", False, False, "32-true"),
        ("bfloat16", False, False, "bf16-mixed"),
        ("float32", True, True, "32-true"),
    ],
)
def test_bfloat16_is_taken_where_it_is_faster(monkeypatch, wanted, avx512_bf16, amx, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_precision(wanted, "cpu") == expected


@pytest.mark.parametrize(
    ("devices", "ids"), [(1, [0]), (3, [0, 1, 2]), ("0,2", [0, 2]), ("1,", [1]), ("a", []), ("-1,0", [])]
)
def test_devices_are_a_number_or_ids(devices, ids):
    assert device_ids(devices) == ids
