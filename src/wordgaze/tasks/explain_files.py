"""Explains photos into files: one file for all of them, or one each in a folder, as the output's name says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordgaze.errors import ConfigError, PhotoError

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner, Explanation

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
    """A photo's file with its explanation, or with what is wrong with it."""

    file: Path
    explanation: Explanation | None = None
    error: str | None = None


def plan_output(out: str | os.PathLike[str], photos: Sequence[Path]) -> Output:
    """What ``out`` means for ``photos``; raises ConfigError when nothing could be written there.

    A .png or .npz holds one photo, so for several photos it is a folder; .html and .json hold any number. Without a
    suffix, or if it is a folder already, ``out`` is a folder of PNGs.
    """
    path = Path(out)
    suffix = path.suffix.lower()
    is_folder = path.is_dir()
    if not is_folder and suffix not in ("", *TOGETHER, *EACH):
        raise ConfigError(
            f"{path}: can't tell what to write; end it in {', '.join((*EACH, *TOGETHER))}, or name a folder."
        )
    if suffix in TOGETHER:
        if is_folder:
            raise ConfigError(f"{path} is a folder, and a {suffix} file is wanted; choose another name.")
    elif is_folder or suffix == "" or len(photos) > 1:
        if path.exists() and not is_folder:
            raise ConfigError(
                f"{path} is a file, and {len(photos)} photos need a folder; choose another name."
            )
        each = suffix if suffix in EACH else ".png"
        return Output(path, each, _names(photos, each))
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {path.parent} for {path.name}; make it, or choose another.")
    return Output(path, suffix)


def explain_files(
    captioner: Captioner,
    photos: Sequence[Path],
    output: Output,
    text: str | None = None,
    method: str | None = None,
    *,
    raw: bool = False,
    **options: Any,
) -> Iterator[ExplainedFile]:
    """One result a photo, in order, written as it comes; what holds all photos is written after the last.

    A photo that can't be read is a result, too, and stops nothing; in JSON it is ``{"file", "error"}``. ``text``,
    ``method``, ``raw`` and ``options`` as of ``Captioner.explain``, whose ConfigError comes through.
    """
    from wordgaze.explanation.report import html_report

    objects: list[dict[str, Any]] = []
    items = []
    for index, photo in enumerate(photos):
        try:
            explanation = captioner.explain(photo, text, method, raw=raw, **options)
        except PhotoError as error:
            message = str(error).removeprefix(f"{photo}: ")
            objects.append({"file": str(photo), "error": message})
            yield ExplainedFile(photo, error=message)
            continue
        if output.names is not None:
            output.path.mkdir(parents=True, exist_ok=True)
            explanation.save(output.path / output.names[index])
        elif output.suffix == ".json":
            objects.append({"file": str(photo), **explanation.to_dict()})
        elif output.suffix == ".html":
            items.append(explanation.report_item())
        else:
            explanation.save(output.path)
        yield ExplainedFile(photo, explanation)
    if output.suffix == ".json":
        values = objects[0] if len(photos) == 1 else objects
        # A file name's bytes that are no text become escapes.
        output.path.write_text(
            json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8", errors="backslashreplace"
        )
    elif items:
        output.path.write_text(html_report(items), encoding="utf-8", errors="replace")


def _names(photos: Sequence[Path], suffix: str) -> tuple[str, ...]:
    """A file name a photo, after its own; the second ``cat`` is ``cat-2``."""
    taken: set[str] = set()  # in lower case, since some disks take no notice of case
    names = []
    for photo in photos:
        name, number = photo.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{photo.stem}-{number}"
        taken.add(name.lower())
        names.append(name + suffix)
    return tuple(names)
