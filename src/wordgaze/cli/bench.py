"""``wordgaze bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from wordgaze.cli.options import common_options, given

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wordgaze.tasks.bench import PhaseRow, WholeRow
    from wordgaze.tasks.bench_train import TrainRow


@click.group(invoke_without_command=True)
@click.option(
    "--model",
    metavar="DIR_OR_ID",
    help="A model folder, a name on the Hugging Face Hub, or gpt2-shape or blip-shape: random weights in published "
    "sizes. [default: the bundled model]",
)
@click.option("--photos", metavar="DIR", help="A folder of photos. [default: parts of the photo that ships]")
@click.option("--json", "json_path", metavar="OUT", help="Write all figures to OUT.")
@click.option("--batch-size", type=click.IntRange(min=1), multiple=True, help="May be repeated. [default: 1, 8 and 32]")
@click.option("--num-beams", type=click.IntRange(min=1), multiple=True, help="May be repeated. [default: 1, 3 and 5]")
@click.option("--words", type=click.IntRange(min=1), help="Tokens of each caption that is timed. [default: 16]")
@click.option("--rounds", type=click.IntRange(min=1), help="The most rounds of a measurement. [default: 5]")
@click.option("--generation-only", is_flag=True, help="Measure nothing but generation, of random encoder states.")
@click.option("--device", help="cpu, cuda, cuda:1, mps, ... [default: the best available]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16", "auto"]),
    default="float32",
    show_default=True,
    help="Precision of the computation, on both sides.",
)
@common_options
@click.pass_context
def command(
    context: click.Context,
    model: str | None,
    photos: str | None,
    json_path: str | None,
    batch_size: tuple[int, ...],
    num_beams: tuple[int, ...],
    words: int | None,
    rounds: int | None,
    generation_only: bool,
    device: str | None,
    precision: str,
) -> None:
    """Measure captions a second and peak memory, by batch and beams.

    Each phase by itself: opening the photos, preprocessing, encoding, generating; generation beside transformers'
    generate on the same weights, in turns, where transformers is installed and has such a decoder
    (pip install "wordgaze[compare]"). Then whole captioning, from file to text, beside encoding alone. The bundled
    model takes about five minutes on two cores; nothing else should run meanwhile.
    """
    if context.invoked_subcommand is not None:
        _refuse_flags(context)
        return
    options = given(words=words, rounds=rounds, batch_sizes=batch_size or None, num_beams=num_beams or None)
    options["generation_only"] = generation_only

    from wordgaze.files import check_outputs, model_files, write_text

    outputs = [] if json_path is None else [json_path]
    check_outputs(outputs, model_files(model))
    values = _measure(model, photos, device, precision, options, outputs)
    if json_path is not None:
        from json import dumps

        write_text(json_path, dumps(values, indent=1) + "\n")


def _measure(
    model: str | None,
    photos: str | None,
    device: str | None,
    precision: str,
    given_options: dict[str, Any],
    outputs: Sequence[str],
) -> dict[str, Any]:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from wordgaze.files import check_outputs
    from wordgaze.tasks.bench import Bench, BenchOptions, load_bench_captioner, machine
    from wordgaze.tasks.bench_models import photos_to_bench

    options = BenchOptions(**given_options)
    with TemporaryDirectory(prefix="wordgaze-") as temporary:
        files = photos_to_bench(photos, options.most_photos(), Path(temporary))
        check_outputs(outputs, files)
        name, captioner = load_bench_captioner(model, device, precision)
        bench = Bench(name, captioner, files, options)
        click.echo(headline(name, bench.device, bench.precision, machine(bench.device)))
        click.echo(PHASES_HEAD)
        wholes: list[WholeRow] = []

        def on_whole(row: WholeRow) -> None:
            if not wholes:
                click.echo(WHOLE_HEAD)
            wholes.append(row)
            click.echo(whole_line(row))

        return bench.measure(lambda rows: click.echo(phases_line(rows)), on_whole).to_dict()


def _refuse_flags(context: click.Context) -> None:
    """Raise UsageError for a flag that stands before the name of a subcommand, which would not see it."""
    for parameter in context.command.params:
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE and parameter.expose_value:
            subcommand = context.invoked_subcommand
            raise click.UsageError(f"{parameter.opts[0]} stands before {subcommand}; give it after {subcommand}.")


@command.command("train")
@click.option(
    "--model",
    metavar="DIR_OR_ID",
    help="A model folder, a name on the Hugging Face Hub, gpt2-shape or blip-shape. [default: the bundled model]",
)
@click.option("--photos", metavar="DIR", help="A folder of photos. [default: parts of the photo that ships]")
@click.option("--json", "json_path", metavar="OUT", help="Write all figures to OUT.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Photos a step. [default: 8]")
@click.option("--captions-per-photo", type=click.IntRange(min=1), help="Captions of each photo a step. [default: 3]")
@click.option("--rounds", type=click.IntRange(min=1), help="The most rounds of a measurement. [default: 3]")
@click.option("--device", help="cpu or cuda. [default: the best available]")
@common_options
def train(model: str | None, photos: str | None, json_path: str | None, device: str | None, **more: int | None) -> None:
    """Measure steps of training: photos a second and peak memory.

    Two pairs, each in turns: a frozen encoder with cached features, and from pixels each time; an encoder that learns,
    with one encoding for all captions of a photo, and with one for each caption. Loading a batch and computing a step
    are timed by themselves. Takes about two minutes for the bundled model on two cores.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from wordgaze.files import check_outputs, model_files, write_text
    from wordgaze.folder import ModelParts
    from wordgaze.tasks.bench import load_bench_captioner, machine
    from wordgaze.tasks.bench_models import photos_to_bench
    from wordgaze.tasks.bench_train import TrainBench, TrainBenchOptions

    options = TrainBenchOptions(**given(**more))
    outputs = [] if json_path is None else [json_path]
    check_outputs(outputs, model_files(model))
    with TemporaryDirectory(prefix="wordgaze-") as temporary:
        files = photos_to_bench(photos, options.batch_size, Path(temporary))
        check_outputs(outputs, files)
        name, captioner = load_bench_captioner(model, device, "float32")
        assert isinstance(captioner.parts, ModelParts)
        kind = str(captioner.device).partition(":")[0]
        bench = TrainBench(name, captioner.parts, files, options, Path(temporary), kind)
        click.echo(headline(name, kind, bench.precision, machine(kind)))
        click.echo(TRAIN_HEAD)
        values = bench.measure(lambda row: click.echo(train_line(row)))
    if json_path is not None:
        from json import dumps

        write_text(json_path, dumps(values, indent=1) + "\n")


def headline(name: str, device: str, precision: str, machine: dict[str, Any]) -> str:
    """Return a line that says what was measured, and where."""
    where = machine["gpu"] or f"{machine['processor']}, {machine['threads']} threads"
    versions = ", ".join(f"{library} {machine[library]}" for library in ("torch", "transformers") if machine[library])
    return f"{name}, {device}, {precision}: {where}; {versions}"


_COLUMNS = ("open", "preprocess", "encode", "generate")
PHASES_HEAD = (
    f"{'batch':>5} {'beams':>5}"
    + "".join(f" {f'{name}, ms':>14}" for name in _COLUMNS)
    + f" {'captions/s':>10} {'peak, MB':>8}  transformers' generate takes (times ours; same captions)"
)
WHOLE_HEAD = (
    f"\n{'batch':>5} {'beams':>5} {'photos':>6} {'captions/s':>10}  from file to text takes (times encoding alone)"
    "  Amdahl's limit over transformers' (reached)"
)


def phases_line(rows: Sequence[PhaseRow]) -> str:
    """Return the line of a batch and beam; captions a second are those of generation alone."""
    last = rows[-1]
    peaks = [row.peak_bytes for row in rows if row.peak_bytes is not None]
    peak = f"{max(peaks) / 1e6:.0f}" if peaks else "-"
    ratio = "-"
    if last.ratio is not None:
        ratio = f"{last.ratio:.2f} ({last.ratio_low:.2f} to {last.ratio_high:.2f}; {last.same_captions}/{last.batch})"
    columns = "".join(f" {1e3 * row.seconds:>14.1f}" for row in rows).rjust(15 * len(_COLUMNS))
    return f"{last.batch:>5} {last.num_beams:>5}{columns} {last.captions_per_second:>10.1f} {peak:>8}  {ratio}"


def whole_line(row: WholeRow) -> str:
    """Return the line of whole captioning with a batch and beam."""
    limit = "-" if row.amdahl_limit is None else f"{row.amdahl_limit:.2f} ({row.amdahl_reached:.2f})"
    over = f"{row.over_plain_encoding:.2f} ({row.over_low:.2f} to {row.over_high:.2f})"
    return f"{row.batch:>5} {row.num_beams:>5} {row.photos:>6} {row.captions_per_second:>10.1f}  {over:<51}  {limit}"


TRAIN_HEAD = (
    f"{'':<32} {'load, ms':>9} {'compute, ms':>12} {'photos/s':>9} {'peak, MB':>9}  a step takes (times the line above)"
)


def train_line(row: TrainRow) -> str:
    """Return the line of a way to train."""
    peak = "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
    times = f"{1e3 * row.load_seconds:>9.1f} {1e3 * row.compute_seconds:>12.1f}"
    return f"{row.way:<32} {times} {row.photos_per_second:>9.1f} {peak:>9}  {ratio}".rstrip()
