"""What is made of the times of processes and imports; no test looks at a clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from scripts.experiments import start_up

LINES = """import time: self [us] | cumulative | imported package
import time:       200 |        200 |       torch._C
import time:      1000 |       1200 |     torch
import time:        30 |       1230 |   wordgaze.captioner
a line of somebody else
"""


def test_imports_are_summed_by_package() -> None:
    assert start_up.by_package(LINES) == {"torch": 1.2e-3, "wordgaze": 3e-5}


def test_medians_of_later_rounds_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {"pass": 0.01, "help": 0.1, "import torch, timm": 3.0, "work": 1.0, "caption": 4.3}
    turns = dict.fromkeys([*seconds, "caption, exported"], 0)

    def seconds_of(name: str, arguments: Sequence[str]) -> float:
        turns[name] += 1
        return seconds.get(name, 1.5) * (100 if turns[name] == 1 else 1)

    monkeypatch.setattr(start_up, "seconds_of", seconds_of)
    monkeypatch.setattr(start_up, "packages", lambda _: start_up.by_package(LINES))
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["start_up", "--exported", "exported", "--rounds", "3", "--json", str(out)])
    start_up.main()
    result = json.loads(out.read_text())
    assert set(turns.values()) == {4}
    assert result["seconds"] == pytest.approx({**seconds, "caption, exported": 1.5})
    assert list(result["ratios"].values()) == pytest.approx([10, 1.1])
    assert "imports of caption, exported, ms of 1: torch 1, wordgaze 0" in capsys.readouterr().out
