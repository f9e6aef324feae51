"""``wordgaze convert``."""

from __future__ import annotations

import click

from wordgaze.cli.options import common_options
from wordgaze.files import one_line


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("out", metavar="OUT")
@click.option("--revision", metavar="NAME", help="A branch, tag or commit of SRC on the hub.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Of the saved weights; float16 is half the size.",
)
@common_options
def command(source: str, out: str, revision: str | None, precision: str) -> None:
    """Save the checkpoint SRC of another library as a model folder, OUT.

    SRC: a name on the Hugging Face Hub, or a folder, of a BlipForConditionalGeneration, or of a
    VisionEncoderDecoderModel of ViT or DeiT with GPT-2, BERT or RoBERTa. Every --model takes such a checkpoint as it
    is, too, and converts it each time; calibrate and average need the folder. Its card names source, revision, license
    and what was taken over.
    """
    from wordgaze.convert.load import left_out
    from wordgaze.tasks.convert import convert_to_folder

    conversion = convert_to_folder(source, out, revision=revision, precision=precision)
    if conversion.left_out:
        click.echo(f"wordgaze: {left_out(source, conversion.left_out)}", err=True)
    click.echo(f"{one_line(out)}: {conversion.summary}")
