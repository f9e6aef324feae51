"""The page's pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from scripts.docs.cross_attention.pictures import figure, fingerprint, rendered, save_picture
from scripts.docs.performance.tables import Values, cells, read_benches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colors (2008), by the number of beams, or of ours and theirs.
BEAMS = {1: "#0072B2", 3: "#009E73", 5: "#D55E00"}
OURS, THEIRS, QUIET = "#0072B2", "#D55E00", "#71717a"


def bare(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, axis="y", color="#d4d4d8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_ratios(benches: list[Values]) -> Image.Image:
    """Draw how many times as long transformers' generate takes, a panel a model; whiskers over single rounds."""
    rows = [row for row in cells(benches) if row["phase"] == "generate" and row["ratio"] is not None]
    models = list(dict.fromkeys(row["model"] for row in rows))
    drawn = figure(9.2, 3.4)
    all_axes = drawn.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axes, model in zip(all_axes, models, strict=True):
        batches = list(dict.fromkeys(row["batch"] for row in rows if row["model"] == model))
        for offset, (beams, color) in enumerate(BEAMS.items()):
            own = [row for row in rows if (row["model"], row["num_beams"]) == (model, beams)]
            x = [batches.index(row["batch"]) + 0.27 * (offset - 1) for row in own]
            ratios = [row["ratio"] for row in own]
            errors = [
                [row["ratio"] - row["ratio_low"] for row in own],
                [row["ratio_high"] - row["ratio"] for row in own],
            ]
            label = "greedy" if beams == 1 else f"beam {beams}"
            axes.bar(x, ratios, 0.25, color=color, label=label, yerr=errors, error_kw={"linewidth": 1})
        axes.axhline(1, color="#18181b", linewidth=1)
        axes.set_xticks(range(len(batches)), map(str, batches))
        bare(axes, model, "batch", "transformers' seconds over ours" if axes is all_axes[0] else "")
    all_axes[0].legend(frameon=False, fontsize=8)
    drawn.tight_layout()
    return rendered(drawn)


def draw_captions(benches: list[Values]) -> Image.Image:
    """Draw the bundled model's captions a second from file to text, by batch and beams."""
    rows = [row for row in cells(benches, "whole") if row["model"] == "bundled"]
    batches = list(dict.fromkeys(row["batch"] for row in rows))
    drawn = figure(5.2, 3.2)
    axes = drawn.subplots()
    for offset, (beams, color) in enumerate(BEAMS.items()):
        own = [row for row in rows if row["num_beams"] == beams]
        x = [batches.index(row["batch"]) + 0.27 * (offset - 1) for row in own]
        label = "greedy" if beams == 1 else f"beam {beams}"
        axes.bar(x, [row["captions_per_second"] for row in own], 0.25, color=color, label=label)
    axes.set_xticks(range(len(batches)), map(str, batches))
    axes.legend(frameon=False, fontsize=8)
    bare(axes, "the bundled model, from file to text", "batch", "captions a second")
    drawn.tight_layout()
    return rendered(drawn)


def draw_steps(models: dict[str, Any]) -> Image.Image:
    """Draw what a step costs against the words written, and what it would if only reading what was written grew.

    The first of many beams is left out: it makes the photos' keys and values.
    """
    drawn = figure(9.2, 3.2)
    all_axes = drawn.subplots(1, len(models), squeeze=False)[0]
    for axes, (name, values) in zip(all_axes, models.items(), strict=True):
        steps = values["steps"][1:]
        words = [step["words"] for step in steps]
        first = steps[0]["seconds"] - steps[0]["reading_seconds"]
        axes.plot(words, [1e3 * step["seconds"] for step in steps], color=OURS, label="a step")
        reading = [1e3 * (first + step["reading_seconds"]) for step in steps]
        label = "the second word's step, and reading and reordering the text cache once"
        axes.plot(words, reading, color=QUIET, linestyle=":", label=label)
        axes.set_ylim(bottom=0)
        title = f"{name}: {values['photos']} photos, {values['beams']} beams"
        bare(axes, title, "words written", "milliseconds" if axes is all_axes[0] else "")
    all_axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    drawn.tight_layout()
    return rendered(drawn)


def draw_memory(models: dict[str, Any]) -> Image.Image:
    """Draw the peak memory of a search against its beams, and the text cache alone."""
    drawn = figure(9.2, 3.2)
    all_axes = drawn.subplots(1, len(models), squeeze=False)[0]
    for axes, (name, values) in zip(all_axes, models.items(), strict=True):
        beams = [point["beams"] for point in values["memory"]]
        for key, label, color, style in (
            ("transformers_bytes", "transformers", THEIRS, "s-"),
            ("bytes", "wordgaze", OURS, "o-"),
            ("text_cache_bytes", "the text cache alone", QUIET, ":"),
        ):
            if all(point[key] is not None for point in values["memory"]):
                axes.plot(beams, [point[key] / 1e6 for point in values["memory"]], style, color=color, label=label)
        axes.set_ylim(bottom=0)
        axes.set_xticks(beams, map(str, beams))
        words = values["memory"][0]["words"]
        title = f"{name}: {values['photos']} photos, {words} words"
        bare(axes, title, "beams", "peak memory of a search, MB" if axes is all_axes[0] else "")
    all_axes[0].legend(frameon=False, fontsize=8)
    drawn.tight_layout()
    return rendered(drawn)


def draw(folder: Path) -> None:
    """Write the pictures of what has been measured into ``folder``."""
    if benches := read_benches(folder):
        source = bench_source(folder)
        save_picture(draw_ratios(benches), folder / "ratios.png", source)
        save_picture(draw_captions(benches), folder / "captions.png", source)
    curves = folder / "curves.json"
    if curves.is_file():
        models = json.loads(curves.read_text(encoding="utf-8"))["models"]
        save_picture(draw_steps(models), folder / "steps.png", fingerprint(curves))
        save_picture(draw_memory(models), folder / "memory.png", fingerprint(curves))


def bench_source(folder: Path) -> str:
    """Return the fingerprint of what the pictures of the benchmark are made from."""
    return fingerprint(*sorted(folder.glob("bench-*.json")))
