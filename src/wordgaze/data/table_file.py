"""Tables of other people (CSV, TSV): their rows, each with its line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from wordgaze.errors import DataError

DELIMITERS = "\t,;|"


def without_preamble(text: str) -> str:
    """Return a table without the line ``sep=;`` of Excel's own, and without blank lines before its header."""
    return re.sub(r"\A\s*sep=.\r?\n", "", text, flags=re.IGNORECASE).lstrip("\r\n")


def header_of(text: str, delimiter: str) -> list[str]:
    """Return the names of a table's columns; an empty list where its first line is no row."""
    line = re.split(r"\r\n|\r|\n", text, maxsplit=1)[0]
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True), [])
    except csv.Error:
        return []


def table_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row of a table by its column names, with the number of its last line.

    Raise DataError where quotes don't match, or a row has more or fewer fields than the header.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
    if delimiter == "\t" and not _quotes_match(text):
        quoting = csv.QUOTE_NONE  # in tables with tabs a quote is mostly just one
    rows = _rows(path, text, delimiter, quoting)
    _, names = next(rows, (0, []))
    for line, row in rows:
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(names):
            fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
            remedy = "put captions that hold the delimiter in quotes"
            if len(row) < len(names):
                remedy = "write what is missing, or leave that line out"
            raise DataError(f"{path}: line {line} has {fields}, but the first line names {len(names)}; {remedy}.")
        yield line, dict(zip(names, row, strict=True))


def _quotes_match(text: str) -> bool:
    try:
        return all(True for _ in _csv(text, "\t", csv.QUOTE_MINIMAL))
    except csv.Error:
        return False


def _rows(path: Path, text: str, delimiter: str, quoting: Literal[0, 3]) -> Iterator[tuple[int, list[str]]]:
    line = 0
    try:
        for line, row in _csv(text, delimiter, quoting):
            yield line, row
    except csv.Error as error:
        where = f"in the row that begins in line {line + 1}"
        raise DataError(f"{path}: a table whose quotes don't match {where} ({error}); save it as CSV again.") from None


def _csv(text: str, delimiter: str, quoting: Literal[0, 3]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its last line."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=quoting,
        strict=True,
        skipinitialspace=True,
    )
    for row in reader:
        yield reader.line_num, row
