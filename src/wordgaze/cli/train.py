"""``wordgaze train``."""

from __future__ import annotations

import click

from wordgaze.cli.options import common_options


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option(
    "--config",
    "configs",
    required=True,
    multiple=True,
    metavar="FILE",
    help="A YAML file, such as configs/shapes.yaml. May be repeated: later files win field by field; "
    "lists and data.validation are replaced as a whole.",
)
@click.option("--out", metavar="DIR", help="Folder of the run. [default: runs/NAME, after the last config]")
@click.option("--restart", is_flag=True, help="Start over instead of resuming the run in DIR.")
@common_options
@click.pass_context
def command(context: click.Context, configs: tuple[str, ...], out: str | None, restart: bool) -> None:
    """Train a captioner; the same command resumes a run that stopped.

    Any setting of the config can be given as --a.b VALUE, for example --train.epochs 3.
    """
    import sys
    from pathlib import Path

    from wordgaze.tasks.train import parse_config, train

    folder = Path(out) if out else Path("runs") / Path(configs[-1]).stem
    parsed = parse_config(configs, context.args)
    callbacks = []
    if sys.stderr.isatty():
        from wordgaze.cli.training_bar import TrainingBar

        callbacks.append(TrainingBar(parsed.data.batch_size))
    result = train(
        parsed,
        folder,
        restart=restart,
        on_message=lambda line: click.echo(f"wordgaze: {line}", err=True),
        callbacks=callbacks,
        inputs=configs,
    )
    if result.first:
        click.echo(f"{result.folder}" + ("" if result.cider is None else f"\tCIDEr {result.cider:.3f}"))
