"""Computes what captioning a hundred million photos costs, from rates that `wordgaze bench` has measured.

    python -m scripts.experiments.scale_cost [--photos 100000000] [--days 7] [--write] [BENCH.json ...]

By default from docs/performance/bench-bundled*.json. Of each device and number of beams the batch size of the highest
rate counts: photos from their files to their captions. Machines are counted as large as the one that was measured; a
machine with more cores captions faster, but nothing here says by how much. ``--write`` puts the table into
docs/scale.md; do so when the measurements there have changed.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import ROOT
from scripts.common.arguments import script_parser
from wordgaze.files import write_text


@dataclass(frozen=True)
class Cost:
    """What ``photos`` take at a rate that was measured, on machines of ``cores``."""

    model: str
    device: str
    num_beams: int
    batch: int
    rate: float
    cores: int
    photos: int

    @property
    def machine_hours(self) -> float:
        return self.photos / self.rate / 3600

    @property
    def core_hours(self) -> float:
        return self.machine_hours * self.cores

    def machines(self, days: float) -> int:
        """Return how many machines are done within so many days."""
        return math.ceil(self.machine_hours / (24 * days))


def costs(measurements: list[dict[str, Any]], photos: int) -> list[Cost]:
    """Return the cost at the highest rate of each model, device and number of beams."""
    best: dict[tuple[str, str, int], Cost] = {}
    for measured in measurements:
        for row in measured["whole"]:
            key = (row["model"], row["device"], row["num_beams"])
            cost = Cost(*key, row["batch"], row["captions_per_second"], measured["machine"]["cores"], photos)
            if key not in best or cost.rate > best[key].rate:
                best[key] = cost
    return sorted(best.values(), key=lambda cost: (cost.model, cost.device, cost.num_beams))


def table(costs: list[Cost], days: float) -> str:
    """Return the costs as a table in Markdown."""
    lines = [
        f"| model | device | beams | photos a second | core-hours | machines for {days:g} days |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cost in costs:
        device = f"{cost.device}, {cost.cores} cores" if cost.device == "cpu" else cost.device
        numbers = f"{cost.rate:.1f} | {cost.core_hours:,.0f} | {cost.machines(days):,}"
        lines.append(f"| {cost.model} | {device} | {cost.num_beams} | {numbers} |")
    return "\n".join(lines)


PAGE = ROOT / "docs/scale.md"
_TABLE = re.compile(r"^\| model \| device \| beams \|.*\n(?:\|.*\n)+", re.MULTILINE)


def page_with(table: str, page: str) -> str:
    """Return the text of the page with its table replaced."""
    return _TABLE.sub(table + "\n", page)


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("measurements", nargs="*", type=Path)
    parser.add_argument("--photos", type=int, default=100_000_000)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    files = arguments.measurements or sorted((ROOT / "docs/performance").glob("bench-bundled*.json"))
    if not files:
        parser.error("docs/performance has no bench-bundled*.json; name measurements of `wordgaze bench --json`")
    measured = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    text = table(costs(measured, arguments.photos), arguments.days)
    print(text)
    if arguments.write:
        write_text(PAGE, page_with(text, PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
