"""A run that is asked to stop finishes what it has begun; then the signal does what it would have done without us."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wordgaze.signals import StopSignals

BOTH = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Return the signals that reach who was there before us."""
    numbers: list[int] = []
    before = {n: signal.signal(n, lambda n, _: numbers.append(n)) for n in BOTH}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_what_has_begun_is_finished_first(handled: list[int], number: int) -> None:
    signals, done = StopSignals(), []
    with signals.kept_back():
        for batch in range(5):
            if batch == 2:
                signal.raise_signal(number)
            done.append(batch)
            if signals.stopping():
                break
        assert handled == []
    assert (done, handled) == ([0, 1, 2], [number])


def test_a_second_signal_ends_it_at_once(handled: list[int]) -> None:
    signals = StopSignals()
    with pytest.raises(KeyboardInterrupt), signals.kept_back():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        handled.append(0)
    assert handled == [signal.SIGTERM]


def test_an_error_leaves_the_handlers_as_they_were(handled: list[int]) -> None:
    with pytest.raises(ZeroDivisionError), StopSignals().kept_back():
        raise ZeroDivisionError
    signal.raise_signal(signal.SIGTERM)
    assert handled == [signal.SIGTERM]


def test_a_process_ends_by_the_signal_itself() -> None:
    code = (
        "import signal\n"
        "from wordgaze.signals import StopSignals\n"
        "with StopSignals().kept_back():\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('finished', flush=True)\n"
        "print('not reached', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "finished\n")
