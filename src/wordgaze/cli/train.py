"""``wordgaze train``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from wordgaze.cli.options import common_options

if TYPE_CHECKING:
    from pathlib import Path

    from wordgaze.training.config import TrainingConfig


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="FILE",
    help="A YAML file, such as configs/shapes.yaml. May be repeated: later files win field by field; "
    "lists and data.validation are replaced as a whole.",
)
@click.option("--out", metavar="DIR", help="Folder of the run. [default: runs/NAME, after the last config]")
@click.option("--restart", is_flag=True, help="Start over instead of resuming the run in DIR.")
@click.option("--dry-run", is_flag=True, help="Print the plan, and write nothing: parameters, memory, steps, time.")
@click.option("--plot", metavar="DIR", help="Draw the curves of the run in DIR into DIR/curves.png, and train nothing.")
@click.option("--push", metavar="ID", help="At the end push the model to the Hugging Face Hub, as owner/name.")
@common_options
@click.pass_context
def command(
    context: click.Context,
    configs: tuple[str, ...],
    out: str | None,
    restart: bool,
    dry_run: bool,
    plot: str | None,
    push: str | None,
) -> None:
    """Train a captioner; the same command resumes a run that stopped.

    Any setting of the config can be given as --a.b VALUE, for example --train.epochs 3.
    """
    if plot is not None:
        _check_plot_alone(context, plot)
        _plot(plot)
        return
    if not configs:
        raise click.UsageError("Missing option '--config'.")
    from pathlib import Path

    from wordgaze.tasks.train import parse_config

    folder = Path(out) if out else Path("runs") / Path(configs[-1]).stem
    parsed = parse_config(configs, context.args)
    if dry_run:
        _print_plan(parsed, folder, restart)
        return
    named = [part for config in configs for part in ("--config", config)]
    typed = ["wordgaze", "train", *named, *(["--out", out] if out else []), *context.args]
    _train(parsed, folder, configs, restart, shlex.join(typed), push)


def _check_plot_alone(context: click.Context, plot: str) -> None:
    """Raise UsageError for anything given beside ``--plot``: it would be of no use."""
    others = [f"--{name}" for name in ("config", "out", "restart", "dry-run", "push") if _is_given(context, name)]
    others += context.args[:1]
    if others:
        raise click.UsageError(f"--plot {plot} trains nothing, so {others[0]} makes no sense beside it; drop one.")


def _is_given(context: click.Context, name: str) -> bool:
    value = context.params["configs" if name == "config" else name.replace("-", "_")]
    return value not in (None, (), False)


def _plot(folder: str) -> None:
    from pathlib import Path

    from wordgaze.tasks.train import plot_curves

    click.echo(plot_curves(Path(folder)))


def _print_plan(config: TrainingConfig, folder: Path, restart: bool) -> None:
    from wordgaze.tasks.train import make_plan

    plan = make_plan(config, folder, restart=restart, on_message=_say)
    for name, text in plan.rows():
        click.echo(f"{name:<12}{text}")


def _train(
    config: TrainingConfig, folder: Path, configs: tuple[str, ...], restart: bool, typed: str, push: str | None
) -> None:
    import sys

    from wordgaze.tasks.train import train_and_present

    callbacks = []
    if sys.stderr.isatty():
        from wordgaze.cli.training_bar import TrainingBar

        callbacks.append(TrainingBar(config.data.batch_size))
    result = train_and_present(
        config,
        folder,
        restart=restart,
        on_message=_say,
        callbacks=callbacks,
        inputs=configs,
        command=typed,
        push=push,
    )
    if result.first:
        click.echo(f"{result.folder}" + ("" if result.cider is None else f"\tCIDEr {result.cider:.3f}"))


def _say(line: str) -> None:
    click.echo(f"wordgaze: {line}", err=True)
