"""``wordgaze caption``."""

from __future__ import annotations

from typing import Any

import click

from wordgaze.cli.options import PhotoOptions, generation_options, given, model_options, photo_options
from wordgaze.cli.output import json_line, progress, tell, tell_left_out
from wordgaze.files import one_line


@click.command()
@photo_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with every word's probability.")
@click.option(
    "--confidence",
    is_flag=True,
    help="Also print how likely each caption is to be right, from 0 to 1; the model card says how well that holds.",
)
@model_options
@generation_options
@click.pass_context
def command(
    context: click.Context,
    /,
    photo_values: PhotoOptions,
    as_json: bool,
    confidence: bool,
    model: str | None,
    backend: str,
    device: str | None,
    precision: str,
    mirrored: bool | None,
    batch_size: int | str | None,
    **options: Any,
) -> None:
    r"""Caption photos and folders of photos, one per line: PATH, a tab, the caption.

    With --confidence, another tab and a number follow. Folders are searched recursively; - reads one photo from stdin.
    In these lines, a tab, line break or backslash in a file name is written as \t, \n, \r or \\; --json leaves names as
    they are. Whatever else the folders hold is counted on stderr. A photo that can't be read is reported there (with
    --json, in its own object), and the others are still captioned; the exit status is then 1. A photo that can be read,
    but is probably not as it should be, is reported there too.
    """
    listing = photo_values.listing()

    from wordgaze.captioner import Captioner
    from wordgaze.tasks.caption_files import caption_files, require_confidence

    captioner = Captioner.from_pretrained(model, device, precision, mirrored, backend=backend)
    generation = captioner.generation_options(**given(**options))
    if confidence:
        require_confidence(captioner, generation)
    tell_left_out(listing)
    photos = listing.photos
    strict, sized = photo_values.strict, given(batch_size=batch_size)
    results = caption_files(captioner, photos, generation, strict=strict, first_at_once=True, **sized)
    failed = False
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
