"""How commands print: JSON that any reader takes, and progress only on a terminal."""

from __future__ import annotations

import io
import sys
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


@contextmanager
def progress(total: int, what: str = "photos", *, lines: bool = True) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr for many photos; calling what this yields moves it.

    It is shown only on a terminal and, if the command prints ``lines`` meanwhile, only where these go elsewhere.
    """
    if total < MANY or not sys.stderr.isatty() or (lines and sys.stdout.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        # Results are not for the terminal.
        redirect_stdout=False,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
