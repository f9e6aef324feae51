"""Writes the tables and pictures of docs/performance.md from what was measured, docs/performance/*.json.

python -m scripts.docs.performance               tables and pictures, from the measurements that are there
python -m scripts.docs.performance --curves      measure the cost of a step and the memory of a search first
python -m scripts.docs.performance --backends    measure PyTorch, compiled, bfloat16, ONNX Runtime and int8 first

The others are measured by commands, on a machine that does nothing else; a run may be cut into several files:

wordgaze bench --json docs/performance/bench-bundled.json
wordgaze bench --model gpt2-shape --json docs/performance/bench-gpt2-shape.json
wordgaze bench --model blip-shape --json docs/performance/bench-blip-shape.json
wordgaze bench train --json docs/performance/training.json
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts import ROOT
from scripts.common.arguments import check_files, script_parser
from scripts.docs.pages import between
from scripts.docs.performance import backends, curves
from scripts.docs.performance.pictures import draw
from scripts.docs.performance.tables import tables
from wordgaze.files import model_files, write_text

FOLDER = ROOT / "docs"
PAGE, MEASUREMENTS = "performance.md", "performance"


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--curves", action="store_true", help="measure steps and memory first")
    parser.add_argument("--backends", action="store_true", help="measure the backends first")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that it works")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where performance.md is [docs]")
    arguments = parser.parse_args()
    folder, page = arguments.folder / MEASUREMENTS, arguments.folder / PAGE
    check_files(parser, [page], model_files(None))
    folder.mkdir(parents=True, exist_ok=True)
    measures: dict[str, Callable[[bool], dict[str, Any]]] = {"curves": curves.measure, "backends": backends.measure}
    for name, measure in measures.items():
        if getattr(arguments, name):
            write_text(folder / f"{name}.json", json.dumps(measure(arguments.quick), indent=1) + "\n")
    text = page.read_text(encoding="utf-8")
    for marker, body in tables(folder).items():
        text = between(text, marker, body)
    write_text(page, text)
    draw(folder)


if __name__ == "__main__":
    main()
