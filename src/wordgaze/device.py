"""The processor's threads: how many torch starts, and whether the machine has cores for them."""

from __future__ import annotations

import os
import sys

# What torch's, NumPy's and tokenizers' native parts read when they are loaded.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)


def set_threads(count: int) -> None:
    """Let this process compute with ``count`` threads, whether torch is loaded already or not yet."""
    for name in _VARIABLES:
        os.environ[name] = str(count)
    if "torch" in sys.modules:  # not imported for it: --help must answer at once
        sys.modules["torch"].set_num_threads(count)


def load() -> float | None:
    """Return how many threads of all programs wanted to run in the last minute; None where no system tells."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return None


def busy(threads: int) -> str | None:
    """Return a sentence if the machine has no cores left for ``threads`` threads, which then wait for each other.

    A step of torch ends when its last thread has ended, so that one that waits for its turn holds up all others.
    """
    cores, now = os.cpu_count() or 1, load()
    if threads == 1 or now is None or now <= cores:
        return None
    return (
        f"The machine is busy: a load of {now:.1f} on {cores} core{'s' if cores > 1 else ''}, and torch's {threads} "
        "threads wait for each other; --threads 1 is faster beside other work."
    )


def one_thread_after_fork() -> None:
    """Let processes that are forked from this one run torch with one thread.

    OpenMP's threads do not live on in a fork, and a child whose parent has used them would wait for them without end.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    sys.modules["torch"].set_num_threads(1)
