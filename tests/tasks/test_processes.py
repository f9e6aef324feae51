"""A command in several processes: each photo is one process's, and the first has all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.model_folder import draw_photo

from scripts import ROOT
from wordgaze.tasks.processes import ALONE, Processes, processes


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_each_item_is_one_process_s(count: int) -> None:
    items = list("abcdefg")
    shares = [Processes(rank, count).share(items) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == items


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with processes() as others:
        assert others is ALONE and others.gather("a") == ["a"]


@pytest.mark.parametrize(("local_rank", "gpu"), [(0, 0), (1, 1), (3, 1)])
def test_each_process_has_a_gpu_of_its_own_as_far_as_they_go(
    monkeypatch: pytest.MonkeyPatch, local_rank: int, gpu: int
) -> None:
    import torch

    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 4 + local_rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 8)
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "8", "LOCAL_RANK": str(local_rank)}.items():
        monkeypatch.setenv(name, value)
    with processes() as others:
        assert others == Processes(4 + local_rank, 8, local_rank)
        assert chosen == [gpu]


@pytest.mark.slow
def test_two_processes_give_exactly_the_scores_of_one(model_folder: Path, tmp_path: Path) -> None:
    images, annotations = [], []
    for number in range(5):
        draw_photo(tmp_path / f"{number}.png", number)
        images.append({"id": number, "file_name": f"{number}.png"})
        annotations.append({"id": number, "image_id": number, "caption": f"a red dog runs {'fast ' * number}"})
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"images": images, "annotations": annotations}))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    scores = []
    for count in (1, 2):
        out = tmp_path / f"scores-{count}.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"]
        command += ["wordgaze", "evaluate", "--images", str(tmp_path), "--captions", str(captions)]
        command += ["--model", str(model_folder), "--device", "cpu", "--json", str(out)]
        command += ["--per-image", str(tmp_path / f"photos-{count}.json")]
        run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
        assert run.returncode == 0, run.stderr[-2000:]
        assert run.stdout.count("CIDEr") == 1
        photos = json.loads((tmp_path / f"photos-{count}.json").read_text())
        scores.append((json.loads(out.read_text()), sorted(photos, key=lambda photo: photo["file"])))
    assert scores[0] == scores[1]
    assert scores[0][0]["images"] == 5
