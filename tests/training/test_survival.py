"""A run that is killed, stopped or damaged resumes by the same command, and loses nothing."""

import os
import pickle
import signal
import zipfile
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from tests.training.runs import Interrupt, losses_of, rows_of, untimed, weights_of

from wordgaze.errors import ModelError
from wordgaze.tasks.train import train
from wordgaze.training import module as training_module
from wordgaze.training.checkpoint_file import load_checkpoint, take_place


def steps_in(folder, name="last.ckpt"):
    return load_checkpoint(folder / "checkpoints" / name)["global_step"]


def same(one, other):
    rows, others = (rows_of(folder / "log.csv") for folder in (one, other))
    assert [untimed(row) for row in rows] == [untimed(row) for row in others]
    weights = weights_of(other)
    for name, tensor in weights_of(one).items():
        assert torch.equal(tensor, weights[name]), name


# Damaged checkpoints


def flip_a_byte(path):
    """Change a byte of the largest tensor, which torch reads without a word."""
    with zipfile.ZipFile(path) as file:
        largest = max(file.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(path.read_bytes())
    # A local header of 30 bytes, the name and padding come before the data.
    content[largest.header_offset + 200 + largest.file_size // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage", [flip_a_byte, *(pytest.param(damage, marks=pytest.mark.slow) for damage in (cut, Path.unlink))]
)
def test_the_checkpoint_before_a_damaged_one_is_used_and_said(tmp_path, small_config, damage):
    config = small_config(data={"validation": {}}, train={"epochs": 2, "checkpoint_every": 3})
    whole = train(config, tmp_path / "whole").folder
    again = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        train(config, again, callbacks=[Interrupt(7)])
    assert (steps_in(again, "previous.ckpt"), steps_in(again)) == (5, 6)
    damage(again / "checkpoints" / "last.ckpt")
    said = []
    train(config, again, on_message=said.append)
    assert any(line.endswith("step 5") and line.startswith("resuming from") for line in said)
    warned = [line for line in said if line.startswith("WARNING: The checkpoint") and "last.ckpt can't be read" in line]
    assert bool(warned) == (damage is not Path.unlink)
    same(whole, again)


def test_two_damaged_checkpoints_are_refused_by_the_name_of_the_last(tmp_path, small_config):
    config = small_config(data={"validation": {}}, train={"epochs": 1})
    train(config, tmp_path)
    for name in ("last.ckpt", "previous.ckpt"):
        cut(tmp_path / "checkpoints" / name)
    with pytest.raises(ModelError, match=r"last\.ckpt can't be read .* use --restart"):
        train(config, tmp_path)


def test_a_run_whose_best_was_deleted_has_the_best_of_the_rest(tmp_path, small_config):
    train(small_config(train={"epochs": 1}), tmp_path)
    best = tmp_path / "checkpoints" / "best.ckpt"
    cut(best)
    config = small_config(train={"epochs": 2})
    with pytest.raises(ModelError, match=r"best\.ckpt can't be read .* delete it to resume without it"):
        train(config, tmp_path)
    best.unlink()
    train(config, tmp_path)
    assert steps_in(tmp_path, "best.ckpt") == 10


@pytest.mark.parametrize("links", [True, False])
def test_a_new_checkpoint_makes_the_last_the_previous(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    new, last, previous = (tmp_path / name for name in ("new", "last", "previous"))
    for number in range(3):
        new.write_text(str(number))
        take_place(new, last, previous)
    assert (last.read_text(), previous.read_text()) == ("2", "1")
    assert sorted(tmp_path.iterdir()) == [last, previous]


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_runs_no_code(tmp_path):
    path, touched = tmp_path / "last.ckpt", tmp_path / "touched"
    torch.save({"callbacks": Evil(touched)}, path)
    with pytest.raises(ModelError, match="holds more than tensors and plain values"):
        load_checkpoint(path)
    assert not touched.exists()
    path.write_bytes(pickle.dumps(Evil(touched)))
    with pytest.raises(ModelError, match=r"last\.ckpt"):
        load_checkpoint(path)
    assert not touched.exists()


# Signals


class Send(pl.Callback):
    """Send this process a signal within a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_before_optimizer_step(self, trainer, *_):
        if trainer.global_step == self.step - 1:
            signal.raise_signal(self.number)


@pytest.fixture
def handled(monkeypatch):
    """The signals that reach this process once a run has let them."""
    numbers = []
    before = {n: signal.signal(n, lambda n, _: numbers.append(n)) for n in (signal.SIGTERM, signal.SIGINT)}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_within_a_step_ends_the_run_after_it_and_a_checkpoint(tmp_path, small_config, handled, number):
    config = small_config(data={"validation": {}}, train={"epochs": 2, "checkpoint_every": 1000})
    whole = train(config, tmp_path / "whole").folder
    again, said = tmp_path / "again", []
    with pytest.raises(KeyboardInterrupt):
        train(config, again, on_message=said.append, callbacks=[Send(number, 7)])
    assert handled == [number]
    name = signal.Signals(number).name
    assert said[-1] == f"stopped by {name}; the same command resumes from {again / 'checkpoints' / 'last.ckpt'}"
    assert steps_in(again) == 7
    same(whole, train(config, again).folder)
    assert handled == [number]


@pytest.mark.slow
def test_a_signal_before_a_validation_ends_the_run_within_it(tmp_path, small_config, handled):
    """At the epoch's last step, after which a checkpoint would lose the validation."""
    config = small_config(train={"epochs": 2, "checkpoint_every": 1000})
    whole = train(config, tmp_path / "whole").folder
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "again", callbacks=[Send(signal.SIGTERM, 5)])
    assert handled == [signal.SIGTERM] and steps_in(tmp_path / "again") == 5
    assert not any(row["CIDEr"] for row in rows_of(tmp_path / "again" / "log.csv"))
    same(whole, train(config, tmp_path / "again").folder)


def test_a_second_signal_does_not_wait(tmp_path, small_config, handled, monkeypatch):
    def hangs(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not ended")

    monkeypatch.setattr(training_module, "cross_entropy", hangs)
    said = []
    with pytest.raises(KeyboardInterrupt):
        train(small_config(), tmp_path / "run", on_message=said.append)
    assert handled == [signal.SIGINT]
    assert said[-1] == "stopped by SIGINT; the same command begins anew: there was no step to save yet"


def test_a_save_that_fails_after_a_signal_is_said(tmp_path, small_config, handled, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    config = small_config(data={"validation": {}}, train={"checkpoint_every": 1000})
    with pytest.raises(ModelError, match=r"last\.ckpt can't be written \(.*No space left"):
        train(config, tmp_path / "run", callbacks=[Send(signal.SIGTERM, 2)])
    assert not handled
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["tokenizer.json"]


def test_a_signal_that_a_shell_ignores_stays_ignored(tmp_path, small_config):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        config = small_config(data={"validation": {}}, train={"epochs": 1})
        assert train(config, tmp_path / "run", callbacks=[Send(signal.SIGINT, 2)]).steps == 5
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(losses_of(tmp_path / "run")) == [1, 2, 3, 4, 5]
