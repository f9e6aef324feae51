"""How a long run ends by SIGTERM or Ctrl-C: what has begun is finished, and then the signal itself ends the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Keeps SIGINT and SIGTERM back while ``waits``, until a step or a batch is done; a second one ends that, too.

    Lightning's own handler of SIGTERM leaves an exit status of 0, and lets several processes talk within a handler.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.waits = False
        """Whether somebody looks at ``received`` before long."""
        self._before: dict[int, Any] = {}

    def stopping(self) -> bool:
        """Return whether a signal has been received, so that nothing new should begin."""
        return self.received is not None

    @contextmanager
    def kept_back(self) -> Iterator[None]:
        """Finish what begins inside, in batches that look at :meth:`stopping` between them; then obey the signal."""
        with self.caught():
            self.waits = True
            try:
                yield
            finally:
                self.waits = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Raise KeyboardInterrupt for a signal; at the end let it do what it would have done without us."""
        # Python allows handlers in the main thread alone; what a shell ignores for a background job stays ignored.
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            self._before = {n: handler for n, handler in before.items() if handler not in (None, signal.SIG_IGN)}
        try:
            self.install()
            yield
        except KeyboardInterrupt:
            self._release()
            raise
        finally:
            self._restore()
        self._release()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _release(self) -> None:
        self._restore()
        if self.received is not None:
            signal.raise_signal(self.received)

    def install(self) -> None:
        """Take the signals over, from Lightning, too, which takes them whenever it begins something."""
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        second, self.received = self.received is not None, self.received or number
        if second or not self.waits:
            raise KeyboardInterrupt
