"""Captions that say something twice, the mark of a search or a training gone wrong."""

from __future__ import annotations

from collections.abc import Sequence


def repeats(words: Sequence[str], size: int = 3) -> bool:
    """Whether the same ``size`` words come twice in a row of ``words``."""
    runs = [tuple(words[index : index + size]) for index in range(len(words) - size + 1)]
    return len(set(runs)) < len(runs)
