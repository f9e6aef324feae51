"""What ``--dry-run`` says before a run begins, and that it writes nothing."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from wordgaze.cli.main import main
from wordgaze.tasks.train import describe, make_plan, train
from wordgaze.training import plan as module
from wordgaze.training.starting_model import build_model


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.0)


def files_of(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_a_plan_counts_what_the_run_then_does(tmp_path, small_config):
    config = small_config(encoder={"freeze": 2}, train={"epochs": 3, "accumulate": 2})
    plan = make_plan(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    result = train(config, tmp_path / "run")
    assert (plan.steps, plan.steps_per_epoch, plan.done) == (result.steps, 3, 0)
    parameters = {name: (size, learning) for name, size, learning in plan.parts}
    model = build_model(config.encoder, config.decoder, 280)
    assert sum(size for size, _ in parameters.values()) == sum(p.numel() for p in model.parameters())
    assert 0 < parameters["encoder"][1] < parameters["encoder"][0]
    assert parameters["decoder"][0] == parameters["decoder"][1]
    assert plan.validations == 3 and plan.seconds > 0
    before = files_of(tmp_path)
    again = make_plan(config, tmp_path / "run")
    assert (again.done, again.steps) == (result.steps, result.steps) and files_of(tmp_path) == before


@pytest.mark.parametrize("kind", ["shapes", "cache", "scst"])
def test_a_plan_writes_nothing(tmp_path, small_config, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = small_config()
    if kind == "cache":
        config = small_config(encoder={"freeze": "all", "cache": "features"})
    elif kind == "scst":
        parent = train(small_config(train={"epochs": 1}), tmp_path / "parent")
        fields = {"objective": "scst", "initial_model": str(parent.folder), "samples": 2, "max_steps": 9}
        config = small_config(train=fields, tokenizer={"vocab_size": 6000})
        from dataclasses import replace

        from wordgaze.training.config import DecoderOptions, EncoderOptions

        config = replace(config, encoder=EncoderOptions(), decoder=DecoderOptions())
    before = files_of(tmp_path)
    plan = make_plan(config, "run")
    assert files_of(tmp_path) == before
    assert plan.steps == (9 if kind == "scst" else 10)
    assert (plan.fill_seconds > 0) == (kind == "cache")


def test_a_run_that_would_not_fit_is_not_measured(tmp_path, small_config, monkeypatch):
    monkeypatch.setattr(module, "_available", lambda device: 1000)
    monkeypatch.setattr(module._Measurement, "_step_seconds", lambda self: pytest.fail("it was measured"))
    plan = make_plan(small_config(), tmp_path / "run")
    assert plan.seconds is None
    assert dict(plan.rows())["time"].startswith("not measured: it would not fit; lower data.batch_size")


def test_the_command_prints_the_plan(tmp_path, small_config):
    config = tmp_path / "config.yaml"
    config.write_text(describe(small_config(data={"validation": {}})))
    done = CliRunner().invoke(main, ["train", "--config", str(config), "--out", str(tmp_path / "run"), "--dry-run"])
    assert done.exit_code == 0, done.output
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["parameters", "of", "photos", "steps", "memory", "time", "writes"]
    assert "validation: none" in done.stdout and not (tmp_path / "run").exists()


# ru_maxrss of the command alone: a child that a process of tests starts would begin with the parent's.
PEAK = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", ["small", "large"])
def test_the_memory_is_within_a_third_of_what_a_run_takes(tmp_path, small_config, size):
    """30 %, as measured on this machine: a process that is mostly Python, and one that is mostly activations."""
    config = small_config(train={"max_steps": 6, "precision": "float32"})
    if size == "large":
        encoder = {"name": "vit_tiny_patch16_224", "image_size": None}
        decoder = {"width": 192, "layers": 3, "heads": 3}
        data = {"batch_size": 40, "captions_per_photo": 5}
        config = small_config(
            encoder=encoder, decoder=decoder, data=data, train={"max_steps": 3, "precision": "float32"}
        )
    path = tmp_path / "config.yaml"
    path.write_text(describe(config))
    command = [sys.executable, "-m", "wordgaze", "train", "--config", str(path), "--out", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    plan = [sys.executable, "-c", PLAN, str(path), str(tmp_path / "run")]
    estimate = int(subprocess.run(plan, env=environment, check=True, capture_output=True, text=True).stdout)
    peak = [sys.executable, "-c", PEAK, *command]
    measured = int(subprocess.run(peak, env=environment, check=True, capture_output=True, text=True).stdout)
    print(json.dumps({"estimate": estimate, "measured": measured, "ratio": estimate / measured}))
    assert estimate == pytest.approx(measured, rel=0.3)


PLAN = """
import sys
from wordgaze.tasks.train import make_plan, parse_config
print(make_plan(parse_config(sys.argv[1]), sys.argv[2]).memory.total)
"""
