"""``wordgaze convert``."""

from __future__ import annotations

import click

from wordgaze.cli.options import common_options
from wordgaze.files import one_line


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("out", metavar="OUT")
@click.option("--revision", metavar="NAME", help="Branch, tag or commit of SRC on the Hub.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Precision of the saved weights; float16 is half the size.",
)
@common_options
def command(source: str, out: str, revision: str | None, precision: str) -> None:
    """Save the checkpoint SRC of another library as a model folder, OUT.

    SRC is a name on the Hugging Face Hub, or a folder, of a BlipForConditionalGeneration, or of a
    VisionEncoderDecoderModel that joins ViT or DeiT with GPT-2, BERT or RoBERTa. Every --model accepts such a
    checkpoint, too, and converts it each time; calibrate and average need the folder. The model card names the source,
    its revision and license, and what was taken over.
    """
    from wordgaze.convert.load import left_out
    from wordgaze.tasks.convert import convert_to_folder

    conversion = convert_to_folder(source, out, revision=revision, precision=precision)
    if conversion.left_out:
        click.echo(f"wordgaze: {left_out(source, conversion.left_out)}", err=True)
    click.echo(f"{one_line(out)}: {conversion.summary}")
