"""Markdown: tables, and text in lines that are not too long."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120


def table(header: Sequence[object], rows: Iterable[Sequence[object]], numbers_from: int | None = None) -> str:
    """Return a table; the columns from ``numbers_from`` on are aligned at the right."""
    aligned_left = len(header) if numbers_from is None else numbers_from
    rule = ["---" if column < aligned_left else "--:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (header, rule, *rows))


def wrapped(text: str, width: int = WIDTH) -> str:
    """Return paragraphs and lists in lines of at most ``width``; headings, tables and front matter as they are."""
    blocks = []
    for block in re.sub(r"\n{3,}", "\n\n", text).strip().split("\n\n"):
        if block.startswith("- "):
            items = block.removeprefix("- ").split("\n- ")
            block = "\n".join("- " + _fill(item, width - 2).replace("\n", "\n  ") for item in items)
        elif not block.startswith(("#", "|", "---")):
            block = _fill(block, width)
        blocks.append(block)
    return "\n\n".join(blocks) + "\n"


def _fill(text: str, width: int) -> str:
    return textwrap.fill(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)
