"""``wordgaze demo``."""

from __future__ import annotations

import click

from wordgaze.cli.options import model_options


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="[default: the first free one from 7860]")
@model_options
def command(
    port: int | None, model: str | None, backend: str, device: str | None, precision: str, mirrored: bool | None
) -> None:
    """Open the demo page on this machine: give it a photo, see its caption and maps. Nobody else can reach it."""
    from wordgaze.demo import check_gradio, launch

    check_gradio()  # at once, not after the model has loaded

    from wordgaze.captioner import Captioner

    launch(Captioner.from_pretrained(model, device, precision, mirrored, backend=backend), port)
