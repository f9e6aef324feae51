"""Prose in a Markdown file, where ``$name`` stands for a value; the values come from code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

_PART = re.compile(r"^<!-- part: (\w+) -->\n", re.MULTILINE)


class Parts:
    """The parts of a file, each of which begins after a line ``<!-- part: NAME -->``."""

    def __init__(self, path: Path) -> None:
        _, *pieces = _PART.split(path.read_text(encoding="utf-8"))
        texts = zip(pieces[::2], pieces[1::2], strict=True)
        self.templates: Mapping[str, Template] = {name: Template(text.strip()) for name, text in texts}

    def fill(self, part: str, **values: object) -> str:
        """Return a part with its values; raises KeyError for one that is missing, ValueError for one too many."""
        template = self.templates[part]
        if unknown := set(values) - set(template.get_identifiers()):
            raise ValueError(f"The part {part} has no place for {', '.join(sorted(unknown))}.")
        return template.substitute(values)
