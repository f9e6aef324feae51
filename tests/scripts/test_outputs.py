"""No script writes over what it reads: refused with status 2 before any work, and every file stays as it was."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from scripts.bundled import make, measure
from scripts.docs.cross_attention import __main__ as cross_attention
from scripts.experiments import benchmark_cider, benchmark_latency, start_up
from scripts.experiments.side_by_side.__main__ import main as side_by_side

from wordgaze.files import MODEL_FILES
from wordgaze.folder import CONFIDENCE, FILES

SCRIPTS = {
    "benchmark_cider": benchmark_cider.main,
    "benchmark_latency": benchmark_latency.main,
    "make": make.main,
    "cross_attention": cross_attention.main,
    "measure": measure.main,
    "start_up": start_up.main,
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A folder with a little of everything, none of it valid; the current folder is there."""
    names = [f"{model}/{name}" for model in ("one", "other") for name in MODEL_FILES]
    names += ["one/log.csv", "other/log.csv", "references.json", "results.json", "val.json"]
    names += ["photo.png", "data/coco/captions_val.json", "notes.md", "docs/x"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    for name in ("c.yaml", "one/training.yaml", "other/training.yaml"):
        (tmp_path / name).write_text("data: {train: [{captions: c.json}]}")
    (tmp_path / "link.json").symlink_to("val.json")
    os.link(tmp_path / "one/model.safetensors", tmp_path / "hard.json")
    (tmp_path / "scores").symlink_to("data/coco")
    monkeypatch.chdir(tmp_path)
    return {name: name.encode() for name in names}


def test_all_files_of_a_model_folder_are_inputs() -> None:
    assert set(MODEL_FILES) == {*FILES, CONFIDENCE}


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("make --stage c.yaml one --out one --logs docs", "one/config.json"),
        ("make --stage c.yaml other --weights one --out one --logs docs", "one/config.json"),
        ("make --stage c.yaml other --out new --notes docs/c-log.csv --logs docs", "docs/c-log.csv"),
        ("benchmark_cider --references references.json --results results.json --json results.json", "results.json"),
        ("benchmark_latency photo.png --json photo.png", "photo.png"),
        ("benchmark_latency photo.png --model one --json hard.json", "hard.json"),
        ("start_up photo.png --json photo.png", "photo.png"),
        ("start_up photo.png --exported one --json hard.json", "hard.json"),
        ("measure one data/out --data data", "captions_val.json"),
    ],
)  # fmt: skip
def test_an_input_is_not_written_over(
    files: dict[str, bytes],
    command: str,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *arguments = command.split()
    if name == "make":
        Path("docs/c-log.csv").write_text("notes")
    if name == "measure":  # its scores would be the captions that it reads
        Path("data/out/scores").mkdir(parents=True)
        Path("data/out/scores/coco.json").symlink_to("../../coco/captions_val.json")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        SCRIPTS[name]()
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert named in message and "Traceback" not in message
    assert {name: Path(name).read_bytes() for name in files} == files


def test_the_page_is_not_written_over_its_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    template = tmp_path / "page.md"
    template.write_text("template")
    (tmp_path / cross_attention.PAGE).symlink_to("page.md")
    monkeypatch.setattr(cross_attention, "TEMPLATE", template)
    monkeypatch.setattr(sys, "argv", ["", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cross_attention.main()
    assert caught.value.code == 2 and "is an input" in capsys.readouterr().err
    assert template.read_text() == "template"


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["--runs", "runs", "--out", "out"], "where checkpoints go"),
        (["--runs", "other", "--out", "out"], "photos.json is an input"),
        (["--runs", "new", "--out", "out", "--config", "out/ours.json"], "ours.json is an input"),
    ],
)
def test_a_comparison_keeps_its_captions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    captions = Path("runs/ours/captions.json")
    for file in (captions, Path("other/photos.json"), Path("out/ours.json")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("data: {}")
    sources = '--data.train=[{"captions": "%s"}]'
    train = sources % (captions if "runs" in places else "other/photos.json")
    with pytest.raises(SystemExit, match=message):
        side_by_side(["ours", "--restart", *places, train, "--data.validation={}"])
    assert captions.read_text() == Path("other/photos.json").read_text() == "data: {}"
