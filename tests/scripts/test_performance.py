"""The page's tables and pictures are of the measurements beside it, and these measure what they say."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from scripts.docs.performance import __main__ as script
from scripts.docs.performance import backends, curves
from scripts.docs.performance.pictures import bench_source, draw
from scripts.docs.performance.tables import advice, tables
from tests.model_folder import make_parts

from wordgaze.captioner import Captioner
from wordgaze.tasks.bench import Bench, BenchOptions
from wordgaze.tasks.bench_models import photos_to_bench
from wordgaze.tasks.bench_train import TrainBench, TrainBenchOptions

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/performance"
PAGE = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
PLACES = ("generation", "phases", "whole", "backends", "training")


def place(text, name):
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)[1].strip()


def test_the_page_s_tables_are_those_of_the_measurements():
    made = tables(FOLDER)
    places = set(re.findall(r"<!-- (\w+) -->", PAGE)) - {"end"}
    assert set(made) <= places <= set(PLACES)
    assert {name: place(PAGE, name) for name in places} == {name: made.get(name, "").strip() for name in places}


@pytest.mark.parametrize("name", ["ratios.png", "captions.png"])
def test_the_page_s_pictures_are_drawn_from_the_measurements(name):
    assert Image.open(FOLDER / name).info["comment"] == bench_source(FOLDER)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return a folder with a page, and measurements of a small model in the bundled one's place."""
    folder = tmp_path_factory.mktemp("docs")
    measurements = folder / "performance"
    measurements.mkdir()
    (folder / "performance.md").write_text("".join(f"<!-- {name} -->\n<!-- end -->\n" for name in PLACES))
    options = BenchOptions((1, 2), (1, 3), words=4, rounds=1)
    photos = photos_to_bench(None, options.most_photos(), folder)
    captioner = Captioner(make_parts(), "cpu")
    for batch in options.batch_sizes:
        part = BenchOptions((batch,), options.num_beams, options.words, options.rounds)
        values = Bench("bundled", captioner, photos, part).measure(lambda _: None, lambda _: None)
        (measurements / f"bench-{batch}.json").write_text(json.dumps(values.to_dict()))
    train = TrainBench("bundled", make_parts(), photos, TrainBenchOptions(2, 2, 1), folder, "cpu")
    (measurements / "training.json").write_text(json.dumps(train.measure(lambda _: None)))
    rows = backends.measure_batch(
        [
            backends.Backend(backends.PLAIN, lambda pixels: pixels, lambda pixels: ["a cat"] * 2),
            backends.Backend(backends.BASE, lambda pixels: pixels, lambda pixels: ["a cat"] * 2),
            backends.Backend("other", lambda pixels: pixels, lambda pixels: ["a dog", "a cat"]),
        ],
        torch.zeros(2, 3, 4, 4),
        rounds=2,
    )
    machine = values.machine | {"onnxruntime": "1.0"}
    (measurements / "backends.json").write_text(json.dumps({"machine": machine, "rows": rows}))
    return folder


def test_the_script_fills_the_page_and_draws(measured, monkeypatch):
    small = lambda name, *_: (name or "bundled", Captioner(make_parts(), "cpu"))  # noqa: E731
    monkeypatch.setattr(curves, "load_bench_captioner", small)
    monkeypatch.setattr(sys, "argv", ["performance", "--folder", str(measured), "--curves", "--quick"])
    script.main()
    text = (measured / "performance.md").read_text()
    lines = {name: place(text, name).splitlines() for name in PLACES}
    assert [line.split(" | ")[:2] for line in lines["generation"][4:6]] == [["| bundled", "1"], ["| bundled", "2"]]
    assert len([line for line in lines["phases"] if line.startswith("|")]) == 2 + 4
    assert len([line for line in lines["whole"] if line.startswith("|")]) == 2 + 4
    assert "| 1 of 2 |" in lines["backends"][-3]
    assert len([line for line in lines["training"] if line.startswith("|")]) == 2 + 4
    pictures = {path.name for path in (measured / "performance").glob("*.png")}
    assert pictures == {"ratios.png", "captions.png", "steps.png", "memory.png"}


def test_the_curves_hold_what_is_drawn(measured):
    values = json.loads((measured / "performance" / "curves.json").read_text())["models"]["bundled"]
    assert [step["words"] for step in values["steps"]] == [1, 2, 3]
    one, two = values["memory"]
    # 2 photos, 2 words, 2 layers of keys and values, 32 wide, 4 bytes.
    assert one["text_cache_bytes"] == 2 * 2 * 2 * 2 * 32 * 4
    assert two["text_cache_bytes"] == 2 * one["text_cache_bytes"]
    assert two["bytes"] > one["bytes"] > 0


def test_nothing_is_drawn_of_nothing(tmp_path):
    assert tables(tmp_path) == {}
    draw(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_advice_names_what_was_fastest_in_each_batch():
    rates = {("a", 1): 1.0, ("b", 1): 2.0, ("a", 8): 5.0, ("b", 8): 3.0, ("a", 32): 4.0, ("b", 32): 4.5}
    rows = [{"backend": name, "batch": batch, "captions_per_second": rate} for (name, batch), rate in rates.items()]
    assert advice(rows) == "Fastest on this CPU: b at batch 1, 32; a at batch 8."


@pytest.mark.slow
def test_all_backends_caption(monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    load = Captioner.from_pretrained
    small = lambda folder=None, **_: Captioner(make_parts(), "cpu") if folder is None else load(folder)  # noqa: E731
    monkeypatch.setattr(Captioner, "from_pretrained", small)
    rows = backends.measure(quick=True)["rows"]
    names = [backends.PLAIN, backends.BASE, "PyTorch, bfloat16", "ONNX Runtime"]
    assert [row["backend"] for row in rows] == names
    assert [row["same_captions"] for row in rows if row["backend"] != names[2]] == [2, 2, 2]
    assert all(row["encode_seconds"] < row["seconds"] for row in rows if row["backend"] == backends.BASE)
