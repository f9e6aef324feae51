"""Errors that a user can cause, each one sentence: what is wrong, where, and what to do."""

import re
import sys
import warnings
from typing import Any


class WordgazeError(Exception):
    """The base of every error that a user can cause; its text is the whole message."""


class PhotoError(WordgazeError):
    """A photo can't be read."""


class PhotoWarning(UserWarning):
    """A photo was read but is probably not as it should be: cut short, empty, fully transparent."""


class ModelWarning(UserWarning):
    """A model was loaded otherwise than from a folder of ours: it was converted, and some settings may be lost."""


class DataError(WordgazeError):
    """A caption file, a box file or a training set can't be used."""


class ModelError(WordgazeError):
    """A model folder, checkpoint or tokenizer can't be used."""


class ConfigError(WordgazeError):
    """An option or a configuration makes no sense."""


def wrong_kind(name: str, value: object, rule: str) -> ConfigError:
    """Return the error for an argument that is not of the kind its ``rule`` states."""
    return ConfigError(f"{name}={shown(value)} is of the wrong kind; it must be {rule}.")


def shown(value: Any) -> str:
    """Return a value as a sentence shows it: on one line, and cut where it is long."""
    # Python writes no numbers of thousands of digits.
    if isinstance(value, int) and abs(value) >= 10**40:
        return f"a number of {value.bit_length()} bits"
    try:
        if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0:
            # 2.5, not np.float64(2.5).
            value = value.item()
        text = " ".join(repr(value).split())
    except Exception:
        # Another library's __repr__ may raise anything.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def first_line(error: BaseException) -> str:
    """Return another library's error as a part of our sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


# Of torch on CPUs, on Apple's GPUs and of CUDA's libraries; of ONNX Runtime.
_NO_MEMORY = re.compile(r"DefaultCPUAllocator|out of memory|_ALLOC_FAILED|Failed to allocate memory|bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether Python, torch or ONNX Runtime could not get the memory that something needs, on any device."""
    # torch's OutOfMemoryError by name: importing torch for it would take seconds.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def warn(message: str, category: type[Warning]) -> None:
    """Warn, naming the line outside this package that called into it."""
    # Stack level 2 is the line that called this function.
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("wordgaze."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
