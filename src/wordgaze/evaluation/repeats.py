"""Captions that repeat themselves, a sign that search or training went wrong."""

from __future__ import annotations

from collections.abc import Sequence


def repeats(words: Sequence[str], size: int = 3) -> bool:
    """Return whether ``words`` hold the same run of ``size`` words twice."""
    runs = [tuple(words[index : index + size]) for index in range(len(words) - size + 1)]
    return len(set(runs)) < len(runs)
