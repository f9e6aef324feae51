"""How commands print: JSON that any reader takes, and progress only on a terminal."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from wordgaze.captioning.sinks import lines
from wordgaze.data.listing import Listing
from wordgaze.files import AnyPath, one_line

if TYPE_CHECKING:
    from rich.table import Table

MANY = 20
"""Fewer photos are done before a progress bar is of use."""


def json_line(values: Any) -> str:
    """Return JSON without line breaks, with its letters unescaped where stdout can take them.

    Bytes of a file name that are not text become escapes like ``\\udcff``, which ``os.fsencode`` turns back into bytes.
    """
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return lines.json_line(values, ensure_ascii=not utf8)


def tell(file: AnyPath, message: str) -> None:
    """Print a message about a photo on stderr."""
    click.echo(f"wordgaze: {one_line(file)}: {message}", err=True)


def tell_left_out(listing: Listing) -> None:
    """Print on stderr what is left out of the folders, if anything."""
    if left_out := listing.describe_left_out():
        hint = " (--hidden takes what is hidden)" if "hidden" in left_out else ""
        click.echo(f"wordgaze: left out: {left_out}{hint}", err=True)


def with_interval(value: dict[str, Any]) -> str:
    """Return ``0.612 (0.571 to 0.655)``, of a value and its 95 % interval; a dash where there is none."""
    if value["value"] is None:
        return "-"
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def print_table(table: Table) -> None:
    """Print a table as plain lines, however narrow the terminal, without spaces at their ends."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=1000, color_system=None).print(table)
    click.echo("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


class MinuteLines:
    """Prints a line a minute on stderr, for a log: how many are done, how fast, and how long the rest will take."""

    def __init__(self, total: int, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._what, self._clock = total, what, clock
        self._done = 0
        self._begin = self._told = clock()

    def advance(self) -> None:
        """Count one more."""
        self._done += 1
        now = self._clock()
        if now - self._told < 60:
            return
        self._told = now
        rate = self._done / (now - self._begin)
        shown = f"{rate:,.1f}" if rate >= 1 else f"{rate:.2g}"
        left = duration((self._total - self._done) / rate)
        click.echo(f"wordgaze: {self._done:,} of {self._total:,} {self._what}, {shown} a second, {left} left", err=True)


def duration(seconds: float) -> str:
    """Return ``2 h 5 min``, ``18 min`` or ``40 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@contextmanager
def progress(total: int, what: str = "photos", *, lines: bool = True) -> Iterator[Callable[[], None]]:
    """Show a bar with rate and time left on stderr for many photos; calling what this yields moves it.

    It is shown only on a terminal and, if the command prints ``lines`` meanwhile, only where these go elsewhere. A
    command that prints none has a line a minute where stderr is no terminal.
    """
    if not lines and not sys.stderr.isatty():
        yield MinuteLines(total, what).advance
        return
    if total < MANY or not sys.stderr.isatty() or (lines and sys.stdout.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.1f}/s")

    bar = Progress(
        *(BarColumn(), MofNCompleteColumn(), TextColumn(what), Rate(), TimeLeft()),
        console=Console(stderr=True),
        # Results are not for the terminal.
        redirect_stdout=False,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
