"""``wordgaze evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from wordgaze.cli.options import columns_option, generation_options, given, model_options
from wordgaze.cli.output import print_table, progress

if TYPE_CHECKING:
    from wordgaze.data.captions import CaptionSet
    from wordgaze.tasks.evaluate import CaptionEvaluator, Evaluation

# Flags that apply to captions in a file; the others are for the model that would make them.
_OF_FILES = (
    "captions columns split results metrics against instances json_path per_image html_path debug threads".split()
)


@click.command()
@click.option(
    "--captions", required=True, metavar="FILE", help="Reference captions, in any format that training reads."
)
@columns_option
@click.option(
    "--split",
    metavar="NAME",
    help="Split of Karpathy's captions: test, val, train, restval or all. "
    "[default: test with --results, all with --images]",
)
@click.option(
    "--images",
    metavar="DIR",
    help="Folder of the photos that FILE names, for a model to caption; none for tar shards and Parquet with photos.",
)
@click.option(
    "--results",
    metavar="FILE",
    help='Score these captions instead of a model: [{"image_id", "caption"}, ...], JSON Lines (caption --json), '
    "CSV or TSV.",
)
@click.option(
    "--metrics",
    metavar="NAMES",
    default="BLEU,ROUGE_L,CIDEr",
    show_default=True,
    help="Any of BLEU, ROUGE_L, CIDEr, METEOR and SPICE; the last two need Java and pycocoevalcap.",
)
@click.option(
    "--against",
    metavar="FILE",
    help="Other results to compare with: which are better, by how much, how surely?",
)
@click.option(
    "--instances",
    metavar="FILE",
    help="COCO boxes of the photos, for CHAIR: the share of named objects that aren't there.",
)
@click.option("--json", "json_path", metavar="OUT", help="Write the scores to OUT.")
@click.option("--per-image", metavar="OUT", help="Write each photo's scores, worst first, to OUT (.json or .csv).")
@click.option("--html", "html_path", metavar="OUT", help="Write a page of the worst and the best photos to OUT.")
@click.option("--strict", is_flag=True, help="Refuse photos that are cut short, however little is missing.")
@model_options
@generation_options
@click.pass_context
def command(
    context: click.Context,
    /,
    captions: str,
    columns: tuple[str, str] | None,
    split: str | None,
    images: str | None,
    results: str | None,
    metrics: str,
    against: str | None,
    instances: str | None,
    json_path: str | None,
    per_image: str | None,
    html_path: str | None,
    strict: bool,
    model: str | None,
    backend: str,
    device: str | None,
    precision: str,
    mirrored: bool | None,
    batch_size: int | str | None,
    **options: Any,
) -> None:
    """Score a model on the photos that a captions file names, or captions that are already in a file.

    Intervals are 95% bootstrap intervals over photos. With --against, both systems get the same draws, and "better" is
    the share of draws in which this system wins. CIDEr's weights stay those of the whole set.
    """
    _check_way_in(context, captions, images, results)

    from wordgaze.files import check_outputs, model_files
    from wordgaze.tasks import evaluate as task

    if per_image is not None:
        task.check_per_photo_path(per_image)
    outputs = list(given(json_path=json_path, per_image=per_image, html_path=html_path).values())
    inputs = [*given(results=results, against=against, instances=instances).values()]
    inputs += model_files(model) if results is None else []
    check_outputs(outputs, inputs)
    photos = _references(captions, columns or (), split, images, is_model=results is None)
    _check_references(captions, photos, outputs)
    names = metrics.replace(",", " ").split()
    evaluator = task.CaptionEvaluator(photos, names, against=against, instances=instances)
    if results is not None:
        evaluation = task.evaluate_results(results, evaluator)
    else:
        flags = {"batch_size": batch_size, "strict": strict, **options}
        scored = _score_model(evaluator, (model, device, precision, mirrored), backend, flags)
        if scored is None:
            return
        evaluation = scored
    for warning in evaluation.warnings:
        if warning not in photos.notes:
            click.echo(f"wordgaze: {warning}", err=True)
    _write(evaluation, results or model or "the bundled model", json_path, per_image, html_path)
    _show(evaluation)


def _score_model(
    evaluator: CaptionEvaluator, model: tuple[Any, ...], backend: str, flags: dict[str, Any]
) -> Evaluation | None:
    """Return a model's scores; None in all but the first of the processes that torchrun has started."""
    from wordgaze.captioner import Captioner
    from wordgaze.tasks import evaluate as task
    from wordgaze.tasks.processes import processes

    strict, sized = flags.pop("strict"), given(batch_size=flags.pop("batch_size"))
    with processes() as others:
        captioner = Captioner.from_pretrained(*model, backend=backend)
        generation = captioner.generation_options(**given(**flags))
        share = len(others.share(list(evaluator.photos)))
        with progress(share if others.is_first else 0, lines=False) as advance:
            return task.evaluate_together(
                captioner, evaluator, others, options=generation, **sized, strict=strict, advance=advance
            )


def _check_way_in(context: click.Context, captions: str, images: str | None, results: str | None) -> None:
    from wordgaze.tasks.references import holds_photos

    has_photos = images is not None or (results is None and holds_photos(captions))
    if has_photos == (results is not None):
        raise click.UsageError("Give either --images DIR, to score a model, or --results FILE.")
    of_a_model = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _OF_FILES
        and context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if results is not None and of_a_model:
        raise click.UsageError(f"--results has captions already; leave out {' and '.join(of_a_model)}.")


def _references(
    captions: str, columns: Sequence[str], split: str | None, images: str | None, *, is_model: bool
) -> CaptionSet:
    """Return the photos to score, which must be there for a model."""
    from wordgaze.tasks.references import photos_to_caption, reference_photos

    if is_model:
        return photos_to_caption(captions, images, split, columns)
    return reference_photos(captions, split, columns)


def _check_references(captions: str, photos: CaptionSet, outputs: Sequence[str]) -> None:
    """Raise ConfigError where an output would be written over the references or their photos; print their notes."""
    from wordgaze.files import check_outputs
    from wordgaze.tasks.references import check_scores_path, reference_files

    check_outputs(outputs, reference_files(captions, photos))
    check_scores_path(outputs)
    # Before errors that they may explain.
    for note in photos.notes:
        click.echo(f"wordgaze: {note}", err=True)


def _write(
    evaluation: Evaluation, title: str, json_path: str | None, per_image: str | None, html_path: str | None
) -> None:
    from wordgaze.files import write_text

    if json_path is not None:
        from json import dumps

        write_text(json_path, dumps(evaluation.to_dict(), indent=2) + "\n")
    if per_image is not None:
        from wordgaze.tasks.evaluate import save_per_photo

        save_per_photo(evaluation, per_image)
    if html_path is not None:
        from wordgaze.tasks.evaluate_page import evaluation_page

        write_text(html_path, evaluation_page(evaluation, title), errors="replace")


def _show(evaluation: Evaluation) -> None:
    _print(("metric", "value", "95 % interval"), evaluation.rows())
    if evaluation.against is not None:
        click.echo()
        columns = ("metric", "value", "against", "difference", "95 % interval", "better")
        _print(columns, evaluation.comparison_rows())


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.columns[2].justify = "left" if len(columns) == 3 else "right"
    for row in rows:
        table.add_row(*row)
    print_table(table)
