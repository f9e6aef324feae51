"""``wordgaze merge``."""

from __future__ import annotations

import click

from wordgaze.cli.options import common_options


@click.command()
@click.argument("folder", metavar="DIR")
@click.argument("out", metavar="OUT")
@click.option("--partial", is_flag=True, help="Merge the shards that are done, though others are missing.")
@common_options
def command(folder: str, out: str, partial: bool) -> None:
    """Write all rows of `wordgaze caption --out-dir DIR` into OUT, a .jsonl, .csv or .parquet file, sorted by shard."""
    from wordgaze.tasks.merge import merge

    merged = merge(folder, out, partial=partial)
    missing = f"; {merged.missing:,} shards are missing" if merged.missing else ""
    click.echo(f"wordgaze: {merged.rows:,} rows of {merged.shards:,} shards{missing}", err=True)
