"""Explain photos into files: one file for all of them, or a folder with one for each, as the output's name says."""

from __future__ import annotations

import json
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordgaze.data.listing import STDIN, Listing, Photo
from wordgaze.data.streams import read_stdin
from wordgaze.errors import ConfigError, PhotoError, PhotoWarning
from wordgaze.files import AnyPath, check_output_folder, check_outputs, model_files, one_line, write_text

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.explanation.explanation import Explanation

TOGETHER = (".html", ".json")
EACH = (".png", ".npz")


@dataclass(frozen=True)
class Output:
    """Where explanations go: ``path`` is a file, or, with ``names`` (one a photo), a folder."""

    path: Path
    suffix: str
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ExplainedFile:
    """A photo's file with its explanation, or with what is wrong with it; ``warnings`` say what may be."""

    file: Photo
    explanation: Explanation | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what a .json file holds of it."""
        values = {"error": self.error} if self.explanation is None else self.explanation.to_dict()
        doubts = {"warnings": list(self.warnings)} if self.warnings else {}
        return {"file": str(self.file), **values, **doubts}


def inputs_of(listing: Listing, lists: Sequence[str] = (), model: str | None = None) -> list[Path]:
    """Return all that a command reads: photos, their lists, and the files of ``model`` (None: the bundled one)."""
    inputs = [photo for photo in listing.photos if isinstance(photo, Path)]
    # Excluded photos are not read, but their owner keeps them where photos are meant to be.
    inputs += listing.spared
    inputs += [Path(file) for file in lists if file != STDIN]
    if STDIN in listing.photos or STDIN in lists:
        inputs.append(Path("/dev/stdin"))  # `explain - -o cat.png < cat.png`
    return [*inputs, *model_files(None if model is None else Path(model).expanduser())]


def plan_output(out: AnyPath, photos: Sequence[Photo], inputs: Iterable[AnyPath] = ()) -> Output:
    """Return what ``out`` means for ``photos``; raises ConfigError where it can't be written, or would be an input.

    A .png or .npz holds one photo, so for several photos it is a folder; .html and .json hold any number. Without a
    suffix, or if it is a folder already or ends in a slash, ``out`` is a folder of PNGs.
    """
    path = Path(out)
    named = one_line(path)
    suffix = path.suffix.lower()
    is_folder = path.is_dir() or os.fspath(out).endswith(os.sep)
    if not os.fspath(out):
        raise ConfigError("The output's name is empty; name a file or a folder.")
    if os.fspath(out) in (STDIN, *EACH, *TOGETHER):
        raise ConfigError(f"The output is {named}; give it a name, like maps{'.png' if named == STDIN else named}.")
    if not is_folder and suffix not in ("", *TOGETHER, *EACH):
        raise ConfigError(
            f"{named}: the name does not tell the format; end it in {', '.join((*EACH, *TOGETHER))}, or name a folder."
        )
    if suffix in TOGETHER:
        if is_folder:
            raise ConfigError(f"{named} is a folder, and a {suffix} file is wanted; choose another name.")
    elif is_folder or suffix == "" or len(photos) > 1:
        if path.exists() and not path.is_dir():
            need = f"{len(photos)} photos need" if len(photos) > 1 else "1 photo needs"
            raise ConfigError(f"{named} is a file, and {need} a folder; choose another name.")
        suffix = suffix if suffix in EACH else ".png"
        names = _names(photos, suffix)
        check_output_folder(path)
        if path.is_dir():
            outputs = [path / name for name in names]
            check_outputs(outputs, inputs)
            _check_among_photos(outputs, photos)
        return Output(path, suffix, names)
    check_outputs([path], inputs)
    return Output(path, suffix)


def _check_among_photos(outputs: Iterable[Path], photos: Iterable[Photo]) -> None:
    """Raise ConfigError where a map would replace a file beside the photos that is not a map of ours."""
    folders = {os.path.realpath(photo.parent) for photo in photos if isinstance(photo, Path)}
    for output in outputs:
        if os.path.realpath(output.parent) in folders and output.is_file() and not _is_ours(output):
            raise ConfigError(
                f"{one_line(output)} is there already, beside the photos to explain, and is no map of wordgaze's; "
                "choose a folder for the maps alone."
            )


def _is_ours(file: Path) -> bool:
    """Return whether a .png has the mark of ours; a .npz hides no photo."""
    with file.open("rb") as opened:
        return file.suffix.lower() != ".png" or b"Software\0wordgaze" in opened.read(1024)


def explain_files(
    captioner: Captioner,
    photos: Sequence[Photo],
    output: Output,
    text: str | None = None,
    method: str | None = None,
    *,
    raw: bool = False,
    strict: bool = False,
    **options: Any,
) -> Iterator[ExplainedFile]:
    """Yield a result for each photo, in order, once it is written; a file for all photos is written after the last.

    A photo that can't be read is a result too, and stops nothing; in JSON it is ``{"file", "error"}``. ``strict``:
    refuse photos that are cut short. ``text``, ``method``, ``raw`` and ``options`` as of ``Captioner.explain``, whose
    ConfigError comes through.
    """
    from wordgaze.explanation.report import html_report

    explain = partial(captioner.explain, text=text, method=method, raw=raw, strict=strict, **options)
    objects: list[dict[str, Any]] = []
    items = []
    for index, photo in enumerate(photos):
        result = _explain_file(explain, photo)
        explanation = result.explanation
        if output.suffix == ".json":
            objects.append(result.to_dict())
        elif explanation is None:
            pass
        elif output.names is not None:
            output.path.mkdir(parents=True, exist_ok=True)
            explanation.save(output.path / output.names[index])
        elif output.suffix == ".html":
            items.append(explanation.report_item())
        else:
            explanation.save(output.path)
        yield result
    if output.suffix == ".json":
        values = objects[0] if len(photos) == 1 else objects
        # A file name's bytes that are no text become escapes.
        write_text(output.path, json.dumps(values, ensure_ascii=False) + "\n", errors="backslashreplace")
    elif items:
        write_text(output.path, html_report(items), errors="replace")


def _explain_file(explain: Callable[[Photo | bytes], Explanation], file: Photo) -> ExplainedFile:
    named = "the photo" if file == STDIN else str(file)  # as what the captioner says of it begins
    explanation = error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PhotoWarning)
        try:
            explanation = explain(read_stdin() if file == STDIN else file)
        except PhotoError as problem:
            error = str(problem).removeprefix(f"{named}: ")
    doubts = []
    for warning in caught:
        if issubclass(warning.category, PhotoWarning):
            doubts.append(str(warning.message).removeprefix(f"{named}: "))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if explanation is not None and file == STDIN:
        explanation = replace(explanation, name=STDIN)
    return ExplainedFile(file, explanation, error, tuple(doubts))


def _names(photos: Sequence[Photo], suffix: str) -> tuple[str, ...]:
    """Return a file name for each photo, after its own; the second ``cat`` is ``cat-2``."""
    # Some disks ignore case, and those of macOS ignore how an accent is composed.
    taken: dict[str, int] = {}
    names = []
    for photo in photos:
        stem = Path(photo).stem if photo != STDIN else "stdin"
        name, number = stem, taken.get(_on_any_disk(stem), 0)
        while number and _on_any_disk(name) in taken:
            number += 1
            name = f"{stem}-{number}"
        taken[_on_any_disk(name)] = 1
        taken[_on_any_disk(stem)] = max(number, 1)
        names.append(name + suffix)
    return tuple(names)


def _on_any_disk(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
