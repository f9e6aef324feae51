"""``wordgaze caption``."""

from __future__ import annotations

from typing import Any

import click

from wordgaze.cli.options import generation_options, given, model_options
from wordgaze.cli.output import json_line, progress


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object a line, with every word's probability."
)
@click.option(
    "--confidence",
    is_flag=True,
    help="Print behind each caption how likely it is right, from 0 to 1; the model's card says how well that holds.",
)
@model_options
@generation_options
@click.pass_context
def command(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    as_json: bool,
    confidence: bool,
    model: str | None,
    device: str | None,
    precision: str,
    mirrored: bool | None,
    batch_size: int | None,
    **options: Any,
) -> None:
    """Caption photos and folders of photos, a line each: PATH, a tab, the caption (with --confidence a tab, a number).

    Folders are searched recursively. A photo that can't be read is named on stderr (with --json in its own
    object), and the rest goes on; the exit status is then 1.
    """
    from wordgaze.captioner import Captioner
    from wordgaze.tasks.caption_files import caption_files, photos_in, require_confidence

    photos = photos_in(paths)
    captioner = Captioner.from_pretrained(model, device, precision, mirrored)
    generation = captioner.generation_options(**given(**options))
    if confidence:
        require_confidence(captioner, generation)
    results = caption_files(captioner, photos, generation, **given(batch_size=batch_size))
    failed = False
    with progress(len(photos)) as advance:
        for result in results:
            failed = failed or result.caption is None
            if as_json:
                click.echo(json_line(result.to_dict()))
            elif result.caption is None:
                click.echo(f"wordgaze: {result.file}: {result.error}", err=True)
            else:
                sure = [f"{result.caption.confidence:.2f}"] if confidence else []
                click.echo("\t".join([str(result.file), str(result.caption), *sure]))
            advance()
    context.exit(1 if failed else 0)
