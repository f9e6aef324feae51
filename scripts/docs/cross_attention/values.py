"""The values that page.md asks for: figures, and tables of them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.common.markdown import table
from scripts.common.template import Parts
from scripts.docs.cross_attention.cost import WAYS, multiply_adds
from scripts.docs.cross_attention.reading import PHOTO, START, Reading, parts_of_patches, read_by_hand
from wordgaze.captioner import Captioner, Explanation
from wordgaze.explanation.methods import DEFAULT_POST_PROCESSING

TEMPLATE = Path(__file__).with_name("page.md")
PROSE = Parts(TEMPLATE)
BY_HAND = 5  # patches of the row that is worked out
SINKS = 4
SHAPES = ["pixel_values", "states", "key", "value", "ids", "query", "weights", "mixed", "output", "logits"]


def page(reading: Reading, measured: dict[str, Any]) -> str:
    """Return the whole page; the same model, photo and measurements give the same text."""
    values = values_of_reading(reading) | values_of_cost(reading) | values_of_measurements(measured)
    return PROSE.fill("page", **values) + "\n"


def position(patch: int, columns: int) -> str:
    """Return row and column of a patch, counted from the upper left and from one."""
    return f"{patch // columns + 1}, {patch % columns + 1}"


def millions(count: float) -> str:
    return f"{count / 1e6:,.{2 if count < 1e7 else 0}f} M"


def size(count: float) -> str:
    """Return bytes as people read them."""
    return f"{count / 2**20:.2f} MiB" if count >= 2**19 else f"{count / 2**10:.1f} KiB"


def table_by_hand(reading: Reading) -> str:
    """Return the row that the page works out: its strongest patches, the rest, and the sum."""
    scores, weights = (reading.last[name][reading.head, reading.row] for name in ("scores", "weights"))
    shares, columns = (scores - scores.max()).exp(), reading.explanation.grid_size[1]
    best = weights.argsort(descending=True)[:BY_HAND].tolist()

    def row(name: str, score: str, share: Tensor, weight: Tensor) -> tuple[str, ...]:
        return name, score, f"{share:.3f}", f"{weight:.3f}"

    rows = [row(position(patch, columns), f"{scores[patch]:.2f}", shares[patch], weights[patch]) for patch in best]
    rest = shares.sum() - shares[best].sum(), weights.sum() - weights[best].sum()
    rows.append(row(f"the other {len(weights) - BY_HAND}", "", *rest))
    rows.append(row("sum", "", shares.sum(), weights.sum()))
    return table(("patch: row, column", "score", "e^(score − largest)", "weight"), rows, 1)


def table_of_weights(reading: Reading) -> str:
    """Return a row for each prediction, the patches added up by quarters of the grid."""
    columns, lines = reading.explanation.grid_size[1], []
    for name, weights in zip(reading.predictions, reading.rows, strict=True):
        halves = weights.reshape(reading.explanation.grid_size).tensor_split(2, dim=0)
        quarters = [quarter.sum() for half in halves for quarter in half.tensor_split(2, dim=1)]
        strongest = int(weights.argmax())
        numbers = [f"{number:.3f}" for number in (*quarters, weights.sum())]
        lines.append((name, *numbers, f"{weights[strongest]:.3f} at {position(strongest, columns)}"))
    quarters_named = ("upper left", "upper right", "lower left", "lower right")
    return table(("read → predicted", *quarters_named, "sum", "strongest patch: row, column"), lines, 1)


def table_of_words(explanation: Explanation) -> str:
    """Return the triangle: what each word paid to the start and to the words before it."""
    lines = []
    for index, (word, paid) in enumerate(zip(explanation.words, explanation.words_attention, strict=True), 1):
        lines.append((f"**{word.text}**", *(f"{share:.2f}" for share in paid[:index]), *[""] * (len(paid) - index)))
    return table(("predicted", START, *(word.text for word in explanation.words)), lines, 1)


def table_of_evidence(explanation: Explanation) -> str:
    rows = [
        (word.text, f"{word.probability:.3f}", f"{word.evidence:.2f}", "yes" if word.grounded else "no")
        for word in explanation.words
    ]
    return table(("word", "probability", "evidence, bits", "grounded"), rows, 1)


def values_of_reading(reading: Reading) -> dict[str, object]:
    """Return what the template asks for of the caption and its tensors."""
    explanation, model = reading.explanation, reading.captioner.model
    (rows, columns), (width, height) = explanation.grid_size, explanation.geometry.input_size
    tokens, patches = reading.rows.shape
    head_width = reading.last["query"].shape[-1]
    with torch.no_grad():
        lengths = parts_of_patches(reading.layers[-1], model.decoder.blocks[-1].cross_attention).norm(dim=-1)
    sinks = reading.rows.mean(dim=0).argsort(descending=True)[:SINKS]
    return {
        "caption": explanation.caption.text,
        "word": reading.word.text,
        "asks": reading.labels[reading.row],
        "predicts": reading.labels[reading.row + 1],
        "photo": PHOTO,
        "input_size": f"{width} × {height}",
        "grid": f"{rows} × {columns}",
        "patch_size": f"{width // columns} × {height // rows}",
        "tokens": tokens,
        "patches": patches,
        "width": model.config.decoder.width,
        "head_width": head_width,
        "root": f"{head_width**0.5:g}",
        "encoder": f"`{model.config.encoder.name}` of {len(model.encoder.network.blocks)} blocks",
        **_of_photos(reading.captioner),
        "layers": model.config.decoder.layers,
        "heads": model.config.decoder.heads,
        "method": explanation.method,
        "smooth": f"{DEFAULT_POST_PROCESSING.smooth:g}",
        **{f"shape_{name}": f"`{shape}`" for name, shape in reading.shapes.items() if name in SHAPES},
        "table_by_hand": table_by_hand(reading),
        "table_of_weights": table_of_weights(reading),
        "table_of_words": table_of_words(explanation),
        "table_of_evidence": table_of_evidence(explanation),
        "read_by_hand": inspect.getsource(read_by_hand).rstrip(),
        "example_prints": "\n".join(["True", *(f"{reading.shapes['weights']} True" for _ in reading.layers)]),
        "sinks": SINKS,
        "sinks_at": "; ".join(position(patch, columns) for patch in sorted(sinks.tolist())),
        "sinks_take": f"{reading.rows[:, sinks].sum() / reading.rows.sum():.0%}",
        "sinks_tell": f"{lengths[:, sinks].sum() / lengths.sum():.0%}",
    }


def _of_photos(captioner: Captioner) -> dict[str, str]:
    """Return what of the photo the encoder is shown, and how often."""
    preprocessing, aux_backbone = captioner.parts.preprocessing, captioner.model.config.encoder.beside
    stretch = f"{preprocessing.max_aspect_change:.2f}"
    squeezed = PROSE.fill("squeezed", stretch=stretch) if preprocessing.max_aspect_change > 1 else ""
    return {
        "shown": PROSE.fill(f"shown_{preprocessing.crop}") + squeezed,
        "beside": "" if aux_backbone is None else f"\n{PROSE.fill('beside', network=aux_backbone)}",
        "mirrored": f"\n{PROSE.fill('mirrored')}" if preprocessing.hflip_tta else "",
    }


def values_of_cost(reading: Reading) -> dict[str, object]:
    """Return what is counted: the same on every machine."""
    decoder, (tokens, patches) = reading.captioner.model.decoder, reading.rows.shape
    width = decoder.config.width
    counts = {cached: per_word[-1] for cached, per_word in multiply_adds(decoder, reading.states, reading.ids).items()}
    saved = [(cached, millions(count), f"{counts['nothing'] / count:.1f}") for cached, count in counts.items()]
    with torch.no_grad():
        cache = decoder.start(reading.states)
    return {
        "products_of_patches": millions(2 * patches * width**2),
        "products_of_words": millions(2 * tokens * width**2),
        "products_of_weights": millions(2 * tokens * patches * width),
        "table_of_counts": table(("kept from word to word", "multiply-adds", "times fewer"), saved, 1),
        "bytes_of_patches": size(sum(tensor.nbytes for pair in cache.patches for tensor in pair)),
        "bytes_of_word": size(2 * decoder.config.layers * width * 4),
    }


def values_of_measurements(measured: dict[str, Any]) -> dict[str, object]:
    """Return what is measured; growth from the last but one size to the last."""
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
        "warning": f"{PROSE.fill('warning')} " if measured["quick"] else "",
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
            ("", "times", "time, fused", "time, explicit", "memory, fused", "memory, explicit"), lines, 1
        ),
    }
