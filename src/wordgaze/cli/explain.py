"""``wordgaze explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wordgaze.cli.options import PhotoOptions, given, model_options, photo_options, search_options
from wordgaze.cli.output import print_table, progress, tell, tell_left_out
from wordgaze.files import one_line

if TYPE_CHECKING:
    from wordgaze.captioner import Explanation


@click.command()
@photo_options
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    metavar="OUT",
    help="A .png, .html, .json or .npz file, or a folder.",
)
@click.option("--text", metavar="CAPTION", help="Explain this caption instead of the model's own.")
@click.option(
    "--method",
    metavar="NAME",
    help="How attention becomes a map: gradient (the default), rollout, contrast (the default of an exported model, "
    "which has no gradients), last, mean, layer-0, layer-0-head-0, ..., or several joined by +.",
)
@click.option("--raw", is_flag=True, help="Show the softmax rows of the method's layers as they are.")
@model_options
@search_options
@click.pass_context
def command(
    context: click.Context,
    /,
    photo_values: PhotoOptions,
    out: str,
    text: str | None,
    method: str | None,
    raw: bool,
    model: str | None,
    backend: str,
    device: str | None,
    precision: str,
    mirrored: bool | None,
    **options: Any,
) -> None:
    """Show, for every word of a photo's caption, where in the photo the model looked.

    Writes OUT. A .png shows the photo under the map of each word that the photo called for, and the whole caption
    below; an .html page shows the map of any word you touch; .json and .npz hold the numbers. Several photos go into
    one .html or .json, or one file each into a folder OUT. A photo that is explained is never overwritten. PATHs and
    file names are those of `wordgaze caption`.

    Prints the caption and, for each word, its probability, the entropy of its map (in bits; low where the model looked
    at few places), and the map's peak (photo pixels from the upper left). Brackets mark the peak of a word that the
    photo did not call for ("of", "on"): its map shows where the model looked, not what the word stands for.
    """
    if text is not None and (ignored := given(**options)):
        flags = ", ".join("--" + name.replace("_", "-") for name in ignored)
        raise click.UsageError(f"--text gives the caption, so there is no search; leave out {flags}.")

    listing = photo_values.listing()

    from wordgaze.tasks.explain_files import explain_files, inputs_of, plan_output

    photos = listing.photos
    output = plan_output(out, photos, inputs_of(listing, photo_values.files_from, model))

    from wordgaze.captioner import Captioner

    captioner = Captioner.from_pretrained(model, device, precision, mirrored, backend=backend)
    results = explain_files(
        captioner, photos, output, text, method, raw=raw, strict=photo_values.strict, **given(**options)
    )
    tell_left_out(listing)
    failed = False
    with progress(len(photos)) as advance:
        for result in results:
            for warning in result.warnings:
                tell(result.file, warning)
            if result.explanation is None:
                failed = True
                tell(result.file, str(result.error))
            else:
                click.echo(f"{one_line(result.file)}\t{one_line(str(result.explanation.caption))}")
                _print_words(result.explanation)
            advance()
    context.exit(1 if failed else 0)


def _print_words(explanation: Explanation) -> None:
    from rich.table import Table
    from rich.text import Text

    from wordgaze.explanation.overlay import position_in_words

    table = Table("word", "probability", "entropy", "peak", "", box=None, pad_edge=False)
    for column in table.columns[1:4]:
        column.justify = "right"
    for word in explanation.words:
        x, y = word.peak
        peak, position = f"{x}, {y}", position_in_words(word.peak, explanation.geometry.photo_size)
        if not word.grounded:
            peak, position = f"({peak})", f"({position})"
        # Text, since a word in brackets would be markup.
        probability = "given" if word.probability is None else f"{word.probability:.3f}"
        table.add_row(Text(word.text), probability, f"{word.entropy:.2f}", peak, position)
    print_table(table)
