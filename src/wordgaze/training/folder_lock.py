"""One process at a time in a folder, by a lock of the system's: it leaves no file, and ends with its process."""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class FolderLock:
    """The lock of a folder that is there when it is taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None
        _LOCKS.add(self)

    def take(self) -> bool:
        """Take the lock, or keep it; return False where another process has it.

        Where the system knows no such locks (Windows, some network file systems), it is always had.
        """
        if self._handle is not None or sys.platform == "win32":
            return True
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError:
            os.close(handle)
            return True
        self._handle = handle
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    __del__ = release


_LOCKS: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _drop_copies() -> None:
    """Let go of the locks that a forked process has copies of: a worker that lives on would hold its parent's."""
    for lock in _LOCKS:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_copies)
