"""``wordgaze export``."""

from __future__ import annotations

import click

from wordgaze.cli.options import common_options
from wordgaze.files import one_line


@click.command()
@click.argument("source", metavar="DIR")
@click.argument("out", metavar="OUT")
@click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="Of the arithmetic; int8 is for the matrices of ViT and decoder: smaller and faster, with other captions.",
)
@common_options
def command(source: str, out: str, precision: str) -> None:
    """Save the model DIR as ONNX files in the folder OUT, which ONNX Runtime runs without PyTorch.

    DIR is a model folder, a checkpoint that `wordgaze convert` takes, a name on the Hugging Face Hub, or "bundled".
    --model accepts OUT as it accepts a model folder. What was written is compared with the model before it is kept.
    Exporting needs onnx, onnxscript and onnxruntime, running onnxruntime alone: pip install "wordgaze[onnx]".
    """
    from wordgaze.tasks.export import export_model

    click.echo(f"{one_line(out)}: {export_model(source, out, precision).summary}")
