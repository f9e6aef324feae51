"""``wordgaze caption --out-dir``: many photos, shard by shard."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wordgaze.cli.options import PhotoOptions
from wordgaze.data.listing import photos_in, read_list
from wordgaze.files import one_line
from wordgaze.signals import StopSignals

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.captioning.shards.inputs import Shard
    from wordgaze.captioning.shards.marker import Marker
    from wordgaze.captioning.shards.rows import Format
    from wordgaze.generation.options import GenerationOptions

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class ShardOptions:
    """The values of :func:`shard_options`."""

    out_dir: str | None
    rows: Format | None
    shard: str | None
    claim: bool
    retry: str | None

    @property
    def wanted(self) -> bool:
        return self.out_dir is not None


def shard_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--out-dir``, ``--format``, ``--shard``, ``--claim`` and ``--retry``; the function gets ``shard_values``."""

    @functools.wraps(command)
    def with_values(
        out_dir: str | None,
        rows: Format | None,
        shard: str | None,
        claim: bool,
        retry: str | None,
        **others: Any,
    ) -> None:
        command(shard_values=ShardOptions(out_dir, rows, shard, claim, retry), **others)

    for option in reversed(
        (
            click.option(
                "--out-dir",
                metavar="DIR",
                help="Caption tars, or a folder or list of photos in shards of 10,000, into a file a shard in DIR; the "
                "same command resumes it.",
            ),
            click.option(
                "--format",
                "rows",
                type=click.Choice(["jsonl", "parquet"]),
                help="With --out-dir: the format of the rows. [default: jsonl]",
            ),
            click.option(
                "--shard",
                metavar="I/N|auto",
                help="With --out-dir: take every Nth shard, from I on (0 to N-1); auto asks SLURM or torchrun.",
            ),
            click.option(
                "--claim", is_flag=True, help="With --out-dir: share the shards with other runs of the same command."
            ),
            click.option(
                "--retry",
                type=click.Choice(["failed"]),
                help="With -o and --out-dir: caption again the photos that failed before, and replace their rows.",
            ),
        )
    ):
        with_values = option(with_values)
    return with_values


def find_shards(values: ShardOptions, photos: PhotoOptions, prints: bool = False) -> Sequence[Shard] | None:
    """Return the shards that the arguments name; None where ``--out-dir`` is not given.

    ``prints``: whether other flags say where captions go. Raises UsageError.
    """
    from wordgaze.captioning.shards.tars import tar_stem

    tar = next((path for path in photos.paths if tar_stem(path) is not None), None)
    if not values.wanted:
        if tar is not None:
            raise click.UsageError(f"{one_line(tar)} is a tar of photos; give --out-dir DIR for its captions.")
        if values.rows or values.shard or values.claim:
            raise click.UsageError("--format, --shard and --claim are for --out-dir; add --out-dir DIR.")
        return None
    if prints:
        raise click.UsageError(
            "--out-dir writes captions into its own files; leave out --json, --confidence, -o, --sidecar and --xmp."
        )
    if values.shard is not None and values.claim:
        raise click.UsageError("--shard deals the shards and --claim shares them; give one of the two.")
    from wordgaze.tasks.caption_shards import parse_part, shards_of_photos, shards_of_tars

    assert values.out_dir is not None
    if values.shard is not None:
        parse_part(values.shard)
    names = [*photos.paths, *(name for file in photos.files_from for name in read_list(file))]
    if not names:
        raise click.UsageError("Missing argument 'PATH...' (or --files-from).")
    if any(tar_stem(name) is not None for name in names):
        return shards_of_tars(names, values.out_dir)
    from wordgaze.cli.output import tell_left_out

    listing = photos_in(names, hidden=photos.hidden, exclude=photos.exclude)
    tell_left_out(listing)
    return shards_of_photos(listing.photos)


def caption_shards(
    captioner: Captioner,
    shards: Sequence[Shard],
    generation: GenerationOptions,
    values: ShardOptions,
    **others: Any,
) -> int:
    """Caption shards, say on stderr what became of each, and return the exit status. ``others``: of ``shard_run``."""
    from wordgaze.captioning.shards.marker import most_frequent
    from wordgaze.captioning.shards.run import Rules
    from wordgaze.tasks.caption_shards import parse_part, shard_run

    assert values.out_dir is not None
    part = (0, 1) if values.shard is None else parse_part(values.shard)
    signals = StopSignals()
    rules = Rules(retry=values.retry is not None, shared=values.claim, stopping=signals.stopping, on_message=_tell)
    run = shard_run(
        captioner, shards, values.out_dir, generation, rows=values.rows or "jsonl", part=part, rules=rules, **others
    )
    markers = []
    before = 0
    with signals.kept_back():
        for done in run.run():
            markers.append(done.marker)
            before += not done.is_ours
            if done.is_ours:
                _tell(f"{one_line(done.name)}: {_described(done.marker)}")
        if run.stopped:
            _tell(f"stopped after {len(markers):,} of {len(run.shards):,} shards; the same command resumes")
    rows, success = sum(marker.rows for marker in markers), sum(marker.counts["success"] for marker in markers)
    earlier = f", {before:,} of them by other runs" if before else ""
    _tell(f"{len(markers):,} of {len(run.shards):,} shards done{earlier}: {success:,} of {rows:,} photos captioned")
    for reason, number in list(most_frequent(marker.reasons for marker in markers).items())[:10]:
        _tell(f"{number:,} not captioned: {reason}")
    return 1 if success < rows else 0


def _tell(message: str) -> None:
    click.echo(f"wordgaze: {message}", err=True)


def _described(marker: Marker) -> str:
    counts = [f"{number:,} {status}" for status, number in marker.counts.items() if number]
    rate = f", {marker.captioned / marker.seconds:,.1f} photos a second" if marker.seconds else ""
    return f"{marker.rows:,} photos ({', '.join(counts) or 'none'}){rate}"
