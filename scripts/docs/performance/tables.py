"""The page's tables, from the JSON of ``wordgaze bench``, ``wordgaze bench train`` and this package's measurements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from scripts.common.markdown import table

Values = dict[str, Any]
PHASES = ("open", "preprocess", "encode")


def read_benches(folder: Path) -> list[Values]:
    """Return the values of ``bench-*.json``; a model's may be spread over several files, each with its own cells."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("bench-*.json"))]


def cells(benches: Iterable[Values], kind: str = "rows") -> list[dict[str, Any]]:
    """Return all rows of a kind, by model (the bundled one first), batch and beams."""
    rows = [row for bench in benches for row in bench[kind]]
    return sorted(rows, key=lambda row: (row["model"] != "bundled", row["model"], row["batch"], row["num_beams"]))


def where(machine: dict[str, Any], precision: str = "float32") -> str:
    """Return what the figures below it depend on, as a sentence."""
    names = {"torch": "PyTorch", "transformers": "transformers", "onnxruntime": "ONNX Runtime"}
    versions = ", ".join(f"{name} {machine[key]}" for key, name in names.items() if machine.get(key))
    processor = f"{machine['processor']} with {machine['vector_instructions']}, {machine['threads']} threads"
    return f"{machine['gpu'] or processor}; {versions}; {precision}."


def generation(benches: list[Values]) -> str:
    """Return how long transformers takes, in times of ours: a row a model and batch, a column a number of beams."""
    rows = [row for row in cells(benches) if row["phase"] == "generate"]
    beams = sorted({row["num_beams"] for row in rows})
    lines = []
    for model, batch in dict.fromkeys((row["model"], row["batch"]) for row in rows):
        of_beams = {row["num_beams"]: row for row in rows if (row["model"], row["batch"]) == (model, batch)}
        lines.append([model, batch, *(_ratio(of_beams.get(count)) for count in beams)])
    header = ["model", "batch", *("greedy" if count == 1 else f"beam {count}" for count in beams)]
    return f"{where(benches[0]['machine'])}\n\n{table(header, lines, 1)}\n\n{_same(rows)}"


def _ratio(row: dict[str, Any] | None) -> str:
    if row is None or row["ratio"] is None:
        return "-"
    spread = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
    return f"**{row['ratio']:.2f}** ({spread}), {row['captions_per_second']:.0f}/s"


def _same(rows: list[dict[str, Any]]) -> str:
    """Return the sentence on whether both sides wrote the same captions."""
    compared = [row for row in rows if row["same_captions"] is not None]
    same, total = sum(row["same_captions"] for row in compared), sum(row["batch"] for row in compared)
    if same == total:
        return f"All {total} captions are the same on both sides."
    return f"{same} of {total} captions are the same on both sides."


def phases(benches: list[Values]) -> str:
    """Return the milliseconds of each phase of one batch of the bundled model, and the peak memory."""
    rows = [row for row in cells(benches) if row["model"] == "bundled"]
    lines = []
    for batch, beams in dict.fromkeys((row["batch"], row["num_beams"]) for row in rows):
        cell = {row["phase"]: row for row in rows if (row["batch"], row["num_beams"]) == (batch, beams)}
        peaks = [row["peak_bytes"] for row in cell.values() if row["peak_bytes"] is not None]
        times = [f"{1e3 * cell[phase]['seconds']:.0f}" for phase in (*PHASES, "generate")]
        lines.append([batch, beams, *times, f"{max(peaks) / 1e6:.0f}" if peaks else "-"])
    return table(["batch", "beams", "open", "preprocess", "encode", "generate", "peak memory, MB"], lines, 0)


def whole(benches: list[Values]) -> str:
    """Return captions a second from file to text, beside encoding as it was, and what Amdahl's law leaves."""
    lines = [
        [
            row["batch"],
            row["num_beams"],
            f"{row['captions_per_second']:.1f}",
            f"{row['over_plain_encoding']:.2f} ({row['over_low']:.2f} to {row['over_high']:.2f})",
            "-" if row["amdahl_limit"] is None else f"{row['amdahl_reached']:.2f}",
            "-" if row["amdahl_limit"] is None else f"{row['amdahl_limit']:.2f}",
        ]
        for row in cells(benches, "whole")
        if row["model"] == "bundled"
    ]
    header = [
        "batch",
        "beams",
        "captions/s",
        "times plain encoding",
        "faster than with transformers'",
        "Amdahl's limit",
    ]
    return table(header, lines, 0)


def backends(values: Values) -> str:
    """Return captions a second by backend and batch, how fast each encodes, and which one to take."""
    rows = values["rows"]
    batches = list(dict.fromkeys(row["batch"] for row in rows))
    lines = []
    for name in dict.fromkeys(row["backend"] for row in rows):
        own = [next(row for row in rows if (row["backend"], row["batch"]) == (name, batch)) for batch in batches]
        encoding = [f"{row['encode_speedup']:.2f}" for row in own]
        captioning = [f"{row['captions_per_second']:.1f} (×{row['speedup']:.2f})" for row in own]
        same = f"{sum(row['same_captions'] for row in own)} of {sum(batches)}"
        lines.append([name, *captioning, " / ".join(encoding), same])
    sizes = " / ".join(map(str, batches))
    header = ["backend", *(f"batch {batch}" for batch in batches), f"encoder, times as fast ({sizes})", "same captions"]
    return f"{where(values['machine'], 'captions a second')}\n\n{table(header, lines, 1)}\n\n{advice(rows)}"


def advice(rows: list[dict[str, Any]]) -> str:
    """Return the sentence that says which backend to take, by what was fastest in each batch."""
    best: dict[str, list[int]] = {}
    for batch in dict.fromkeys(row["batch"] for row in rows):
        of_batch = [row for row in rows if row["batch"] == batch]
        fastest = max(of_batch, key=lambda row: row["captions_per_second"])
        best.setdefault(fastest["backend"], []).append(batch)
    parts = [f"{name} at batch {', '.join(map(str, batches))}" for name, batches in best.items()]
    return f"Fastest on this CPU: {'; '.join(parts)}."


def training(values: Values) -> str:
    """Return the ways to train, each pair in turns."""
    lines = []
    for row in values["rows"]:
        ratio = (
            "" if row["ratio"] is None else f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        )
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.0f}"
        times = [f"{1e3 * row[f'{part}_seconds']:.0f}" for part in ("load", "compute")]
        lines.append([row["way"], *times, f"{row['photos_per_second']:.1f}", peak, ratio])
    header = ["way", "load, ms", "compute, ms", "photos/s", "peak memory, MB", "step, times the row above"]
    first = values["rows"][0]
    batch = f"{first['batch']} photos a step, {first['captions_per_photo']} captions each; {first['precision']}"
    return f"{where(values['machine'], batch)}\n\n{table(header, lines, 1)}"


def tables(folder: Path) -> dict[str, str]:
    """Return the page's tables by the words that mark their places; only of what has been measured."""
    made: dict[str, str] = {}
    if benches := read_benches(folder):
        made |= {"generation": generation(benches), "phases": phases(benches), "whole": whole(benches)}
    files: dict[str, Callable[[Values], str]] = {"backends": backends, "training": training}
    for name, make in files.items():
        path = folder / f"{name}.json"
        if path.is_file():
            made[name] = make(json.loads(path.read_text(encoding="utf-8")))
    return made
