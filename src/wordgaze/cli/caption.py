"""``wordgaze caption``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from wordgaze.cli.caption_shards import ShardOptions, caption_shards, find_shards, shard_options
from wordgaze.cli.options import PhotoOptions, generation_options, given, model_options, photo_options
from wordgaze.cli.output import json_line, progress, tell, tell_left_out
from wordgaze.data.listing import Listing
from wordgaze.files import one_line

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.captioning.xmp.merge import Existing
    from wordgaze.captioning.xmp.write import Where
    from wordgaze.data.listing import Photo
    from wordgaze.generation.options import GenerationOptions


@click.command()
@photo_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with every word's probability.")
@click.option(
    "--confidence",
    is_flag=True,
    help="Also print how likely each caption is to be right, from 0 to 1; the model card says how well that holds.",
)
@click.option(
    "--xmp",
    type=click.Choice(["sidecar", "embed"]),
    help="Write each caption as alt text into PHOTO.xmp, or into the photo itself, and print nothing.",
)
@click.option(
    "--existing",
    type=click.Choice(["skip", "overwrite"]),
    help="Of --xmp: leave alt texts of ours as they are (the default), or replace them; a person's always stay.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Of --xmp: leave captions of less confidence out of the metadata, and list them.",
)
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
    xmp: Where | None,
    existing: Existing | None,
    min_confidence: float | None,
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

    With --confidence, another tab and a number follow. With --xmp, captions go into the photos' metadata instead.
    Folders are searched recursively; - reads one photo from stdin. In these lines, a tab, line break or backslash in a
    file name is written as \t, \n, \r or \\; --json leaves names as they are. Whatever else the folders hold is counted
    on stderr. A photo that can't be read is reported there (with --json, in its own object), and the others are still
    captioned; the exit status is then 1. A photo that is probably not as it should be is reported there too.
    """
    _check_flags(xmp, as_json or confidence, existing is not None or min_confidence is not None)
    shards = find_shards(shard_values, photo_values, as_json or confidence or xmp is not None)
    listing = photo_values.listing() if shards is None else Listing()

    from wordgaze.captioner import Captioner
    from wordgaze.tasks.caption_files import caption_files, require_confidence

    captioner = Captioner.from_pretrained(model, device, precision, mirrored, backend=backend)
    generation = captioner.generation_options(**given(**options))
    if confidence or min_confidence is not None:
        require_confidence(captioner, generation, "--confidence" if confidence else "--min-confidence")
    strict, sized = photo_values.strict, given(batch_size=batch_size)
    if shards is not None:
        context.exit(caption_shards(captioner, shards, generation, shard_values, strict=strict, **sized))
    tell_left_out(listing)
    photos = listing.photos
    if xmp is not None:
        settings = xmp, existing or "skip", min_confidence
        context.exit(_write_alt_texts(captioner, photos, generation, settings, model, strict=strict, **sized))
    failed, results = False, caption_files(captioner, photos, generation, strict=strict, first_at_once=True, **sized)
    with progress(len(photos)) as advance:
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
    context.exit(1 if failed else 0)


def _check_flags(xmp: str | None, prints: bool, has_flags_of_xmp: bool) -> None:
    if xmp is not None and prints:
        raise click.UsageError("--xmp prints nothing; leave out --json and --confidence.")
    if xmp is None and has_flags_of_xmp:
        raise click.UsageError("--existing and --min-confidence are for --xmp; add --xmp sidecar or --xmp embed.")


def _write_alt_texts(
    captioner: Captioner,
    photos: Sequence[Photo],
    generation: GenerationOptions,
    settings: tuple,
    *rest: Any,
    **more: Any,
) -> int:
    """Say on stderr what people should know of each photo, and a summary; return the exit status."""
    from wordgaze.tasks.alt_texts import AltTextSettings, write_alt_texts

    results = write_alt_texts(captioner, photos, generation, AltTextSettings(*settings), *rest, **more)
    found = dict.fromkeys(("written", "skipped", "kept", "unsure", "failed"), 0)
    with progress(len(photos), lines=False) as advance:
        for result in results:
            for message in result.messages:
                tell(result.file, message)
            found[result.status] += 1
            advance()
    named = {"skipped": "skipped (captioned before)", "kept": "kept (a person's)", "unsure": "not sure enough"}
    parts = [f"{number:,} {named.get(status, status)}" for status, number in found.items() if number]
    click.echo(f"wordgaze: alt text: {', '.join(parts) or 'no photos'}", err=True)
    return 1 if found["failed"] else 0
