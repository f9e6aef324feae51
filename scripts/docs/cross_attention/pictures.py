"""The page's pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from scripts import ROOT
from scripts.common.digest import hex_digest
from scripts.docs.cross_attention.cost import CACHED, LONGEST, WAYS, multiply_adds
from scripts.docs.cross_attention.reading import PHOTO, Reading
from wordgaze.explanation import overlay
from wordgaze.explanation.grid import Panel, grid
from wordgaze.files import write_whole
from wordgaze.hub import bundled_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET = "#18181b", "#52525b"
# Okabe and Ito's colors (2008), which color-blind eyes tell apart; markers differ as well.
LINES = {
    "fused": ("#0072B2", "o"),
    "explicit": ("#D55E00", "s"),
    "fused, keys and values anew": ("#009E73", "^"),
    "nothing": ("#D55E00", "s"),
    "patches": ("#009E73", "^"),
    "patches and words": ("#0072B2", "o"),
}
MARK = "#D55E00"
SIGNED, POSITIVE = "PuOr_r", "Blues"


def figure(width: float, height: float) -> Figure:
    """Return a figure of a size in inches, on white, so that it can be read on a dark page as well."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, facecolor="white")


def rendered(drawn: Figure) -> Image.Image:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def fingerprint(*files: Path) -> str:
    """Return a digest of what a picture is made from; it stands in the picture's file."""
    return hex_digest(*(file.read_bytes() for file in files))[:16]


def save_picture(picture: Image.Image, path: Path, source: str) -> None:
    """Save a photo as .jpg, a drawing as .png of 256 colors; ``source``, the fingerprint of what made it, inside."""
    if path.suffix == ".jpg":
        jpeg = {"quality": 90, "optimize": True, "comment": source}
        write_whole(path, lambda file: picture.save(file, format="jpeg", **jpeg))
        return
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", source)
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    write_whole(path, lambda file: few.save(file, format="png", optimize=True, pnginfo=text))


def heat(
    axes: Axes, values: Any, signed: bool = False, labels: Sequence[str] | None = None, power: float = 0.5
) -> None:
    """Draw a matrix as colored cells, white at zero; ``labels`` of its rows. Of weights the ``power`` is shown.

    The square root, since few weights are large and the others should be seen too.
    """
    from matplotlib.colors import PowerNorm

    if signed:
        most = float(np.quantile(np.abs(values), 0.98))
        axes.imshow(values, SIGNED, vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    else:
        scale = PowerNorm(power, vmin=0)
        axes.imshow(values, POSITIVE, norm=scale, aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([] if labels is None else range(len(labels)), labels)
    axes.tick_params(length=0, labelsize=9)


def outline(axes: Axes, row: int, columns: int) -> None:
    from matplotlib.patches import Rectangle

    box = Rectangle((-0.5, row - 0.5), columns, 1, fill=False, edgecolor=INK, linewidth=2, clip_on=False)
    axes.add_patch(box)


def draw_two_tables(reading: Reading) -> Image.Image:
    drawn = figure(9.2, 3.7)
    words, patches = reading.rows.shape
    seen = reading.self_attention.numpy().copy()
    seen[np.triu_indices(words, 1)] = np.nan
    left = drawn.add_axes((0.15, 0.05, 0.27, 0.68))
    heat(left, seen, labels=reading.predictions)
    left.set_facecolor("#e7e5e4")
    left.set_xticks(range(words), reading.labels[:-1], rotation=55, ha="left", rotation_mode="anchor", fontsize=9)
    left.xaxis.tick_top()
    left.text(words - 0.7, 0.4, "not yet\nwritten", ha="right", va="center", fontsize=9, color=QUIET)
    right = drawn.add_axes((0.46, 0.05, 0.52, 0.68))
    heat(right, torch.stack([layer["weights"][0] for layer in reading.layers]).mean(dim=(0, 1)))
    right.set_xlabel(f"the {patches} patches, row by row from the upper left", fontsize=9)
    right.xaxis.set_label_position("top")
    for axes, title in (
        (left, f"self-attention, {words} × {words}"),
        (right, f"cross-attention, {words} × {patches}"),
    ):
        box = axes.get_position()
        drawn.text((box.x0 + box.x1) / 2, 0.94, title, ha="center", weight="bold", fontsize=11)
    drawn.text(0.01, 0.76, "read → predicted", fontsize=9, color=QUIET)
    return rendered(drawn)


def draw_patches(reading: Reading) -> Image.Image:
    """Draw the photo with what the model is shown of it, and that as patches."""
    from matplotlib.patches import Rectangle

    photo, geometry = reading.explanation.photo, reading.explanation.geometry
    (rows, columns), (width, height) = reading.explanation.grid_size, geometry.input_size
    shown = photo.transform(geometry.input_size, Image.Transform.EXTENT, geometry.box, Image.Resampling.BICUBIC)
    drawn = figure(7.6, 3.4)
    left, right = drawn.add_axes((0.01, 0.03, 0.52, 0.84)), drawn.add_axes((0.57, 0.03, 0.42, 0.84))
    left.imshow(photo)
    x, y, x_end, y_end = geometry.box
    left.add_patch(Rectangle((x, y), x_end - x, y_end - y, fill=False, edgecolor="white", linewidth=4, clip_on=False))
    left.add_patch(Rectangle((x, y), x_end - x, y_end - y, fill=False, edgecolor=MARK, linewidth=2, clip_on=False))
    left.set_title("the photo, and what the model is shown", fontsize=10)
    right.imshow(shown, extent=(0, columns, rows, 0), aspect=height / rows / (width / columns))
    for line in range(1, max(rows, columns)):
        right.axhline(line, color="white", linewidth=0.8) if line < rows else None
        right.axvline(line, color="white", linewidth=0.8) if line < columns else None
    right.set_title(f"{rows} × {columns} = {rows * columns} patches", fontsize=10)
    for axes in (left, right):
        axes.set_axis_off()
        axes.set_anchor("N")
    return rendered(drawn)


def draw_product(reading: Reading) -> Image.Image:
    """Draw softmax(QKᵀ/√d)V of one head, as matrices."""
    layer, head, row = reading.last, reading.head, reading.row
    query, key, value = (layer[name][head].numpy() for name in ("query", "key", "value"))
    weights, mixed = layer["weights"][head].numpy(), layer["mixed"][head].numpy()
    (words, width), patches = query.shape, len(key)
    drawn = figure(9.2, 5.6)
    matrices = {
        f"Q  ({words} × {width})": ((0.15, 0.60, 0.17, 0.27), query, True),
        f"Kᵀ  ({width} × {patches})": ((0.39, 0.60, 0.42, 0.27), key.T, True),
        f"weights  ({words} × {patches})": ((0.15, 0.10, 0.40, 0.27), weights, False),
        f"V  ({patches} × {width})": ((0.61, 0.03, 0.13, 0.41), value, True),
        f"output  ({words} × {width})": ((0.81, 0.10, 0.17, 0.27), mixed, True),
    }
    notes = iter(("the words ask", "the patches offer", "each row sums to 1", "the patches tell", "for the words"))
    for title, (box, values, signed) in matrices.items():
        axes = drawn.add_axes(box)
        heat(axes, values, signed, reading.predictions if box[0] == 0.15 else None)
        axes.set_title(title, fontsize=11, weight="bold", pad=18)
        axes.text(
            0.5,
            1.03,
            next(notes),
            transform=axes.transAxes,
            ha="center",
            va="bottom",
            fontsize=9,
            color=QUIET,
        )
        if len(values) == words:
            outline(axes, row, values.shape[1])
    for x, y, sign in ((0.355, 0.735, "×"), (0.58, 0.235, "×"), (0.775, 0.235, "=")):
        drawn.text(x, y, sign, ha="center", va="center", fontsize=20)
    drawn.text(0.83, 0.735, f"÷ √{width},\nthen softmax\nof each row\n= weights", ha="left", va="center", fontsize=11)
    return rendered(drawn)


def draw_row(reading: Reading) -> Image.Image:
    """Draw a row as bars, folded into the grid, and laid over the photo."""
    explanation, values = reading.explanation, reading.rows[reading.row].numpy()
    folded_row = values.reshape(explanation.grid_size)
    drawn = figure(9.2, 4.8)
    bars = drawn.add_axes((0.07, 0.72, 0.91, 0.19))
    bars.bar(range(len(values)), values, width=1.0, color=LINES["fused"][0])
    bars.set_xlim(-0.5, len(values) - 0.5)
    bars.set_ylabel("weight", fontsize=9)
    bars.tick_params(labelsize=9)
    bars.spines[["top", "right"]].set_visible(False)
    name = reading.predictions[reading.row]
    bars.set_title(f"the row “{name}”: {len(values)} weights, one per patch, sum 1", fontsize=10)
    folded, placed = drawn.add_axes((0.05, 0.02, 0.36, 0.56)), drawn.add_axes((0.46, 0.02, 0.53, 0.56))
    heat(folded, folded_row, power=1)
    folded.set_aspect("equal")
    folded.set_title("folded into the grid of patches", fontsize=10)
    over = explanation.geometry.place(folded_row, smooth=False)
    placed.imshow(overlay.overlay(overlay.mute(explanation.photo), over))
    placed.set_title("laid over the photo: a map", fontsize=10)
    placed.set_axis_off()
    return rendered(drawn)


def draw_maps(reading: Reading) -> Image.Image:
    """Draw the same word's softmax row and its default map, and the word that owes the photo least."""
    explanation, word = reading.explanation, reading.word
    index = explanation.words.index(word)
    least = min(explanation.words, key=lambda word: (word.grounded, word.evidence))
    panels = [
        Panel(f"{word.text}: softmax row", reading.raw.words[index].map),
        Panel(f"{word.text}: {explanation.method}", word.map, grounded=word.grounded),
        Panel(f"{least.text}: {explanation.method}", least.map, grounded=least.grounded),
    ]
    return grid(explanation.photo, panels, explanation.geometry, longest=300)


def curve(axes: Axes, x: Sequence[float], y: Sequence[float], name: str) -> None:
    color, marker = LINES[name]
    axes.plot(x, y, color=color, marker=marker, markersize=5, linewidth=1.8, label=name)


def log_axes(axes: Axes, x: str, y: str, ticks: Sequence[int]) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, color="#d4d4d8", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def draw_cost(measured: dict[str, Any]) -> Image.Image:
    """Draw time and memory of one cross-attention, against N and against T."""
    drawn = figure(9.2, 6.4)
    sides = {"patches": measured["over_patches"], "words": measured["over_words"]}
    for column, (varied, points) in enumerate(sides.items()):
        fixed = f"T = {points[0]['words']}" if varied == "patches" else f"N = {points[0]['patches']}"
        x = [point[varied] for point in points]
        letter = "N" if varied == "patches" else "T"
        for row, (unit, scale, name) in enumerate((("seconds", 1e3, "time, ms"), ("bytes", 2**-20, "memory, MiB"))):
            axes = drawn.add_axes((0.08 + 0.51 * column, 0.56 - 0.49 * row, 0.39, 0.34))
            for way in WAYS:
                curve(axes, x, [point[way][unit] * scale for point in points], way)
            if unit == "bytes":
                table = [point["words"] * point["patches"] * measured["heads"] * 4 * scale for point in points]
                axes.plot(x, table, color=INK, linewidth=1, linestyle=":", label="the table of weights alone")
            log_axes(axes, f"{varied}, {letter}", name, x)
            axes.set_title(f"{name.split(',')[0]} against {letter}, {fixed}", fontsize=10)
            last = axes
    handles, names = last.get_legend_handles_labels()
    drawn.legend(handles, names, loc="upper center", ncols=4, frameon=False, fontsize=9)
    return rendered(drawn)


def draw_cache(reading: Reading, measured: dict[str, Any]) -> Image.Image:
    """Draw what a caption costs by what is cached: counted, and measured."""
    decoder = reading.captioner.model.decoder
    longest = torch.zeros(1, LONGEST, dtype=torch.long)  # the count does not depend on the ids
    counts = multiply_adds(decoder, reading.states, longest)
    drawn = figure(9.2, 3.6)
    left, right = drawn.add_axes((0.09, 0.15, 0.39, 0.66)), drawn.add_axes((0.59, 0.15, 0.39, 0.66))
    steps = [1, 2, 4, 8, 16, LONGEST]
    lengths = [caption["words"] for caption in measured["captions"]]
    for cached in CACHED:
        curve(left, steps, [counts[cached][step - 1] / 1e6 for step in steps], cached)
        curve(right, lengths, [caption["seconds"][cached] * 1e3 for caption in measured["captions"]], cached)
    log_axes(left, "words written", "million multiply-adds", steps)
    log_axes(right, "words written", "time, ms", lengths)
    left.set_title("counted", fontsize=10)
    right.set_title("measured", fontsize=10)
    handles, names = left.get_legend_handles_labels()
    drawn.legend(handles, [f"kept: {name}" for name in names], loc="upper center", ncols=3, frameon=False, fontsize=9)
    return rendered(drawn)


def draw(reading: Reading, measured: dict[str, Any], folder: Path, measurements: Path) -> None:
    """Write all pictures into ``folder``."""
    model = fingerprint(bundled_folder() / "model.safetensors", ROOT / PHOTO)
    numbers = fingerprint(measurements)
    save_picture(draw_two_tables(reading), folder / "tables.png", model)
    save_picture(draw_patches(reading), folder / "patches.jpg", model)
    save_picture(draw_product(reading), folder / "product.png", model)
    save_picture(draw_row(reading), folder / "row.jpg", model)
    save_picture(draw_maps(reading), folder / "maps.jpg", model)
    save_picture(draw_cost(measured), folder / "cost.png", numbers)
    save_picture(draw_cache(reading, measured), folder / "cache.png", numbers)
