"""``wordgaze grounding``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wordgaze.cli.options import columns_option, generation_options, given, model_options
from wordgaze.cli.output import print_table, progress, with_interval

if TYPE_CHECKING:
    from wordgaze.tasks.grounding import Grounding


@click.command()
@click.option(
    "--images",
    metavar="DIR",
    help="Folder of the photos that the captions' FILE names; none for tar shards and Parquet with photos.",
)
@click.option(
    "--captions", required=True, metavar="FILE", help="Their reference captions, in any format that training reads."
)
@columns_option
@click.option("--split", metavar="NAME", help="Split of Karpathy's captions: test, val, train, restval. [default: all]")
@click.option("--instances", required=True, metavar="FILE", help="Their boxes: COCO instances.")
@click.option("--method", metavar="NAME", help="How attention becomes a map, as in explain. [default: gradient]")
@click.option("--raw", is_flag=True, help="Use the softmax rows of the method's layers as they are.")
@click.option(
    "--faithfulness",
    metavar="N",
    type=click.IntRange(min=2),
    help="Also blank out patches of N photos, to see whether the words need what their maps show.",
)
@click.option("--json", "json_path", metavar="OUT", help="Write all numbers to OUT, including each category's.")
@model_options
@generation_options
def command(
    images: str | None,
    captions: str,
    columns: tuple[str, str] | None,
    split: str | None,
    instances: str,
    method: str | None,
    raw: bool,
    faithfulness: int | None,
    json_path: str | None,
    model: str | None,
    backend: str,
    device: str | None,
    precision: str,
    mirrored: bool | None,
    batch_size: int | str | None,
    **options: Any,
) -> None:
    """Measure whether maps point at what their words name, on photos with boxes.

    Words that name one of COCO's 80 categories are scored by the map over the photo: pointing (does it peak inside a
    box of that category?), mass (the share of attention inside) and auc (pixels inside against pixels outside). The
    words are those of the reference captions and of the model's own captions; maps that know nothing of the word are
    scored for comparison. Intervals are 95% bootstrap intervals over photos. Choose a method on the photos with even
    ids, and judge it on those with odd ids.
    """
    from wordgaze.files import check_outputs, model_files, write_text
    from wordgaze.tasks.references import check_scores_path, holds_photos, photos_to_caption, reference_files

    if images is None and not holds_photos(captions):
        raise click.UsageError("Missing option '--images': name the folder of the photos that the captions are of.")
    outputs = [] if json_path is None else [json_path]
    # Before the work, not after it.
    check_outputs(outputs, [instances, *model_files(model)])

    from wordgaze.captioner import Captioner
    from wordgaze.tasks.grounding import measure_faithfulness, measure_grounding, with_boxes

    references = photos_to_caption(captions, images, split, columns or ())
    check_outputs(outputs, reference_files(captions, references))
    check_scores_path(outputs)
    for note in references.notes:
        click.echo(f"wordgaze: {note}", err=True)
    photos = with_boxes(references, captions, instances)
    captioner = Captioner.from_pretrained(model, device, precision, mirrored, backend=backend)
    generation = captioner.generation_options(**given(**options))
    sized = given(batch_size=batch_size)
    with progress(len(photos), lines=False) as advance:
        grounding = measure_grounding(captioner, photos, method, raw=raw, options=generation, **sized, advance=advance)
    values = grounding.to_dict()
    if faithfulness is not None:
        subset = photos[:faithfulness]
        with progress(len(subset), lines=False) as advance:
            values["faithfulness"] = measure_faithfulness(captioner, subset, method, raw=raw, advance=advance).to_dict()
    if json_path is not None:
        from json import dumps

        write_text(json_path, dumps(values, indent=2) + "\n")
    _print(grounding, values)


def _print(grounding: Grounding, values: dict[str, Any]) -> None:
    from rich.table import Table

    odd = values["halves"]["odd"]
    names = ("captions", "words", "", "all", "person", "other")
    table = Table(*names, box=None, pad_edge=False)
    for column in table.columns[3:]:
        column.justify = "right"
    for name, part in (
        ("reference", values),
        ("reference, odd ids", odd),
        ("generated", values["generated"]),
    ):
        rows = {
            **{metric: part[metric] for metric in ("pointing", "mass", "auc")},
            **{f"pointing of {row}": part[control] for control, row in _CONTROLS.items()},
            "pointing less center": part["difference"]["center"],
        }
        for index, (row, by_group) in enumerate(rows.items()):
            first = (name, str(part["words"])) if index == 0 else ("", "")
            table.add_row(*first, row, *(with_interval(by_group[group]) for group in names[3:]))
    print_table(table)
    click.echo(
        f"method {grounding.method}{' (raw)' if grounding.raw else ''}, {values['photos']} photos with such words"
    )
    for order, curve in values.get("faithfulness", {}).get("curves", {}).items():
        areas = ", ".join(f"{name} {with_interval(curve[name]['area'])}" for name in ("map", "random"))
        click.echo(f"{order}: area {areas}, map less random {with_interval(curve['difference'])}")


_CONTROLS = {
    "center": "center",
    "uniform": "uniform",
    "other_word": "other words",
    "other_photo": "other photos",
}
