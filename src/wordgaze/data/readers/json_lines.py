"""JSON Lines, an object a line: ``metadata.jsonl`` of Hugging Face's image folders, and others like it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from wordgaze.data.json_file import unfit
from wordgaze.data.readers.caption_file import LINE_END, CaptionedPhoto, CaptionFile, Reader
from wordgaze.data.readers.rows import Columns, Row, columns_of, photos_of_rows, splits_of_rows, unknown_columns
from wordgaze.errors import DataError


def _columns(file: CaptionFile) -> Columns | None:
    first = file.first_object
    if first is None or "images" in first or "annotations" in first:
        return None
    if not file.columns and "file" in first and ("caption" in first or "error" in first):
        return None  # captions of a model, as `wordgaze caption --json` prints them
    return columns_of(file, first)


def _rows(file: CaptionFile) -> Iterator[Row]:
    lines = LINE_END.split(file.text())
    last = max((number for number, line in enumerate(lines, start=1) if line.strip()), default=0)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            remedy = "fix it there, or get the file again"
            if number == last:
                remedy = "it ends in the middle, so get the file again"
            raise DataError(
                f"{file.path}: broken JSON in line {number}, column {error.colno} ({error.msg}); {remedy}."
            ) from None
        except (RecursionError, ValueError) as error:
            raise unfit(file.path, error) from None
        if not isinstance(values, dict):
            raise DataError(f"{file.path}: line {number} is {values!r:.60}; it must be an object.")
        yield Row(f"line {number}", values)


def _read(file: CaptionFile) -> list[CaptionedPhoto]:
    columns = _columns(file)
    if columns is None:
        file.text()  # says what it is, where it is no text
        raise unknown_columns(file, file.first_object or {})
    return photos_of_rows(file, _rows(file), columns)


def _splits(file: CaptionFile) -> tuple[str, ...]:
    columns = _columns(file)
    return splits_of_rows(_rows(file), columns) if columns is not None and columns.split is not None else ()


def _recognizes(file: CaptionFile) -> bool:
    return not file.is_folder and _columns(file) is not None


READER = Reader(_recognizes, _read, _splits, "JSON Lines")
