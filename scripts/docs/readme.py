"""Makes the README's picture, the output below its two lines, and its tables anew, from the files that hold them.

python -m scripts.docs.readme
"""

from __future__ import annotations

import re
import subprocess
import sys

from scripts import ROOT
from wordgaze.files import write_text

README = ROOT / "README.md"
PICTURE = "docs/cat-maps.png"


def run_explain() -> str:
    """What the first line's command prints, after writing the picture."""
    command = [sys.executable, "-m", "wordgaze", "explain", "demo/cat.jpg", "-o", PICTURE]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def replace(text: str, marker: str, body: str) -> str:
    """``body`` between the comment that begins with ``marker`` and the next ``<!-- end -->``."""
    pattern = re.compile(rf"(<!-- {re.escape(marker)}[^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"README.md has no comment '{marker}'")
    return pattern.sub(lambda match: f"{match[1]}{body.rstrip()}\n{match[2]}", text)


def scores() -> str:
    """The card's table of scores."""
    card = (ROOT / "src/wordgaze/bundled/README.md").read_text(encoding="utf-8")
    section = card.partition("## Scores\n")[2].partition("\n## ")[0]
    return "\n".join(line for line in section.splitlines() if line.startswith("|"))


def side_by_side() -> str:
    """What the comparison's own command prints of its results."""
    command = [sys.executable, "-m", "scripts.experiments.side_by_side", "table"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main() -> None:
    text = README.read_text(encoding="utf-8")
    text = replace(text, "output of: wordgaze explain", f"```text\n{run_explain().rstrip()}\n```")
    text = replace(text, "scores of the card", scores())
    text = replace(text, "side by side", side_by_side())
    write_text(README, text)


if __name__ == "__main__":
    main()
