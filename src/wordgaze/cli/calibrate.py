"""``wordgaze calibrate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wordgaze.cli.options import backend_option, columns_option, common_options, given
from wordgaze.cli.output import progress, with_interval

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.tasks.calibrate import Calibration
    from wordgaze.tasks.evaluate import CaptionEvaluator


@click.command()
@click.argument("folder", metavar="DIR")
@click.argument("per_image", nargs=-1, metavar="[PER_IMAGE.json...]")
@click.option(
    "--images",
    metavar="PHOTOS",
    help="A folder of photos to caption and score; none for tar shards and Parquet with photos.",
)
@click.option("--captions", metavar="FILE", help="Their reference captions, in any format that training reads.")
@columns_option
@click.option("--split", metavar="NAME", help="Split of Karpathy's captions: test, val, train, restval. [default: all]")
@click.option("--instances", metavar="FILE", help="COCO boxes of the photos, which say what they show.")
@click.option("--json", "json_path", metavar="OUT", help="Write all figures and each photo's confidence to OUT.")
@backend_option
@click.option("--device", help="cpu, cuda, cuda:1, mps, ... [default: the best available]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Photos per batch.")
@common_options
def command(
    folder: str,
    per_image: tuple[str, ...],
    images: str | None,
    captions: str | None,
    columns: tuple[str, str] | None,
    split: str | None,
    instances: str | None,
    json_path: str | None,
    backend: str,
    device: str | None,
    batch_size: int | str | None,
) -> None:
    """Fit the confidence that caption --confidence prints to the model in DIR, and say how well it holds.

    Needs photos that the model was not trained on: either --images and --captions, or files that evaluate --per-image
    wrote for this model. A caption counts as right if its own CIDEr is at least 0.5 and every object it names is in the
    references or boxes. Writes confidence.json into DIR. Every figure comes from a regression that had not seen the
    photo (ten folds); the one that is saved is fitted to all photos.
    """
    _check_way_in(
        per_image, given(images=images, captions=captions), given(columns=columns, split=split, instances=instances)
    )

    from wordgaze.files import check_outputs, model_files, write_text
    from wordgaze.folder import CONFIDENCE, save_confidence
    from wordgaze.tasks.calibrate import check_model_folder

    check_model_folder(folder)
    outputs = [Path(folder, CONFIDENCE), *given(json_path=json_path).values()]
    inputs = [file for file in model_files(folder) if file.name != CONFIDENCE]
    check_outputs(outputs, [*inputs, *per_image, *given(instances=instances).values()])

    from wordgaze.captioner import Captioner
    from wordgaze.tasks.evaluate import CaptionEvaluator
    from wordgaze.tasks.references import photos_to_caption, reference_files

    captioner = Captioner.from_pretrained(Path(folder), device, backend=backend)
    sized = given(batch_size=batch_size)
    if captions is not None:
        photos = photos_to_caption(captions, images, split, columns or ())
        check_outputs(outputs, reference_files(captions, photos))
        evaluator = CaptionEvaluator(photos, ["CIDEr"], instances=instances)
        calibration = _score_and_calibrate(captioner, evaluator, Path(captions).stem, sized)
    else:
        calibration = _calibrate(captioner, per_image, outputs, sized)
    save_confidence(calibration.confidence, folder)
    values = calibration.to_dict()
    if json_path is not None:
        from json import dumps

        write_text(json_path, dumps(values, indent=1) + "\n")
    for line in lines(values):
        click.echo(line)


def _check_way_in(per_image: Sequence[str], photos: dict[str, str], of_photos: dict[str, str]) -> None:
    from wordgaze.tasks.references import holds_photos

    if bool(per_image) == bool(photos):
        raise click.UsageError("Give either --images PHOTOS with --captions FILE, or files of evaluate --per-image.")
    if photos and len(photos) < 2 and not ("captions" in photos and holds_photos(photos["captions"])):
        raise click.UsageError("--images and --captions belong together; give both.")
    if per_image and of_photos:
        raise click.UsageError(
            f"The files of evaluate --per-image hold all that is needed; leave out --{' and --'.join(of_photos)}."
        )


def _score_and_calibrate(
    captioner: Captioner, evaluator: CaptionEvaluator, name: str, sized: dict[str, Any]
) -> Calibration:
    from wordgaze.tasks.calibrate import evaluate_and_calibrate

    with progress(len(evaluator.photos), lines=False) as advance:
        calibration, warnings = evaluate_and_calibrate(captioner, evaluator, name, **sized, advance=advance)
    for warning in warnings:
        click.echo(f"wordgaze: {warning}", err=True)
    return calibration


def _calibrate(
    captioner: Captioner, per_image: Sequence[str], outputs: Sequence[Path | str], sized: dict[str, Any]
) -> Calibration:
    from wordgaze.files import check_outputs
    from wordgaze.tasks.calibrate import calibrate, read_calibration_photos

    photos = [photo for path in per_image for photo in read_calibration_photos(path)]
    check_outputs(outputs, [photo.file for photo in photos if photo.file is not None])
    with progress(len(photos), lines=False) as advance:
        return calibrate(captioner, photos, **sized, advance=advance)


def lines(values: dict[str, Any]) -> list[str]:
    """Return the reliability table, and the other figures that tell whether the confidence holds."""
    printed = [f"{'confidence':>10}  {'captions':>8}  {'mean':>5}  right (95 % interval)"]
    for row in values["reliability"]:
        right = row["right"]
        printed.append(f"{row['confidence']:>10.1f}  {right['n']:>8}  {row['mean']:>5.3f}  {with_interval(right)}")
    for name, part in {"all": values, **values["sets"]}.items():
        low, high = part["calibration_error_of_chance"]
        area = part["area_under_roc"]
        printed.append(
            f"{name}: {part['photos']} captions, mean confidence {part['mean_confidence']:.3f}, right "
            f"{with_interval(part['right'])}; expected calibration error {part['calibration_error']:.3f} (a perfect "
            f"confidence's {low:.3f} to {high:.3f}), area under ROC {'-' if area is None else f'{area:.3f}'}"
        )
    usually = values["usually_wrong"]
    if usually is None:
        printed.append("no threshold below which captions are usually wrong")
    else:
        wrong = usually["wrong"]
        printed.append(f"below {usually['below']:.2f} usually wrong: {with_interval(wrong)} of {wrong['n']} captions")
    if values["differing"]:
        printed.append(f"left out: {values['differing']} captions that differ from those judged")
    return printed
