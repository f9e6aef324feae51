"""``train.compile``: the same losses, and a model folder with the same names."""

import pytest
import torch
from tests.training.runs import losses_of, weights_of

from wordgaze.tasks.train import train


@pytest.mark.slow
def test_a_compiled_run_learns_the_same(tmp_path, small_config):
    options = {"epochs": 2, "precision": "float32"}
    plain = train(small_config(train=options), tmp_path / "plain")
    compiled = train(small_config(train=options | {"compile": True}), tmp_path / "compiled")
    one, other = losses_of(plain.folder), losses_of(compiled.folder)
    assert [float(other[step]) for step in other] == pytest.approx([float(one[step]) for step in one], rel=1e-3)
    assert weights_of(plain.folder).keys() == weights_of(compiled.folder).keys()


def test_each_layer_of_the_encoder_is_compiled(tmp_path, small_config, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    train(small_config(train={"compile": True, "max_steps": 1}), tmp_path / "run")
    assert len(compiled) == 6 and set(compiled) == {"Block"}
