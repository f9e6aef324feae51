"""README and the pages of docs/: writes the picture, the outputs that they show, and the tables, from what makes them.

python -m scripts.docs.pages

A ``text`` block is what the commands or the Python before it print. docs/cross-attention.md has a script of its own.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scripts import ROOT
from wordgaze.files import write_text

README = ROOT / "README.md"
WRITTEN = [
    README,
    *(ROOT / f"docs/{name}.md" for name in ("caption", "maps", "evaluate", "train", "bundled-model")),
]
PHOTO, PICTURE = "demo/kingfisher.jpg", "docs/kingfisher-maps.png"

_BLOCK = re.compile(r"^```(bash|python|text)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_IN_ENVIRONMENT = "&& .venv/bin/"


@dataclass(frozen=True)
class Block:
    """A fenced block, ``bash`` or ``python``, and the ``output`` that the page shows of it, if any."""

    kind: str
    body: str
    output: str | None = None

    def commands(self) -> list[str]:
        """Return the lines that run wordgaze, without comments; a line that ends in a backslash goes on."""
        lines = self.body.replace("\\\n", " ").splitlines() if self.kind == "bash" else []
        commands = [line.split(" #")[0].rpartition(_IN_ENVIRONMENT)[2].strip() for line in lines]
        return [line for line in commands if re.search(r"(^|\| )wordgaze ", line)]


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks of commands and of Python."""
    result: list[Block] = []
    for kind, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "text":
            result[-1] = replace(result[-1], output=body)
        else:
            result.append(Block(kind, body))
    return result


def main() -> None:
    _print_of(f"{_wordgaze()} explain {PHOTO} -o {PICTURE}")
    for page in WRITTEN:
        text = page.read_text(encoding="utf-8")
        for block in blocks(page):
            if block.output is not None:
                text = _with_output(text, block, _run(block))
        for marker, table in _tables(text):
            text = between(text, marker, table)
        write_text(page, text)


def _run(block: Block) -> str:
    if block.kind == "python":
        return _print_of(f"{shlex.quote(sys.executable)} -c {shlex.quote(block.body)}")
    return "".join(_print_of(command.replace("wordgaze", _wordgaze(), 1)) for command in block.commands())


def _with_output(text: str, block: Block, output: str) -> str:
    """Return the page's text with another output below ``block``."""
    before, body, after = text.partition(block.body)
    old, new = (f"```text\n{shown}```\n" for shown in (block.output, output))
    return before + body + after.replace(old, new, 1)


def _wordgaze() -> str:
    return f"{shlex.quote(sys.executable)} -m wordgaze"


def _print_of(command: str) -> str:
    """Return what a command of the shell prints."""
    return subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _tables(text: str) -> Iterator[tuple[str, str]]:
    """Return the tables that a page has a place for, each after the comment that marks the place."""
    if "<!-- scores of the card" in text:
        yield "scores of the card", scores()
    if "<!-- side by side" in text:
        yield "side by side", _print_of(f"{sys.executable} -m scripts.experiments.side_by_side table")


def between(text: str, marker: str, body: str) -> str:
    """Return ``text`` with ``body`` between the comment that begins with ``marker`` and the next ``<!-- end -->``."""
    pattern = re.compile(rf"(<!-- {re.escape(marker)}[^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{body.rstrip()}\n{match[2]}", text)


def scores() -> str:
    """Return the card's table of scores."""
    card = (ROOT / "src/wordgaze/bundled/README.md").read_text(encoding="utf-8")
    section = card.partition("## Scores\n")[2].partition("\n## ")[0]
    return "\n".join(line for line in section.splitlines() if line.startswith("|"))


if __name__ == "__main__":
    main()
