"""The curves of the memory: every photo is counted, and the picture is drawn."""

import json
import sys

import pytest
from PIL import Image
from scripts.docs import memory_curves as script


def test_growth_leaves_out_what_is_loaded_once():
    assert script.growth([(10, 50.0), (100, 80.0), (200, 95.0), (300, 90.0)]) == (80.0, 90.0, 95.0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_both_ways_are_drawn(tmp_path, monkeypatch, capsys):
    out, numbers = tmp_path / "memory.png", tmp_path / "memory.json"
    flags = ["--photos", "120", "--calls", "110", "--threads", "2", "--out", str(out), "--json", str(numbers)]
    monkeypatch.setattr(sys, "argv", ["memory_curves", *flags])
    script.main()
    found = json.loads(numbers.read_text())
    assert list(found) == ["120 photos of a folder", "110 calls by 2 threads"]
    for values, total in zip(found.values(), (120, 110), strict=True):
        marks = [number for number, _ in values["curve"]]
        assert marks == sorted(marks) and marks[-1] == total and 100 in marks
        assert values["after_100"] > 0
    assert "MiB after 100" in capsys.readouterr().out
    assert Image.open(out).size[0] > 500
