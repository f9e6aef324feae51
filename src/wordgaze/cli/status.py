"""``wordgaze status``."""

from __future__ import annotations

import json

import click

from wordgaze.cli.options import common_options


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common_options
@click.pass_context
def command(context: click.Context, folder: str, as_json: bool) -> None:
    """Show how far `wordgaze caption --out-dir DIR` is, on all machines: what is done, what failed, the time left.

    Nothing is written. The exit status is 0 if all shards are done, else 1.
    """
    from wordgaze.tasks.status import status

    result = status(folder)
    if as_json:
        click.echo(json.dumps(result.to_dict()))
        context.exit(0 if result.is_done else 1)
    running = f", {result.running:,} being captioned now" if result.running else ""
    click.echo(f"shards: {result.done:,} of {result.shards:,} done{running}")
    counts = [f"{number:,} {name}" for name, number in result.counts.items() if number]
    click.echo(f"photos: {result.photos:,}{' (' + ', '.join(counts) + ')' if counts else ''}")
    if result.photos_per_second is not None:
        click.echo(f"rate: {result.photos_per_second:,.1f} photos a second")
    if result.seconds_left:
        click.echo(f"time left: about {_duration(result.seconds_left)}")
    for reason, number in result.reasons.items():
        click.echo(f"{number:,} not captioned: {reason}")
    context.exit(0 if result.is_done else 1)


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:,.0f} seconds"
