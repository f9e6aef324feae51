"""What a run says, in a sentence with the remedy, when it goes wrong."""

from types import SimpleNamespace

import pytest
import torch
from tests.training.runs import rows_of

from wordgaze.data.captions import Source
from wordgaze.data.shapes import write_shapes
from wordgaze.errors import ConfigError
from wordgaze.tasks.train import train
from wordgaze.training.leak import find_leaks
from wordgaze.training.watch import RisingLoss


class LosesMemory:
    """Instead of a step: says what torch says where there is no memory, from the third step on."""

    def __init__(self, error):
        self.error, self.steps = error, 0

    def __call__(self, module, batch, batch_index):
        self.steps += 1
        if self.steps > 2:
            raise self.error
        return self.step(module, batch, batch_index)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        MemoryError(),
    ],
    ids=["cpu", "cuda", "python"],
)
def test_out_of_memory_says_what_to_lower_and_what_is_kept(tmp_path, small_config, monkeypatch, error):
    from wordgaze.training.module import CaptionModule

    loses = LosesMemory(error)
    loses.step = CaptionModule.training_step
    monkeypatch.setattr(CaptionModule, "training_step", lambda *arguments: loses(*arguments))
    with pytest.raises(ConfigError, match=r"Out of memory at step 2, with data\.batch_size 8") as caught:
        train(small_config(), tmp_path / "run")
    assert "double train.accumulate (2)" in str(caught.value)
    assert str(tmp_path / "run" / "checkpoints" / "last.ckpt") in str(caught.value)


def feed(callback, losses):
    trainer = SimpleNamespace(accumulate_grad_batches=1, is_global_zero=True, global_step=0)
    for loss in losses:
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, None, {"loss": torch.tensor(loss)}, None, 0)


def test_a_loss_that_rises_is_said_once():
    said = []
    callback = RisingLoss(10, said.append)
    feed(callback, [3.0] * 20 + [9.0] * 60)
    [line] = said
    assert line.startswith("WARNING: the loss has risen from 3.00 to 9.00 at step 40: the run diverges.")
    assert "train.learning_rate" in line and "--restart" in line


@pytest.mark.parametrize(
    "losses",
    [
        [8.0] * 10 + [5.0] * 10 + [4.0, 6.0] * 20,  # noise about a mean
        [3.0] * 20 + [9.0] * 5 + [3.0] * 20,  # a few bad batches
        [3.0] * 20 + [3.7] * 40,  # a harder part of the data
    ],
)
def test_a_loss_that_only_varies_is_not(losses):
    feed(RisingLoss(10, pytest.fail), losses)


def test_a_run_that_resumes_knows_the_lowest_loss():
    said = []
    first, second = RisingLoss(10, said.append), RisingLoss(10, said.append)
    feed(first, [3.0] * 10)
    second.load_state_dict(first.state_dict())
    feed(second, [9.0] * 20)
    assert len(said) == 1


@pytest.mark.slow
def test_a_run_at_an_absurd_rate_is_told_that_it_diverges(tmp_path, small_config):
    said = []
    options = {"learning_rate": 3.0, "epochs": 30, "warmup_steps": 40, "gradient_clip": 0.0, "ema_decay": 0.0}
    config = small_config(train=options, data={"validation": {}})
    train(config, tmp_path / "run", on_message=said.append)
    assert any("diverges" in line for line in said), rows_of(tmp_path / "run" / "log.csv")[-1]


def test_photos_to_train_and_to_validate_on_are_compared_by_content(tmp_path):
    for name, content in {"a": b"x" * 9000, "b": b"x" * 9000, "c": b"x" * 8999 + b"y", "d": b"zz"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "middle").write_bytes(b"x" * 4500 + b"-" + b"x" * 4499)  # as long, and with the same ends
    a, b, c, d, middle, missing = (tmp_path / name for name in ("a", "b", "c", "d", "middle", "none"))
    assert find_leaks([a, c, d], [b, middle, missing]) == {b: a}
    assert find_leaks([a, middle], [middle, d]) == {middle: middle}


def test_a_validation_set_that_is_trained_on_is_said(tmp_path, small_config, shapes):
    said = []
    copy = write_shapes(tmp_path / "copy", 8, seed=1, size=48)  # the first eight of the training scenes
    config = small_config(data={"validation": {"mine": Source(str(copy)), "shapes": shapes[1]}}, train={"max_steps": 1})
    train(config, tmp_path / "run", on_message=said.append)
    [line] = [line for line in said if "trained on" in line]
    assert line.startswith("WARNING: 8 of the 8 photos of 'mine' are trained on, such as ")
    assert "exclude" in line
