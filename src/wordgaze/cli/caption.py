"""``wordgaze caption``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from wordgaze.cli.caption_shards import ShardOptions, caption_shards, find_shards, shard_options
from wordgaze.cli.options import PhotoOptions, generation_options, given, model_options, photo_options
from wordgaze.cli.output import json_line, progress, tell, tell_left_out
from wordgaze.cli.sinks import SinkOptions, sink_options, tell_stopped, write_captions
from wordgaze.data.listing import STDIN, Listing
from wordgaze.files import one_line
from wordgaze.signals import StopSignals

if TYPE_CHECKING:
    from wordgaze.captioning.sinks.sink import CaptionedFile


@click.command()
@photo_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with every word's probability.")
@click.option(
    "--confidence",
    is_flag=True,
    help="Also print how likely each caption is to be right, from 0 to 1; the model card says how well that holds.",
)
@sink_options
@shard_options
@model_options
@generation_options
@click.pass_context
def command(
    context: click.Context,
    /,
    photo_values: PhotoOptions,
    as_json: bool,
    confidence: bool,
    sink_values: SinkOptions,
    shard_values: ShardOptions,
    model: str | None,
    backend: str,
    device: str | None,
    precision: str,
    mirrored: bool | None,
    batch_size: int | str | None,
    **options: Any,
) -> None:
    r"""Caption photos and folders of photos, one per line: PATH, a tab, the caption.

    With --confidence, another tab and a number follow. With -o, --sidecar and --xmp captions go into files instead,
    which may be combined, and the same command resumes a run that ended early; stdout stays empty.
    Folders are searched recursively; - reads one photo from stdin. In these lines, a tab, line break or backslash in a
    file name is written as \t, \n, \r or \\; --json leaves names as they are. Whatever else the folders hold is counted
    on stderr. A photo that can't be read is reported there (with --json, in its own object), and the others are still
    captioned; the exit status is then 1. A photo that is probably not as it should be is reported there too.
    """
    lists = [name for name in photo_values.files_from if name != STDIN]
    prints, in_shards = as_json or confidence, shard_values.wanted
    sink_values.check(lists, model, shard_values.retry, prints=prints, in_shards=in_shards)
    shards = find_shards(shard_values, photo_values, prints or bool(sink_values))
    listing = photo_values.listing() if shards is None else Listing()

    from wordgaze.captioner import Captioner
    from wordgaze.tasks.caption_files import caption_files, require_confidence

    captioner = Captioner.from_pretrained(model, device, precision, mirrored, backend=backend)
    generation = captioner.generation_options(**given(**options))
    if confidence or sink_values.min_confidence is not None:
        require_confidence(captioner, generation, "--confidence" if confidence else "--min-confidence")
    strict, sized = photo_values.strict, given(batch_size=batch_size)
    if shards is not None:
        context.exit(caption_shards(captioner, shards, generation, shard_values, strict=strict, **sized))
    tell_left_out(listing)
    photos, signals = listing.photos, StopSignals()
    settings = {"strict": strict, "first_at_once": True, **sized}
    with signals.caught() if STDIN in photos else signals.kept_back():
        if sink_values:
            sinks = sink_values.sinks(captioner, generation, model, shard_values.retry, strict=strict)
            status = write_captions(captioner, photos, generation, sinks, signals, **settings)
        else:
            results = caption_files(captioner, photos, generation, stopping=signals.stopping, **settings)
            status = _print_captions(results, len(photos), as_json=as_json, confidence=confidence)
            tell_stopped(signals)
    context.exit(status)


def _print_captions(results: Iterable[CaptionedFile], total: int, *, as_json: bool, confidence: bool) -> int:
    """Print a line for each photo, failures on stderr unless as JSON; return the exit status."""
    failed = False
    with progress(total) as advance:
        for result in results:
            failed = failed or result.caption is None
            for warning in result.warnings:
                tell(result.file, warning)
            if as_json:
                click.echo(json_line(result.to_dict()))
            elif result.caption is None:
                tell(result.file, str(result.error))
            else:
                sure = [f"{result.caption.confidence:.2f}"] if confidence else []
                click.echo("\t".join([one_line(result.file), one_line(str(result.caption)), *sure]))
            advance()
    return 1 if failed else 0
