"""Writes docs/cross-attention.md and its pictures: cross-attention explained with the bundled model's own tensors.

python -m scripts.docs.cross_attention              text, tables and pictures, from the model and the measurements
python -m scripts.docs.cross_attention --measure    the measurements first; on a machine that does nothing else
python -m scripts.docs.cross_attention --measure --quick --folder DIR    tiny sizes, only to see that it works

The prose is scripts/docs/cross_attention/page.md, where ``$name`` stands for a value that is computed here.

Measured: the median time of a call, and the peak of what torch allocates in it, as torch's own profiler reports it.
That counts the kernels' workspace too, to the byte and alike in each run; the resident set of the process is coarser,
and a test sees that both agree on one large table of weights.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import io
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from scripts import ROOT
from wordgaze.captioner import Captioner, ExplainedWord, Explanation
from wordgaze.data.photos import open_photo
from wordgaze.explanation import overlay
from wordgaze.explanation.methods import DEFAULT_METHOD, DEFAULT_REPAIRS, Repairs
from wordgaze.files import check_script, model_files
from wordgaze.hub import bundled_folder
from wordgaze.model.attention import Attention
from wordgaze.model.cache import DecoderCache
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.decoder import Decoder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PHOTO = "demo/cat.jpg"
FOLDER = ROOT / "docs"
TEMPLATE = Path(__file__).with_name("page.md")
PAGE, PICTURES, MEASUREMENTS = "cross-attention.md", "cross-attention", "cross-attention/measurements.json"
BY_HAND = 5  # patches of the row that is worked out
SINKS = 4
MIRRORED = (
    " All this is done twice, the second time to the mirrored photo; a patch is the mean of its two vectors."
)
LONGEST = 32  # words of a caption, when its cost is shown
WAYS = ("fused", "explicit", "fused, keys and values anew")
KEPT = ("nothing", "patches", "patches and words")  # from one word to the next
START, END = "‹start›", "‹end›"


# ---- The model's own tensors


def read_by_hand(decoder: Decoder, ids: Tensor, patches: Tensor) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Reads a caption, ids (1, T), over a photo, patches (1, N, D): the logits, and each layer's cross-attention."""
    hidden = decoder.token_embedding(ids) + decoder.position_embedding(torch.arange(ids.shape[1]))
    layers = []
    for block in decoder.blocks:
        normed = block.self_norm(hidden)
        words = block.self_attention.key_value(normed)
        hidden = hidden + block.self_attention(normed, *words, causal=True)[0]

        asking, cross = block.cross_norm(hidden), block.cross_attention
        query = cross.query(asking).unflatten(-1, (cross.heads, -1)).transpose(1, 2)  # (1, heads, T, d)
        key, value = cross.key_value(patches)  # each (1, heads, N, d)
        scores = query @ key.mT / key.shape[-1] ** 0.5
        weights = scores.softmax(dim=-1)  # (1, heads, T, N)
        mixed = weights @ value  # (1, heads, T, d)
        output = cross.output(mixed.transpose(1, 2).flatten(2))  # (1, T, D)
        layers.append(
            {"asking": asking, "query": query, "key": key, "value": value}
            | {"scores": scores, "weights": weights, "mixed": mixed, "output": output}
        )
        hidden = hidden + output
        hidden = hidden + block.mlp(block.mlp_norm(hidden))
    return decoder.final_norm(hidden) @ decoder.token_embedding.weight.T, layers


EXAMPLE_IMPORTS = """\
import torch
from torch import Tensor
from wordgaze import Captioner
from wordgaze.data.photos import open_photo
from wordgaze.model.decoder import Decoder
"""
EXAMPLE_USE = """\
captioner = Captioner.from_pretrained(device="cpu")
pixel_values, _ = captioner.transform(open_photo("{photo}"))
ids = torch.tensor([captioner.tokenizer.encode("{caption}")[:-1]])  # without the end
with torch.no_grad():
    patches = captioner.encode(pixel_values[None])
    logits, layers = read_by_hand(captioner.model.decoder, ids, patches)
    print(torch.allclose(logits, captioner.model(ids, patches).logits, atol=1e-3))
    for block, layer in zip(captioner.model.decoder.blocks, layers):
        fused, _ = block.cross_attention(layer["asking"], layer["key"], layer["value"])
        print(tuple(layer["weights"].shape), torch.allclose(layer["output"], fused, atol=1e-5))
"""


@dataclass(frozen=True)
class Reading:
    """One caption of one photo, and all that the page shows of it; T rows, one for each prediction.

    ``shapes``: of each tensor on the way, by name. ``labels`` (T + 1): the start, the tokens, the end. ``word``: the
    grounded one with the most evidence, which the page follows; ``row``: of its first token's prediction; ``head``: of
    the last layer, the one whose row there is sharpest.
    """

    captioner: Captioner
    explanation: Explanation
    raw: Explanation
    ids: Tensor
    states: Tensor
    layers: list[dict[str, Tensor]]
    self_attention: Tensor  # (T, T), mean over layers and heads
    shapes: dict[str, tuple[int, ...]]
    labels: list[str]
    word: ExplainedWord
    row: int
    head: int

    @property
    def last(self) -> dict[str, Tensor]:
        """The last layer's tensors, without the first dimension."""
        return {name: tensor[0] for name, tensor in self.layers[-1].items()}

    @property
    def rows(self) -> Tensor:
        """The weights (T, N) that ``--method last --raw`` shows: the last layer's, mean over the heads."""
        return self.last["weights"].mean(dim=0)

    @property
    def predictions(self) -> list[str]:
        """``read → predicted`` of each row."""
        return [f"{read} → {said}" for read, said in zip(self.labels, self.labels[1:], strict=False)]


def read(captioner: Captioner) -> Reading:
    """Captions the photo, and reads the caption again by hand."""
    model, tokenizer = captioner.model, captioner.tokenizer
    if model.num_prefix:
        raise SystemExit("The page knows patches alone; say in it what the prefix tokens are.")
    if DEFAULT_METHOD != "gradient" or Repairs(smooth=DEFAULT_REPAIRS.smooth) != DEFAULT_REPAIRS:
        raise SystemExit("The default method or its repairs have changed; rewrite the page's part on maps.")
    explanation = captioner.explain(ROOT / PHOTO)
    text = explanation.caption.text
    raw = captioner.explain(ROOT / PHOTO, text, "last", raw=True)
    tokens = tokenizer.encode(text)
    ids = torch.tensor([tokens[:-1]])
    pixel_values = captioner.transform(open_photo(ROOT / PHOTO))[0][None]
    with torch.no_grad():
        states = captioner.encode(pixel_values)
        logits, layers = read_by_hand(model.decoder, ids, states)
        attentions = model(ids, states, output_attentions=True).attentions
    place = max(
        range(len(explanation.words)),
        key=lambda index: (explanation.words[index].grounded, explanation.words[index].evidence),
    )
    row = tokenizer.words(tokens)[place].start - 1
    entropies = torch.special.entr(layers[-1]["weights"][0, :, row]).sum(dim=-1)
    return Reading(
        captioner=captioner,
        explanation=explanation,
        raw=raw,
        ids=ids,
        states=states,
        layers=layers,
        self_attention=torch.stack(attentions)[:, 0].mean(dim=(0, 1)),
        shapes={
            "pixel_values": tuple(pixel_values.shape),
            "states": tuple(states.shape),
            "ids": tuple(ids.shape),
            "logits": tuple(logits.shape),
            **{name: tuple(tensor.shape) for name, tensor in layers[-1].items()},
        },
        labels=[START, *(tokenizer.decode([token]) for token in tokens[1:-1]), END],
        word=explanation.words[place],
        row=row,
        head=int(entropies.argmin()),
    )


def parts_of_patches(layer: dict[str, Tensor], cross: Attention) -> Tensor:
    """What each patch adds to the output (T, N, D); with the output's bias they sum to it (Kobayashi et al. 2020)."""
    heads, width = cross.heads, cross.output.weight.shape[0]
    to_output = cross.output.weight.reshape(width, heads, width // heads)
    through = torch.einsum("hnd,ohd->hno", layer["value"][0], to_output)
    return torch.einsum("htn,hno->tno", layer["weights"][0], through)


def write(
    decoder: Decoder, states: Tensor, ids: Tensor, kept: str, output_attentions: bool = False
) -> Iterator[Tensor]:
    """Logits (1, V) after each of ``ids`` (1, T), as a search asks for them; ``kept``: one of ``KEPT``."""
    cache = decoder.start(states)
    for stop in range(1, ids.shape[1] + 1):
        new = ids[:, :stop]
        if kept == "patches and words":
            new = ids[:, stop - 1 : stop]
        elif kept == "patches":
            cache = DecoderCache(cache.patches)
        elif stop > 1:
            cache = decoder.start(states)
        only_last = torch.zeros_like(new, dtype=torch.bool)
        only_last[:, -1] = True
        yield decoder(new, cache, output_attentions, only_last).logits


@torch.inference_mode()
def multiply_adds(decoder: Decoder, states: Tensor, ids: Tensor) -> dict[str, list[int]]:
    """Of all matrix products up to each word, by what is kept; counted by torch while they run."""
    counts: dict[str, list[int]] = {}
    for kept in KEPT:
        # Weights are asked for, since torch does not count what its fused kernel does on a CPU.
        with FlopCounterMode(display=False) as counter:
            steps = write(decoder, states, ids, kept, output_attentions=True)
            counts[kept] = [counter.get_total_flops() // 2 for _ in steps]
    return counts


def fingerprint(*files: Path) -> str:
    """Of what a picture is made from; it stands in the picture's file."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


# ---- Measuring


def median_seconds(work: Callable[[], Any], at_least: float) -> float:
    """The median of at least 5 calls and at least so many seconds of them, after two that warm up."""
    work()
    work()
    times: list[float] = []
    while len(times) < 5 or sum(times) < at_least:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most memory that torch holds at once during ``work``, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event["args"] for event in events if event.get("name") == "[memory]"]
    before = changes[0]["Total Allocated"] - changes[0]["Bytes"]
    return max(change["Total Allocated"] for change in changes) - before


@torch.inference_mode()
def measure(captioner: Captioner, quick: bool) -> dict[str, Any]:
    """Time and memory of one cross-attention against N and against T, and of whole captions."""
    decoder, patches = captioner.model.decoder, captioner.model.grid[0] * captioner.model.grid[1]
    cross, width = decoder.blocks[-1].cross_attention, decoder.config.width
    at_least = 0.02 if quick else 0.3
    words = 4 if quick else 16
    many_patches = [49, 196] if quick else [49, 196, 784, 3136, 12544]
    many_words = [1, 8] if quick else [1, 4, 16, 64, 256, 1024]
    lengths = [2, 4] if quick else [4, 8, 16, LONGEST]

    def point(words: int, patches: int) -> dict[str, Any]:
        hidden, source = torch.randn(1, words, width), torch.randn(1, patches, width)
        key, value = cross.key_value(source)
        calls: tuple[Callable[[], Any], ...] = (
            lambda: cross(hidden, key, value),
            lambda: cross(hidden, key, value, output_attentions=True),
            lambda: cross(hidden, *cross.key_value(source)),
        )
        return {
            "words": words,
            "patches": patches,
            **{
                name: {"seconds": median_seconds(work, at_least), "bytes": peak_bytes(work)}
                for name, work in zip(WAYS, calls, strict=True)
            },
        }

    def write_all(ids: Tensor, kept: str) -> list[Tensor]:
        return list(write(decoder, states, ids, kept))

    states = torch.randn(1, patches, width)
    captions = []
    for length in lengths:
        ids = torch.randint(decoder.config.vocab_size, (1, length))
        seconds = {kept: median_seconds(partial(write_all, ids, kept), at_least) for kept in KEPT}
        captions.append({"words": length, "seconds": seconds})
    return {
        "quick": quick,
        "torch": torch.__version__.split("+")[0],
        "threads": torch.get_num_threads(),
        "width": width,
        "heads": decoder.config.heads,
        "layers": decoder.config.layers,
        "grid_patches": patches,
        "over_patches": [point(words, count) for count in many_patches],
        "over_words": [point(count, patches) for count in many_words],
        "captions": captions,
    }


# ---- Pictures

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
    """In inches, on white, so that it can be read on a dark page as well."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, facecolor="white")


def rendered(drawn: Figure) -> Image.Image:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def save_picture(picture: Image.Image, path: Path, source: str) -> None:
    """A photo as .jpg, a drawing as .png of 256 colors; ``source``, the fingerprint of what made it, inside."""
    if path.suffix == ".jpg":
        picture.save(path, quality=90, optimize=True, comment=source)
        return
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", source)
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True, pnginfo=text)


def heat(
    axes: Axes, values: Any, signed: bool = False, labels: Sequence[str] | None = None, power: float = 0.5
) -> None:
    """A matrix as colored cells, white at zero; ``labels`` of its rows. Of weights the ``power`` is shown.

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
    left.set_xticks(
        range(words), reading.labels[:-1], rotation=55, ha="left", rotation_mode="anchor", fontsize=9
    )
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
    """The photo with what the model is shown of it, and that as patches."""
    from matplotlib.patches import Rectangle

    photo, geometry = reading.explanation.photo, reading.explanation.geometry
    (rows, columns), (width, height) = reading.explanation.grid_size, geometry.input_size
    shown = photo.transform(
        geometry.input_size, Image.Transform.EXTENT, geometry.box, Image.Resampling.BICUBIC
    )
    drawn = figure(7.6, 3.4)
    left, right = drawn.add_axes((0.01, 0.03, 0.52, 0.84)), drawn.add_axes((0.57, 0.03, 0.42, 0.84))
    left.imshow(photo)
    x, y, x_end, y_end = geometry.box
    left.add_patch(
        Rectangle((x, y), x_end - x, y_end - y, fill=False, edgecolor="white", linewidth=4, clip_on=False)
    )
    left.add_patch(
        Rectangle((x, y), x_end - x, y_end - y, fill=False, edgecolor=MARK, linewidth=2, clip_on=False)
    )
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
    """softmax(QKᵀ/√d)V of one head, as matrices."""
    layer, head, row = reading.last, reading.head, reading.row
    query, key, value = (layer[name][head].numpy() for name in ("query", "key", "value"))
    weights, mixed = layer["weights"][head].numpy(), layer["mixed"][head].numpy()
    (words, width), patches = query.shape, len(key)
    drawn = figure(9.2, 5.6)
    places = {
        f"Q  ({words} × {width})": ((0.15, 0.60, 0.17, 0.27), query, True),
        f"Kᵀ  ({width} × {patches})": ((0.39, 0.60, 0.42, 0.27), key.T, True),
        f"weights  ({words} × {patches})": ((0.15, 0.10, 0.40, 0.27), weights, False),
        f"V  ({patches} × {width})": ((0.61, 0.03, 0.13, 0.41), value, True),
        f"output  ({words} × {width})": ((0.81, 0.10, 0.17, 0.27), mixed, True),
    }
    notes = iter(
        ("the words ask", "the patches offer", "each row sums to 1", "the patches tell", "for the words")
    )
    for title, (box, values, signed) in places.items():
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
    drawn.text(
        0.83, 0.735, f"÷ √{width},\nthen softmax\nof each row\n= weights", ha="left", va="center", fontsize=11
    )
    return rendered(drawn)


def draw_row(reading: Reading) -> Image.Image:
    """A row as bars, folded into the grid, and laid over the photo."""
    explanation, values = reading.explanation, reading.rows[reading.row].numpy()
    grid = values.reshape(explanation.grid_size)
    drawn = figure(9.2, 4.8)
    bars = drawn.add_axes((0.07, 0.72, 0.91, 0.19))
    bars.bar(range(len(values)), values, width=1.0, color=LINES["fused"][0])
    bars.set_xlim(-0.5, len(values) - 0.5)
    bars.set_ylabel("weight", fontsize=9)
    bars.tick_params(labelsize=9)
    bars.spines[["top", "right"]].set_visible(False)
    name = reading.predictions[reading.row]
    bars.set_title(f"the row “{name}”: {len(values)} weights, one a patch, sum 1", fontsize=10)
    folded, placed = drawn.add_axes((0.05, 0.02, 0.36, 0.56)), drawn.add_axes((0.46, 0.02, 0.53, 0.56))
    heat(folded, grid, power=1)
    folded.set_aspect("equal")
    folded.set_title("folded into the grid of patches", fontsize=10)
    over = explanation.geometry.place(grid, smooth=False)
    placed.imshow(overlay.overlay(overlay.mute(explanation.photo), over))
    placed.set_title("laid over the photo: a map", fontsize=10)
    placed.set_axis_off()
    return rendered(drawn)


def draw_maps(reading: Reading) -> Image.Image:
    """The same word's softmax row and its default map, and the word that owes the photo least."""
    explanation, word = reading.explanation, reading.word
    index = explanation.words.index(word)
    least = min(explanation.words, key=lambda one: (one.grounded, one.evidence))
    titles = [
        f"{word.text}: softmax row",
        f"{word.text}: {explanation.method}",
        f"{least.text}: {explanation.method}",
    ]
    maps = [reading.raw.words[index].map, word.map, least.map]
    grounded = [True, word.grounded, least.grounded]
    return overlay.grid(explanation.photo, titles, maps, explanation.geometry, grounded=grounded, longest=300)


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
    """Time and memory of one cross-attention, against N and against T."""
    drawn = figure(9.2, 6.4)
    sides = {"patches": measured["over_patches"], "words": measured["over_words"]}
    for column, (varied, points) in enumerate(sides.items()):
        fixed = f"T = {points[0]['words']}" if varied == "patches" else f"N = {points[0]['patches']}"
        x = [point[varied] for point in points]
        letter = "N" if varied == "patches" else "T"
        for row, (unit, scale, name) in enumerate(
            (("seconds", 1e3, "time, ms"), ("bytes", 2**-20, "memory, MiB"))
        ):
            axes = drawn.add_axes((0.08 + 0.51 * column, 0.56 - 0.49 * row, 0.39, 0.34))
            for way in WAYS:
                curve(axes, x, [point[way][unit] * scale for point in points], way)
            if unit == "bytes":
                table = [
                    point["words"] * point["patches"] * measured["heads"] * 4 * scale for point in points
                ]
                axes.plot(x, table, color=INK, linewidth=1, linestyle=":", label="the table of weights alone")
            log_axes(axes, f"{varied}, {letter}", name, x)
            axes.set_title(f"{name.split(',')[0]} against {letter}, {fixed}", fontsize=10)
            last = axes
    handles, names = last.get_legend_handles_labels()
    drawn.legend(handles, names, loc="upper center", ncols=4, frameon=False, fontsize=9)
    return rendered(drawn)


def draw_cache(reading: Reading, measured: dict[str, Any]) -> Image.Image:
    """What a caption costs by what is kept: counted, and measured."""
    decoder = reading.captioner.model.decoder
    longest = torch.zeros(1, LONGEST, dtype=torch.long)  # the count does not depend on the ids
    counts = multiply_adds(decoder, reading.states, longest)
    drawn = figure(9.2, 3.6)
    left, right = drawn.add_axes((0.09, 0.15, 0.39, 0.66)), drawn.add_axes((0.59, 0.15, 0.39, 0.66))
    steps = [1, 2, 4, 8, 16, LONGEST]
    lengths = [caption["words"] for caption in measured["captions"]]
    for kept in KEPT:
        curve(left, steps, [counts[kept][step - 1] / 1e6 for step in steps], kept)
        curve(right, lengths, [caption["seconds"][kept] * 1e3 for caption in measured["captions"]], kept)
    log_axes(left, "words written", "million multiply-adds", steps)
    log_axes(right, "words written", "time, ms", lengths)
    left.set_title("counted", fontsize=10)
    right.set_title("measured", fontsize=10)
    handles, names = left.get_legend_handles_labels()
    drawn.legend(
        handles, [f"kept: {name}" for name in names], loc="upper center", ncols=3, frameon=False, fontsize=9
    )
    return rendered(drawn)


# ---- The page


def table(header: Sequence[str], rows: Sequence[Sequence[object]], numbers_from: int = 1) -> str:
    """Markdown; columns from ``numbers_from`` on stand right."""
    rule = ["---" if column < numbers_from else "--:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (header, rule, *rows))


def place(patch: int, columns: int) -> str:
    """Row and column of a patch, counted from the upper left and from one."""
    return f"{patch // columns + 1}, {patch % columns + 1}"


def millions(count: float) -> str:
    return f"{count / 1e6:,.{2 if count < 1e7 else 0}f} M"


def size(count: float) -> str:
    """Bytes, as people read them."""
    return f"{count / 2**20:.2f} MiB" if count >= 2**19 else f"{count / 2**10:.1f} KiB"


def of_beside(model: CaptionModel) -> str:
    """A sentence on the second network, where there is one."""
    beside = model.config.encoder.beside
    if beside is None:
        return ""
    return (
        f" A second network, `{beside}`, sees the same pixels; what its feature maps have at a patch is added to the "
        "patch's vector."
    )


def table_of_shapes(reading: Reading) -> str:
    names = {
        "pixel_values": "the photo, RGB: `pixel_values`",
        "states": "what the encoder makes of each patch, at the decoder's width: `encoder_hidden_states`",
        "key": "a key of each patch for each head, in each layer",
        "value": "a value of each patch for each head, in each layer",
        "ids": "the caption's tokens, the start first: `input_ids`",
        "query": "a query of each token for each head, in each layer",
        "weights": "what each token takes from each patch: `cross_attentions`, in each layer",
        "mixed": "weights × values",
        "output": "the heads put together again, and added to each token",
        "logits": "how likely each token of the vocabulary is to come next",
    }
    return table(("shape", "what"), [(f"`{reading.shapes[name]}`", what) for name, what in names.items()], 2)


def table_by_hand(reading: Reading) -> str:
    """The row that the page works out: its strongest patches, the rest, and the sum."""
    scores, weights = (reading.last[name][reading.head, reading.row] for name in ("scores", "weights"))
    shares, columns = (scores - scores.max()).exp(), reading.explanation.grid_size[1]
    best = weights.argsort(descending=True)[:BY_HAND].tolist()

    def row(name: str, score: str, share: Tensor, weight: Tensor) -> tuple[str, ...]:
        return name, score, f"{share:.3f}", f"{weight:.3f}"

    rows = [row(place(one, columns), f"{scores[one]:.2f}", shares[one], weights[one]) for one in best]
    rest = shares.sum() - shares[best].sum(), weights.sum() - weights[best].sum()
    rows.append(row(f"the other {len(weights) - BY_HAND}", "", *rest))
    rows.append(row("sum", "", shares.sum(), weights.sum()))
    return table(("patch: row, column", "score", "e^(score − largest)", "weight"), rows)


def table_of_weights(reading: Reading) -> str:
    """A row for each prediction, the patches added up by quarters of the grid."""
    columns, lines = reading.explanation.grid_size[1], []
    for name, weights in zip(reading.predictions, reading.rows, strict=True):
        halves = weights.reshape(reading.explanation.grid_size).tensor_split(2, dim=0)
        quarters = [quarter.sum() for half in halves for quarter in half.tensor_split(2, dim=1)]
        strongest = int(weights.argmax())
        numbers = [f"{number:.3f}" for number in (*quarters, weights.sum())]
        lines.append((name, *numbers, f"{weights[strongest]:.3f} at {place(strongest, columns)}"))
    quarters_named = ("upper left", "upper right", "lower left", "lower right")
    return table(("read → predicted", *quarters_named, "sum", "strongest patch: row, column"), lines)


def table_of_words(explanation: Explanation) -> str:
    """The triangle: what each word paid to the start and to the words before it."""
    lines = []
    for index, (word, paid) in enumerate(zip(explanation.words, explanation.words_attention, strict=True), 1):
        lines.append(
            (f"**{word.text}**", *(f"{one:.2f}" for one in paid[:index]), *[""] * (len(paid) - index))
        )
    return table(("predicted", START, *(word.text for word in explanation.words)), lines)


def table_of_evidence(explanation: Explanation) -> str:
    rows = [
        (word.text, f"{word.probability:.3f}", f"{word.evidence:.2f}", "yes" if word.grounded else "no")
        for word in explanation.words
    ]
    return table(("word", "probability", "evidence, bits", "grounded"), rows)


def example(reading: Reading) -> str:
    """The page's code: the function that has made the page's own tensors, and its use."""
    use = EXAMPLE_USE.format(photo=PHOTO, caption=reading.explanation.caption)
    return f"{EXAMPLE_IMPORTS}\n\n{inspect.getsource(read_by_hand)}\n\n{use}"


def values_of_reading(reading: Reading) -> dict[str, object]:
    """What the template asks for of the caption and its tensors."""
    explanation, model = reading.explanation, reading.captioner.model
    (rows, columns), (width, height) = explanation.grid_size, explanation.geometry.input_size
    tokens, patches = reading.rows.shape
    head_width = reading.last["query"].shape[-1]
    with torch.no_grad():
        lengths = parts_of_patches(reading.layers[-1], model.decoder.blocks[-1].cross_attention).norm(dim=-1)
    sinks = reading.rows.mean(dim=0).argsort(descending=True)[:SINKS]
    shown = {"center": "The middle of the photo", "pad": "The whole photo with a plain border"}
    preprocessing = reading.captioner.parts.preprocessing
    squeezed = (
        f", squeezed by a factor of at most {preprocessing.stretch:.2f}," if preprocessing.stretch > 1 else ""
    )
    return {
        "caption": explanation.caption.text,
        "word": reading.word.text,
        "asks": reading.labels[reading.row],
        "predicts": reading.labels[reading.row + 1],
        "photo": PHOTO,
        "shown": shown[preprocessing.crop] + squeezed,
        "input_size": f"{width} × {height}",
        "grid": f"{rows} × {columns}",
        "patch_size": f"{width // columns} × {height // rows}",
        "tokens": tokens,
        "patches": patches,
        "width": model.config.decoder.width,
        "head_width": head_width,
        "root": f"{head_width**0.5:g}",
        "encoder": f"`{model.config.encoder.name}` of {len(model.encoder.network.blocks)} blocks",
        "beside": of_beside(model),
        "mirrored": MIRRORED if preprocessing.mirrored else "",
        "layers": model.config.decoder.layers,
        "heads": model.config.decoder.heads,
        "method": explanation.method,
        "smooth": f"{DEFAULT_REPAIRS.smooth:g}",
        "table_of_shapes": table_of_shapes(reading),
        "table_by_hand": table_by_hand(reading),
        "table_of_weights": table_of_weights(reading),
        "table_of_words": table_of_words(explanation),
        "table_of_evidence": table_of_evidence(explanation),
        "example": example(reading).rstrip(),
        "example_prints": "\n".join(["True", *(f"{reading.shapes['weights']} True" for _ in reading.layers)]),
        "sinks": SINKS,
        "sinks_at": "; ".join(place(patch, columns) for patch in sorted(sinks.tolist())),
        "sinks_take": f"{reading.rows[:, sinks].sum() / reading.rows.sum():.0%}",
        "sinks_tell": f"{lengths[:, sinks].sum() / lengths.sum():.0%}",
    }


def values_of_cost(reading: Reading) -> dict[str, object]:
    """What is counted: the same on every machine."""
    decoder, (tokens, patches) = reading.captioner.model.decoder, reading.rows.shape
    width = decoder.config.width
    products = [
        ("keys and values of the patches, once a photo", "2·N·D²", millions(2 * patches * width**2)),
        ("queries and output", "2·T·D²", millions(2 * tokens * width**2)),
        ("QKᵀ and weights × V, all heads", "2·T·N·D", millions(2 * tokens * patches * width)),
    ]
    counts = {kept: each[-1] for kept, each in multiply_adds(decoder, reading.states, reading.ids).items()}
    saved = [(kept, millions(count), f"{counts['nothing'] / count:.1f}") for kept, count in counts.items()]
    with torch.no_grad():
        cache = decoder.start(reading.states)
    return {
        "table_of_products": table(("products", "multiply-adds", "here"), products, 2),
        "table_of_counts": table(("kept from word to word", "multiply-adds", "times fewer"), saved),
        "bytes_of_patches": size(sum(tensor.nbytes for pair in cache.patches for tensor in pair)),
        "bytes_of_word": size(2 * decoder.config.layers * width * 4),
    }


def values_of_measurements(measured: dict[str, Any]) -> dict[str, object]:
    """What is measured; growth from the last but one size to the last."""
    lines = []
    for varied, letter in (("patches", "N"), ("words", "T")):
        before, last = measured[f"over_{varied}"][-2:]
        ratios = [
            f"{last[way][unit] / before[way][unit]:.1f}"
            for unit in ("seconds", "bytes")
            for way in ("fused", "explicit")
        ]
        span = f"{letter} from {before[varied]} to {last[varied]}"
        lines.append((span, f"{last[varied] / before[varied]:g}", *ratios))
    point, caption = measured["over_patches"][-1], measured["captions"][-1]
    fused, explicit, anew = (point[way] for way in WAYS)
    seconds = caption["seconds"]
    return {
        "warning": "**Tiny sizes on a busy machine: these measurements hold a place.** "
        if measured["quick"]
        else "",
        "torch": measured["torch"],
        "threads": f"{measured['threads']} CPU thread{'s' if measured['threads'] != 1 else ''}",
        "many_patches": point["patches"],
        "few_words": point["words"],
        "explicit_time": f"{explicit['seconds'] / fused['seconds']:.1f}",
        "explicit_memory": f"{explicit['bytes'] / fused['bytes']:.1f}",
        "anew_time": f"{anew['seconds'] / fused['seconds']:.1f}",
        "caption_words": caption["words"],
        "caption_cached": f"{seconds['patches and words'] * 1e3:.1f} ms",
        "caption_uncached": f"{seconds['nothing'] * 1e3:.1f} ms",
        "caption_times": f"{seconds['nothing'] / seconds['patches and words']:.1f}",
        "table_of_growth": table(
            ("", "times", "time, fused", "time, explicit", "memory, fused", "memory, explicit"), lines
        ),
    }


def page(reading: Reading, measured: dict[str, Any]) -> str:
    """The whole page; the same model, photo and measurements give the same text."""
    values = values_of_reading(reading) | values_of_cost(reading) | values_of_measurements(measured)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def draw(reading: Reading, measured: dict[str, Any], folder: Path, measurements: Path) -> None:
    """Writes all pictures into ``folder``."""
    model = fingerprint(bundled_folder() / "model.safetensors", ROOT / PHOTO)
    numbers = fingerprint(measurements)
    save_picture(draw_two_tables(reading), folder / "tables.png", model)
    save_picture(draw_patches(reading), folder / "patches.jpg", model)
    save_picture(draw_product(reading), folder / "product.png", model)
    save_picture(draw_row(reading), folder / "row.jpg", model)
    save_picture(draw_maps(reading), folder / "maps.jpg", model)
    save_picture(draw_cost(measured), folder / "cost.png", numbers)
    save_picture(draw_cache(reading, measured), folder / "cache.png", numbers)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="measure first; takes about a minute")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that it works")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the page goes [docs]")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    check_script(parser, [folder / PAGE, folder / MEASUREMENTS], [PHOTO, TEMPLATE, *model_files(None)])
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    captioner = Captioner.from_pretrained(device="cpu")
    measurements = folder / MEASUREMENTS
    if arguments.measure:
        values = measure(captioner, arguments.quick)
        measurements.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    elif not measurements.is_file():
        parser.error(f"{measurements} does not exist; add --measure.")
    measured = json.loads(measurements.read_text(encoding="utf-8"))
    reading = read(captioner)
    (folder / PAGE).write_text(page(reading, measured), encoding="utf-8")
    draw(reading, measured, folder / PICTURES, measurements)


if __name__ == "__main__":
    main()
