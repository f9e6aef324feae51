"""Writes docs/cross-attention.md and its pictures: cross-attention explained with the bundled model's own tensors.

python -m scripts.docs.cross_attention              text, tables and pictures, from the model and the measurements
python -m scripts.docs.cross_attention --measure    the measurements first; on a machine that does nothing else
python -m scripts.docs.cross_attention --measure --quick --folder DIR    tiny sizes, only to see that it works

The prose is scripts/docs/cross_attention/page.md, where ``$name`` stands for a value that is computed here.
"""

from __future__ import annotations

import json
from pathlib import Path

from scripts import ROOT
from scripts.common.arguments import check_files, script_parser
from scripts.docs.cross_attention.cost import measure
from scripts.docs.cross_attention.pictures import draw
from scripts.docs.cross_attention.reading import PHOTO, read
from scripts.docs.cross_attention.values import TEMPLATE, page
from wordgaze.captioner import Captioner
from wordgaze.files import model_files, write_text

FOLDER = ROOT / "docs"
PAGE, PICTURES, MEASUREMENTS = "cross-attention.md", "cross-attention", "cross-attention/measurements.json"


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--measure", action="store_true", help="measure first; takes about a minute")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that it works")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the page goes [docs]")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    check_files(parser, [folder / PAGE, folder / MEASUREMENTS], [ROOT / PHOTO, TEMPLATE, *model_files(None)])
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    captioner = Captioner.from_pretrained(device="cpu")
    measurements = folder / MEASUREMENTS
    if arguments.measure:
        values = measure(captioner, arguments.quick)
        write_text(measurements, json.dumps(values, indent=1) + "\n")
    elif not measurements.is_file():
        parser.error(f"{measurements} does not exist; add --measure.")
    measured = json.loads(measurements.read_text(encoding="utf-8"))
    reading = read(captioner)
    write_text(folder / PAGE, page(reading, measured))
    draw(reading, measured, folder / PICTURES, measurements)


if __name__ == "__main__":
    main()
