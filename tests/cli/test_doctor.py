"""``wordgaze doctor`` on this machine, and on machines where something is missing or broken."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from wordgaze import __version__, compat
from wordgaze.cli.main import main
from wordgaze.errors import ModelError
from wordgaze.tasks import doctor

Diagnose = Callable[..., Result]


@pytest.fixture
def diagnose(monkeypatch: pytest.MonkeyPatch) -> Diagnose:
    """Runs ``wordgaze doctor`` with a captioner and a bundled model that are as given."""

    def run(*arguments: str, caption: Callable[[Any], Any] = lambda photo: None) -> Result:
        captioner = ModuleType("wordgaze.captioner")
        captioner.Captioner = SimpleNamespace(  # type: ignore[attr-defined]
            from_pretrained=lambda: SimpleNamespace(caption=caption)
        )
        monkeypatch.setitem(sys.modules, "wordgaze.captioner", captioner)
        monkeypatch.setattr(doctor, "_bundled_model", lambda: doctor.Finding("bundled model", "here"))
        return CliRunner().invoke(main, ["doctor", *arguments])

    return run


def without(package: str) -> Callable[[str], str]:
    def version(name: str) -> str:
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    return version


def line(result: Result, start: str) -> str:
    return next(line for line in result.stdout.splitlines() if line.split("  ")[0].strip() == start)


def line_of(result: Result, section: str, start: str) -> str:
    return next(line for line in result.stdout.split(section)[1].splitlines() if line.split()[:1] == [start])


def test_says_what_is_here_and_that_captions_work(diagnose: Diagnose) -> None:
    photos: list[Any] = []
    result = diagnose(caption=photos.append)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("\nCaptions work.\n")
    assert line(result, "wordgaze").split() == ["wordgaze", __version__]
    assert line(result, "torch").split() == ["torch", torch.__version__]
    assert "native part" in line(result, "torchvision")
    assert f"{torch.get_num_threads()} threads" in line(result, "devices")
    assert "float32" in line(result, "bfloat16")
    assert len(photos) == 1 and photos[0].size == (320, 240)


def test_a_missing_extra_is_named_with_its_feature_and_remedy(
    diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "version", without("gradio"))
    result = diagnose()
    assert result.exit_code == 0
    missing = result.stdout.split("Missing:")[1]
    assert 'gradio           wordgaze demo: pip install "wordgaze[demo]"\n' in missing


def test_no_java_costs_meteor_and_spice_only(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    result = diagnose()
    assert result.exit_code == 0
    assert "METEOR and SPICE: install a Java runtime" in result.stdout


@pytest.mark.parametrize("package", ["timm", "Pillow"])
def test_a_missing_part_of_the_caption_path_is_status_1(
    diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(doctor, "version", without(package))
    result = diagnose()
    assert result.exit_code == 1
    assert result.stdout.endswith("\nCaptions can't be made.\n")
    assert "not installed" in line(result, package)


def test_a_part_that_does_not_load_is_status_1_and_the_rest_is_still_looked_at(
    diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> ModuleType:
        if name == "timm":
            raise RuntimeError("operator torchvision::nms\ndoes not exist")
        return import_module(name)

    monkeypatch.setattr(doctor, "import_module", broken)
    result = diagnose()
    assert result.exit_code == 1
    assert "does not work" in line(result, "timm")
    assert "timm             operator torchvision::nms does not exist\n" in result.stdout.split("Missing:")[1]
    assert line(result, "a caption")
    assert "Traceback" in diagnose("--debug").output


def test_a_model_that_does_not_caption_is_status_1(diagnose: Diagnose) -> None:
    def caption(photo: Any) -> None:
        raise ModelError("The model is damaged.")

    result = diagnose(caption=caption)
    assert result.exit_code == 1
    assert "  a caption        The model is damaged.\n" in result.stdout
    assert "Traceback" not in result.output


def test_every_problem_says_what_to_do(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", nothing)
    result = diagnose()
    assert result.exit_code == 1
    missing = [line for line in result.stdout.split("Missing:")[1].splitlines() if line.startswith("  ")]
    packages = [*doctor._FOR_CAPTIONS, *doctor._FOR_THE_REST, *doctor._EXTRAS]
    assert [entry.split()[0] for entry in missing][: len(packages)] == packages
    assert all("install" in entry for entry in missing)


def test_torch_is_named_with_its_build(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")  # the wheel's metadata says 2.13.0
    assert line(diagnose(), "torch").split() == ["torch", "2.13.0+cu130"]


def test_transformers_beside_a_torchvision_that_does_not_load_is_warned_of(
    diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "declares_operators", lambda: True)
    result = diagnose()
    assert result.exit_code == 0
    assert "`import wordgaze.compat` before transformers" in line_of(result, "Mind:", "transformers")
    monkeypatch.setattr(compat, "declares_operators", lambda: False)
    assert "before transformers" not in diagnose().stdout


def test_a_load_above_the_cores_is_said_with_what_helps(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 0.0, 0.0), raising=False)
    result = diagnose()
    assert result.exit_code == 0
    assert line(result, "load").split("  ")[-1].strip() == "3.0 on 2 cores"
    assert "--threads 1" in line_of(result, "Mind:", "load")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.0, 0.0), raising=False)
    assert "--threads" not in diagnose().stdout
