"""Pillow with its messages kept in: what it warns of, logs or lets libtiff print never reaches the user.

They name files of the installation, not the photo, and come from many threads at once. `warnings.catch_warnings` is
of no use there: it exchanges the filters of the whole process.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from PIL import Image, _imaging

_this_thread = threading.local()


def _is_quiet() -> bool:
    return getattr(_this_thread, "quiet", False)


class _QuietThread:
    """A warning filter's pattern for modules: matches every module in a quiet thread, and none in others."""

    def match(self, _: str) -> bool:
        return _is_quiet()


_IGNORE: Any = ("ignore", None, Warning, _QuietThread(), 0)

# The only logger of Pillow's that says more than debug lines where no logging has been set up.
logging.getLogger("PIL.TiffImagePlugin").addFilter(lambda _: not _is_quiet())


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep in what this thread's calls to Pillow warn of, log or print; nothing changes for other threads."""
    filters: Any = warnings.filters
    if not filters or filters[0] is not _IGNORE:  # others may put theirs first, or begin a list of their own
        filters.insert(0, _IGNORE)
    before, _this_thread.quiet = _is_quiet(), True
    try:
        with _libtiff_messages:
            yield
    finally:
        _this_thread.quiet = before


class _LibtiffMessages:
    """Libtiff prints to the process's stderr, from C, through two handlers that are the same for all threads.

    They are taken away when the first thread enters, and put back when the last one leaves. Where Pillow holds
    libtiff without letting its names be seen (on Windows), they stay.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._setters: list[Callable[[Any], Any]] | None = None
        self._handlers: list[Any] = []

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._handlers = [setter(None) for setter in self._find_setters()]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for setter, handler in zip(self._find_setters(), self._handlers, strict=True):
                    setter(handler)

    def _find_setters(self) -> list[Callable[[Any], Any]]:
        if self._setters is None:
            self._setters = []
            try:
                # Looks in the libraries that Pillow's own is linked with, too.
                pillow = ctypes.CDLL(_imaging.__file__)
                setters = [pillow.TIFFSetErrorHandler, pillow.TIFFSetWarningHandler]
            except (AttributeError, OSError):
                return self._setters
            for setter in setters:
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                self._setters.append(setter)
        return self._setters


_libtiff_messages = _LibtiffMessages()

_limit_lock = threading.Lock()


def open_with_pillow(file: BinaryIO, formats: list[str]) -> Image.Image:
    """Return ``Image.open``'s image without Pillow's own limit, which speaks before the caller's is asked."""
    # Reading a header is quick enough to do one at a time.
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
