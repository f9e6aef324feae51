"""The memory that a large checkpoint takes while it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.convert import published

# Before loading: all that is imported, and torch's own first work. After: the most that was ever held.
MEASURE = """
import re, sys
from wordgaze.captioner import Captioner, torch_backend  # with torch and timm, which a captioner imports when it must
import torch

def kilobytes(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

torch.zeros(3) + 1
before = kilobytes("VmRSS")
captioner = Captioner.from_pretrained(sys.argv[1], "cpu")
weights = sum(4 * parameter.numel() for parameter in captioner.model.parameters())
print((kilobytes("VmHWM") - before) * 1024 / weights, weights // 4)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_large_model_is_held_once(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from scripts.experiments import tiny_checkpoints

    from wordgaze.tasks.convert import convert_to_folder

    config = published.blip()
    parts = {name: config[name] for name in ("text_config", "vision_config")}
    transformers.BlipForConditionalGeneration(transformers.BlipConfig(**parts)).save_pretrained(tmp_path / "blip")
    transformers.BlipImageProcessor().save_pretrained(tmp_path / "blip")
    tiny_checkpoints.word_piece().save(str(tmp_path / "blip" / "tokenizer.json"))
    convert_to_folder(tmp_path / "blip", tmp_path / "ours")
    for folder in ("blip", "ours"):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times, count = map(float, done.stdout.split())
        assert count == 223_971_644
        assert 0.9 < times < 1.3, json.dumps({folder: times})
