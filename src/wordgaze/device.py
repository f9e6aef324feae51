"""Where and how torch computes: the device, the precision of its arithmetic, the processor's threads.

Devices and precisions are plain strings, and torch is imported where it is needed: ``--help`` must answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from wordgaze.errors import ConfigError, shown, wrong_kind

PRECISIONS = ("float32", "bfloat16", "float16")
"""Of the arithmetic; weights stay float32."""

AUTO = "auto"
"""As a precision: what :func:`choose_precision` finds faster than float32, or float32."""

# What torch's, NumPy's and tokenizers' native parts read when they are loaded.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)

MAPPED_BYTES = 128 << 20
"""From this size on glibc gives a block of memory back at once, see :func:`keep_freed_memory`."""

KEPT_BYTES = 512 << 20
"""Of freed memory at the top of a heap, for the next that is asked for."""

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def find_device(device: object = "auto") -> str:
    """Return torch's name of a device; ``auto`` (or None) is CUDA, then Apple's MPS, then the CPU.

    Raises ConfigError where torch has no such device.
    """
    import torch

    if device is None or device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        if isinstance(device, bool) or not isinstance(device, str | int | torch.device):
            raise wrong_kind("device", device, "a name such as cpu, the number of a GPU, or a torch.device")
        torch_device = torch.device(device)
        # A meta tensor can be made, but not computed with.
        torch.zeros(1, device=torch_device).item()
    except (ArithmeticError, AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError):
        # These are torch's ways to say that it has no such device.
        raise ConfigError(f"This torch has no device {shown(str(device))}; use auto or cpu.") from None
    return str(torch_device)


def check_precision(precision: object) -> str:
    """Return ``precision``; raise ConfigError unless it is ``auto`` or one of ``PRECISIONS``."""
    if not isinstance(precision, str) or precision not in (*PRECISIONS, AUTO):
        raise ConfigError(f"precision is {shown(precision)}; choose {', '.join(PRECISIONS)} or {AUTO}.")
    return precision


def choose_precision(precision: str, device: str) -> str:
    """Return ``precision``, or where it is ``auto`` the one that encodes photos fastest on ``device``.

    That is bfloat16 on a CPU that has instructions for it and measures faster with them, bfloat16 or float16 on a GPU,
    and float32 elsewhere.
    """

    kind = device.partition(":")[0]
    if precision != AUTO:
        return precision
    if kind == "cuda":
        return "bfloat16" if fastest_precision("cuda") == "bfloat16" else "float16"
    if kind == "mps":
        return "float16"
    has_instructions = kind == "cpu" and fastest_precision("cpu") == "bfloat16"
    return "bfloat16" if has_instructions and _bfloat16_speedup() > 1.1 else "float32"


def _bfloat16_speedup() -> float:
    """Return how many times faster than in float32 a layer of ViT-B is, its input converted each time."""
    import time

    import torch

    rows, weight = torch.ones(512, 768), torch.ones(768, 768)
    lower = weight.bfloat16()
    fastest = [float("inf"), float("inf")]
    # The fastest of ten, in turns: other programs only ever slow it down. That takes about 50 ms.
    for _ in range(10):
        for index, (dtype, matrix) in enumerate(((torch.float32, weight), (torch.bfloat16, lower))):
            start = time.perf_counter()
            rows.to(dtype) @ matrix
            fastest[index] = min(fastest[index], time.perf_counter() - start)
    return fastest[0] / fastest[1]


def fastest_precision(device: str) -> str:
    """Return ``bfloat16`` where ``device`` (``cpu`` or ``cuda``) multiplies faster in it, else ``float32``."""
    import torch

    if device == "cuda":
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        faster = (
            torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported()
        ) or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if faster else "float32"


@contextmanager
def arithmetic(device: str, precision: str) -> Iterator[None]:
    """Let torch compute in ``precision`` on ``device``, and in no lower one."""
    import torch

    cudnn = torch.backends.cudnn
    # By default cuDNN convolves in TF32, whose mantissa has ten bits, not 23.
    exact = cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False)
    kind, lower = device.partition(":")[0], precision != "float32"
    with (
        torch.autocast(kind, getattr(torch, precision), enabled=lower),
        exact if kind == "cuda" else nullcontext(),
    ):
        yield


def set_threads(count: int) -> None:
    """Let this process compute with ``count`` threads, whether torch is loaded already or not."""
    for name in _VARIABLES:
        os.environ[name] = str(count)
    # torch is not imported for this: --help must answer at once.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def load() -> float | None:
    """Return how many threads of all programs wanted to run in the last minute; None where the system can't tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        # Windows.
        return None


def busy(threads: int) -> str | None:
    """Return a sentence if the machine has no cores left for ``threads`` threads, which then wait for each other.

    A step of torch ends with its last thread, so one thread that waits for its turn holds up all others.
    """
    cores, now = os.cpu_count() or 1, load()
    if threads == 1 or now is None or now <= cores:
        return None
    return (
        f"The machine is busy (a load of {now:.1f} on {cores} core{'s' if cores > 1 else ''}), so torch's {threads} "
        "threads wait for each other; --threads 1 is faster beside other work."
    )


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for what this process asks for next; return whether it does so.

    By default it gives large blocks back at once, and the system then clears new pages for each layer of a network,
    which takes a convolutional one up to half of its time. What is kept is at most ``KEPT_BYTES`` at the top of each
    thread's heap, and never more than was once used. Does nothing without glibc, or where the environment has settings
    of its own. Asked for where a captioner is made, not by an import: it holds for all of the process.
    """
    return _set_allocator(MAPPED_BYTES, KEPT_BYTES)


def give_back_freed_memory() -> None:
    """Give all freed memory back to the system; does nothing without glibc."""
    with suppress(AttributeError, ImportError, OSError, ValueError):
        os.confstr("CS_GNU_LIBC_VERSION")
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def default_allocation() -> Iterator[None]:
    """Let glibc give freed memory back as it does by itself after some large blocks, to measure against."""
    _set_allocator(32 << 20, 64 << 20)
    try:
        yield
    finally:
        keep_freed_memory()


def _set_allocator(mapped_bytes: int, kept_bytes: int) -> bool:
    """Give blocks of ``mapped_bytes`` back at once, and more than ``kept_bytes`` at the top of a heap."""
    if any(name.startswith(("MALLOC_MMAP_", "MALLOC_TRIM_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        import ctypes

        # The process's own symbols: an allocator loaded before glibc's has no mallopt to ask for, or its own.
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, ImportError, OSError, ValueError):
        # musl, macOS, Windows.
        return False
    return bool(set_option(_M_MMAP_THRESHOLD, mapped_bytes) and set_option(_M_TRIM_THRESHOLD, kept_bytes))


def one_thread_after_fork() -> None:
    """Let processes that are forked from this one run torch with one thread.

    OpenMP's threads do not survive a fork, and a child whose parent has used them would wait for them forever.
    """
    # Windows has no fork.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
