"""``wordgaze data``: ``check`` and ``coco``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wordgaze.cli.options import columns_option, common_options, given
from wordgaze.files import one_line

if TYPE_CHECKING:
    from wordgaze.data.check.clean_copy import CleanCopy
    from wordgaze.tasks.data_check import DataCheck

SHOWN = 10
"""Findings of a kind that are printed; `--json` and `--all` have the others, too."""


@click.group()
@common_options
def command() -> None:
    """Check captioned photos, or download COCO."""


@command.command()
@click.argument("path", metavar="PATH")
@click.option(
    "--against", metavar="FILE", help="Another set, such as the validation set: find photos that are in both."
)
@click.option("--root", metavar="DIR", help="The folder of the photos. [default: photos/ beside PATH, or its folder]")
@click.option("--against-root", metavar="DIR", help="The folder of the other set's photos.")
@click.option("--format", default="auto", show_default=True, help="The format of PATH, as in a training config.")
@click.option("--split", metavar="NAME", help="Check only this split. [default: all]")
@columns_option
@click.option("--ignore", multiple=True, metavar="KIND", help="Leave out a kind of finding. May be repeated.")
@click.option("--strict", is_flag=True, help="Exit with 1 for what is only doubtful, too.")
@click.option("--all", "show_all", is_flag=True, help=f"Print all findings, not {SHOWN} of each kind.")
@click.option("--json", "json_path", metavar="OUT", help="Write all findings to OUT.")
@click.option("--html", "html_path", metavar="OUT", help="Write a page with pictures of the doubtful photos.")
@click.option("--fix", "fix_path", metavar="OUT", help="Write a copy of the annotations (.json) without what is wrong.")
@common_options
@click.pass_context
def check(
    context: click.Context,
    path: str,
    against: str | None,
    root: str | None,
    against_root: str | None,
    format: str,
    split: str | None,
    columns: tuple[str, str] | None,
    ignore: tuple[str, ...],
    strict: bool,
    show_all: bool,
    json_path: str | None,
    html_path: str | None,
    fix_path: str | None,
) -> None:
    """Check captioned photos before training on them, or scoring with them.

    PATH is a file or folder of captions in any format that training reads. Every photo is opened. Found are photos that
    are missing, unreadable, there twice (nearly the same, too: resized, compressed again, trimmed, mirrored) or in two
    splits, and captions that are empty, doubled, no text, misread, very long, common, or in another language.

    Exit status: 1 if something is wrong, 0 if all is well or only doubtful.
    """
    from wordgaze.cli.output import progress
    from wordgaze.data.check.findings import KINDS
    from wordgaze.files import check_outputs
    from wordgaze.tasks.data_check import CheckOptions, DataChecker

    for kind in ignore:
        if kind not in KINDS:
            raise click.UsageError(f"--ignore {kind}: no such kind; use one of {', '.join(KINDS)}.")
    if against is None and against_root is not None:
        raise click.UsageError("--against-root applies to --against; give --against OTHER, or leave it out.")
    _check_suffix("--html", html_path, (".html", ".htm"))
    _check_suffix("--fix", fix_path, (".json",))
    checker = DataChecker(path, CheckOptions(against, root, against_root, format, split, columns or (), ignore))
    if fix_path is not None and any(photo.packed for photo in checker.contents.photos):
        raise click.UsageError("--fix needs photos that are files; leave it out, or unpack the shards first.")
    outputs = [output for output in (json_path, html_path, fix_path) if output is not None]
    check_outputs(outputs, [*checker.inputs, *checker.paths])
    with progress(len(checker.paths), lines=False) as advance:
        result = checker.check(advance)
    _print_check(result, None if show_all else SHOWN)
    _write(result, json_path, html_path, fix_path)
    context.exit(1 if result.count(wrong=True) or (strict and result.count(wrong=False)) else 0)


def _check_suffix(option: str, path: str | None, suffixes: tuple[str, ...]) -> None:
    """Raise UsageError for an output whose name promises another format than it gets."""
    if path is not None and not path.lower().endswith(suffixes):
        raise click.UsageError(f"{option} is {one_line(path)}; end it in {' or '.join(suffixes)}.")


def _print_check(result: DataCheck, shown: int | None) -> None:
    from wordgaze.data.check.findings import KINDS

    click.echo(
        f"{one_line(result.contents.path)}: {len(result.contents.photos):,} photos, {result.captions:,} captions"
    )
    if result.against is not None:
        click.echo(f"against {one_line(result.against.path)}: {len(result.against.photos):,} photos")
    for name, findings in result.findings.items():
        kind = KINDS[name]
        level = "wrong" if kind.wrong else "doubtful"
        click.echo(f"\n{name}: {kind.counted(len(findings))}, {level}; {kind.remedy}")
        for finding in findings[:shown]:
            click.echo(f"  {one_line(finding.file)}: {one_line(finding.message)}")
        if shown is not None and len(findings) > shown:
            click.echo(f"  ... and {len(findings) - shown:,} more (--all prints them)")
    wrong, doubtful = result.count(wrong=True), result.count(wrong=False)
    click.echo(f"\n{wrong:,} wrong, {doubtful:,} doubtful" if wrong or doubtful else "nothing is wrong")


def _write(result: DataCheck, json_path: str | None, html_path: str | None, fix_path: str | None) -> None:
    from json import dumps

    from wordgaze.files import write_text

    if json_path is not None:
        write_text(json_path, dumps(result.to_dict(), indent=1) + "\n")
    if html_path is not None:
        from wordgaze.tasks.data_check_page import check_page

        write_text(html_path, check_page(result), "backslashreplace")
    if fix_path is not None:
        from wordgaze.data.check.clean_copy import clean_copy

        copy = clean_copy(result.contents, [finding for some in result.findings.values() for finding in some])
        if not copy.photos:
            click.echo(f"wordgaze: {one_line(fix_path)} is not written: no photo with a caption is left", err=True)
            return
        write_text(fix_path, dumps(copy.content, ensure_ascii=False) + "\n", "backslashreplace")
        _print_copy(result, copy, fix_path)


def _print_copy(result: DataCheck, copy: CleanCopy, path: str) -> None:
    from wordgaze.data.check.findings import KINDS
    from wordgaze.data.readers.caption_file import CaptionFile

    click.echo(f"\n{one_line(path)} ({copy.format}): {copy.photos:,} photos, {copy.captions:,} captions")
    for kind, count in copy.left_out.items():
        click.echo(f"  left out: {KINDS[kind].counted(count)}")
    if copy.mended:
        click.echo(f"  mended: {KINDS['encoding'].counted(copy.mended)}")
    if CaptionFile(path).root.resolve() != result.contents.root.resolve():
        click.echo(f"  its photos are in {one_line(result.contents.root)}: give this as root")


@command.command()
@click.option("--out", required=True, metavar="DIR", help="The folder to write; another run resumes there.")
@click.option(
    "--subset",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most N photos of each split, drawn by --seed; a smaller N takes a part of a larger one's. [default: all]",
)
@click.option(
    "--split",
    "splits",
    type=click.Choice(["train", "val", "test"]),
    multiple=True,
    help="Only this split. May be repeated. [default: all three]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of --subset.")
@click.option("--workers", type=click.IntRange(1, 64), default=16, show_default=True, help="Downloads at a time.")
@click.option("--captions-url", metavar="URL", help="Another address of Karpathy's caption_datasets.zip.")
@click.option("--photos-url", metavar="URL", help="Another address of the folders train2014 and val2014.")
@common_options
@click.pass_context
def coco(
    context: click.Context,
    out: str,
    subset: int | None,
    splits: tuple[str, ...],
    seed: int,
    workers: int,
    captions_url: str | None,
    photos_url: str | None,
) -> None:
    """Download COCO's photos and captions with Karpathy's splits.

    Written are DIR/dataset_coco.json and DIR/photos. Only the photos of the splits are fetched: 19 GB for all. The same
    command resumes, in the middle of a file too. Each photo is opened, and compared with the size and checksum that the
    server gives. Photos that can't be had are named and left out of the captions; the exit status is then 1.
    """
    from wordgaze.cli.output import progress, tell
    from wordgaze.data.download.coco import LICENSE
    from wordgaze.tasks.data_coco import CocoDownloader, CocoOptions

    urls = given(captions_url=captions_url, photos_url=photos_url and photos_url.rstrip("/"))
    options = CocoOptions(**given(splits=splits or None), subset=subset, seed=seed, workers=workers, **urls)
    click.echo(LICENSE, err=True)
    downloader = CocoDownloader(out, options)
    with progress(len(downloader.photos), lines=False) as advance:
        result = downloader.download(advance)
    for name, reason in list(result.failed.items())[:SHOWN]:
        tell(name, reason)
    if len(result.failed) > SHOWN:
        click.echo(f"wordgaze: ... and {len(result.failed) - SHOWN:,} more", err=True)
    click.echo(f"{one_line(result.captions)}, in Karpathy's format:")
    for split, (photos, captions) in result.counts.items():
        click.echo(f"  {split}: {photos:,} photos, {captions:,} captions")
    if result.failed:
        click.echo(
            f"{len(result.failed):,} photos are missing; give the same command again to try them again", err=True
        )
    context.exit(1 if result.failed else 0)
