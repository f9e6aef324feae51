"""What can go wrong for a user, each as one sentence: what is wrong, where, and what to do."""

import sys
import warnings


class WordgazeError(Exception):
    """The parent of every error a user can cause; its text is the whole message."""


class PhotoError(WordgazeError):
    """A photo can't be read."""


class PhotoWarning(UserWarning):
    """A photo was read, but is probably not what it should be: cut short, empty, wholly transparent."""


class DataError(WordgazeError):
    """A caption file, a box file or a training set can't be used."""


class ModelError(WordgazeError):
    """A model folder, checkpoint or tokenizer can't be used."""


class ConfigError(WordgazeError):
    """An option or a configuration makes no sense."""


def first_line(error: BaseException) -> str:
    """Another library's error, as a part of our sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def warn(message: str, category: type[Warning]) -> None:
    """Warn, as of the line outside this package that called into it."""
    frame, level = sys._getframe(1), 2  # stacklevel 2 is the line that called this function
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("wordgaze."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
