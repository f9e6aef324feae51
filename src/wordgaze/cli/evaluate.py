"""``wordgaze evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wordgaze.cli.options import generation_options, given, model_options
from wordgaze.cli.output import print_table, progress


@click.command()
@click.option(
    "--captions", required=True, metavar="FILE", help="The reference captions: COCO, Karpathy, or a folder."
)
@click.option("--images", metavar="DIR", help="The photos that FILE names, for a model to caption.")
@click.option(
    "--results", metavar="FILE", help='Captions instead of a model: [{"image_id", "caption"}, ...].'
)
@click.option(
    "--metrics", metavar="NAMES", default="", help="BLEU,ROUGE_L,CIDEr or some of them. [default: all]"
)
@click.option("--json", "json_path", metavar="OUT", help="Write the scores to OUT.")
@click.option(
    "--per-image", metavar="OUT", help="Write each photo's scores, worst first, to OUT (.json or .csv)."
)
@model_options
@generation_options
def command(
    captions: str,
    images: str | None,
    results: str | None,
    metrics: str,
    json_path: str | None,
    per_image: str | None,
    model: str | None,
    device: str | None,
    precision: str,
    batch_size: int | None,
    **options: Any,
) -> None:
    """Score a model on the photos that a captions file names, or captions that are in a file already."""
    if (images is None) == (results is None):
        raise click.UsageError("Give either --images DIR, to score a model, or --results FILE.")
    if results is not None and (model is not None or given(**options)):
        raise click.UsageError(
            "--results brings its own captions; leave out --model and the options of generation."
        )

    from wordgaze.tasks.evaluate import (
        check_per_photo_path,
        choose_metrics,
        evaluate_model,
        evaluate_results,
        photos_to_caption,
        save_per_photo,
    )

    chosen = choose_metrics(metrics.replace(",", " ").split())
    if per_image is not None:
        check_per_photo_path(per_image)
    for out in given(json_path=json_path, per_image=per_image).values():
        if not Path(out).parent.is_dir():  # said now, not after the work
            raise click.UsageError(f"There is no folder for {out}; make it, or choose another.")
    if results is not None:
        evaluation = evaluate_results(results, captions, metrics=chosen)
    else:
        from wordgaze.captioner import Captioner

        assert images is not None
        photos = photos_to_caption(captions, images)
        captioner = Captioner.from_pretrained(model, device, precision)
        generation = captioner.generation_options(**given(**options))
        with progress(len(photos), lines=False) as advance:
            evaluation = evaluate_model(
                captioner, photos, metrics=chosen, options=generation, batch_size=batch_size, advance=advance
            )
    if evaluation.left_out:
        click.echo(
            f"wordgaze: {evaluation.left_out} captions of {results} are of photos that {captions} does not name; "
            "they are left out",
            err=True,
        )
    values = evaluation.to_dict()
    if json_path is not None:
        from json import dumps

        Path(json_path).write_text(dumps(values, indent=2) + "\n", encoding="utf-8")
    if per_image is not None:
        save_per_photo(evaluation, per_image)
    _print(values)


def _print(values: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("metric", "value", "95 % interval", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    intervals = values.pop("intervals")
    for name, value in values.pop("metrics").items():
        interval = "{:.3f} to {:.3f}".format(*intervals[name]) if name in intervals else ""
        table.add_row(name, f"{value:.4f}", interval)
    for name, value in values.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else f"{value}")
    print_table(table)
