"""``wordgaze average``."""

from __future__ import annotations

import click
from click.core import ParameterSource

from wordgaze.cli.options import common_options
from wordgaze.files import one_line


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@click.option("--out", required=True, metavar="DIR", help="The model folder to write.")
@click.option(
    "--learnt",
    nargs=2,
    multiple=True,
    metavar="AFTER BEFORE",
    help="Add the weights of AFTER minus those of BEFORE. May be repeated: several pairs add their mean.",
)
@click.option("--scale", type=float, default=1.0, show_default=True, help="How much of what was learned to add.")
@click.option(
    "--round",
    "round_bits",
    type=click.IntRange(0, 24),
    metavar="BITS",
    help="Round what differs between the models, row by row, to steps of 2^-BITS standard deviations or less; "
    "4 makes the model two fifths smaller once it is compressed.",
)
@click.option(
    "--length-penalty",
    "--length_penalty",
    type=float,
    help="Length penalty of the search. [default: the last model's]",
)
@click.option("--stretch", type=float, help="Squeeze photos by this factor at most. [default: the last model's]")
@click.option(
    "--mirrored/--no-mirrored",
    default=None,
    help="Look at each photo a second time, mirrored. [default: the last model's setting]",
)
@common_options
@click.pass_context
def command(
    context: click.Context,
    folders: tuple[str, ...],
    out: str,
    learnt: tuple[tuple[str, str], ...],
    scale: float,
    round_bits: int | None,
    length_penalty: float | None,
    stretch: float | None,
    mirrored: bool | None,
) -> None:
    """Save the mean of several models' weights as one model, or add what other stages of training learned.

    The models must have started from the same weights, and have the same sizes and tokenizer. Preprocessing and search
    settings are the last model's. The result has no confidence; see `wordgaze calibrate`.
    """
    if not learnt and context.get_parameter_source("scale") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--scale applies to --learnt; give --learnt AFTER BEFORE, or leave --scale out.")

    from wordgaze.tasks.average import Settings, average

    settings = Settings(length_penalty, stretch, mirrored)
    average(folders, out, stages=learnt, scale=scale, round_bits=round_bits, settings=settings)
    count, stages = len(folders), f"{len(learnt)} stage{'s' if len(learnt) > 1 else ''}"
    what = f"the mean of {count} models" if count > 1 else one_line(folders[0])
    click.echo(f"{one_line(out)}: {what}" + (f", and what {stages} learned" if learnt else ""))
