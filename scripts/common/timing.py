"""How long something takes, by the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Return the seconds that ``work`` takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def fastest(rounds: int, work: Callable[[], Result]) -> tuple[float, Result]:
    """Return the seconds of the fastest of several rounds, and what the last one returned."""
    seconds, results = zip(*(timed(work) for _ in range(rounds)), strict=True)
    return min(seconds), results[-1]


def median_seconds(work: Callable[[], object], at_least: float) -> float:
    """Return the median of at least five calls that take ``at_least`` seconds together, after two that warm up."""
    work()
    work()
    seconds: list[float] = []
    while len(seconds) < 5 or sum(seconds) < at_least:
        seconds.append(timed(work)[0])
    return statistics.median(seconds)
