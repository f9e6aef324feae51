"""How long work takes, and how much memory it needs: two ways of it in turns, and the most bytes held meanwhile."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

Result = TypeVar("Result")

PATIENCE = 15.0
"""Seconds after which no further round begins, once there are ``LEAST_ROUNDS``."""

LEAST_ROUNDS = 3

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Rounds:
    """The seconds of rounds in which two ways took turns; ``theirs`` is empty where there is only one."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        return median(self.ours)

    @property
    def their_seconds(self) -> float | None:
        return median(self.theirs) if self.theirs else None

    @property
    def ratios(self) -> list[float]:
        """Return their seconds over ours, round by round."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=bool(self.theirs))]

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.theirs else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Return the smallest and the largest ratio of a round."""
        return (min(self.ratios), max(self.ratios)) if self.theirs else None


def take_turns(
    ours: Callable[[], Any],
    theirs: Callable[[], Any] | None = None,
    *,
    rounds: int,
    synchronize: Callable[[], None] = lambda: None,
) -> Rounds:
    """Time ``ours`` and ``theirs`` alternately, ``rounds`` times; both must have run before.

    So both meet the same state of the machine, and a ratio is of two neighbors. Fewer rounds, but ``LEAST_ROUNDS``,
    where they take longer than ``PATIENCE``.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    for number in range(rounds):
        if number >= LEAST_ROUNDS and time.perf_counter() - begun > PATIENCE:
            break
        for work, taken in zip((ours, theirs), seconds, strict=True):
            if work is not None:
                synchronize()
                start = time.perf_counter()
                work()
                synchronize()
                taken.append(time.perf_counter() - start)
    return Rounds(tuple(seconds[0]), tuple(seconds[1]))


def synchronizer(device: str) -> Callable[[], None]:
    """Return a function that waits until ``device`` has done what it was given."""
    import torch

    if device.partition(":")[0] == "cpu":
        return lambda: None
    return lambda: torch.accelerator.synchronize(torch.device(device))


def peak_memory(device: str, work: Callable[[], Result]) -> tuple[int | None, Result]:
    """Return the most bytes held at once during ``work``, what was held before included, and what it returns.

    On a CUDA device what torch has allocated there. On a CPU the high-water mark of the process's resident memory
    (``VmHWM``), which Linux resets for whoever writes 5 to ``/proc/self/clear_refs``; memory that is free, but not
    yet returned to the system, is returned before. None where the system can't tell.
    """
    import torch

    kind = device.partition(":")[0]
    gc.collect()
    if kind == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        result = work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)), result
    known = kind == "cpu" and _forget_peak()
    result = work()
    return (_peak() if known else None), result


def _forget_peak() -> bool:
    """Let the high-water mark be what is resident now; return whether the system could."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5")
    except (AttributeError, OSError, TypeError):  # no glibc, no Linux, not allowed
        return False
    return _peak() is not None


def _peak() -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
