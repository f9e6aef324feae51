"""Tables as text (CSV, TSV) with named columns, Flickr8k's ``captions.txt`` and Flickr30k's ``results.csv`` too."""

from __future__ import annotations

from collections.abc import Iterator

from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader
from wordgaze.data.readers.rows import Columns, Row, columns_of, photos_of_rows, splits_of_rows, unknown_columns
from wordgaze.data.table_file import DELIMITERS, header_of, table_rows, without_preamble


def _layout(file: CaptionFile) -> tuple[str, Columns] | None:
    """Return the delimiter and the columns, None where the first line names none."""
    if file.beginning[:1] in ("", "{", "["):
        return None
    text = without_preamble(file.beginning)
    headers = {delimiter: header_of(text, delimiter) for delimiter in DELIMITERS}
    if file.columns:  # which one is missing is said of the row that has most fields
        delimiter = max(headers, key=lambda one: (set(file.columns) <= set(headers[one]), len(headers[one])))
        columns = columns_of(file, headers[delimiter])
        return None if columns is None else (delimiter, columns)
    for delimiter, names in headers.items():
        columns = columns_of(file, names)
        if columns is not None:
            return delimiter, columns
    return None


def _rows(file: CaptionFile, delimiter: str) -> Iterator[Row]:
    for line, values in table_rows(file.path, without_preamble(file.text()), delimiter):
        yield Row(f"line {line}", values)


def _recognizes(file: CaptionFile) -> bool:
    return not file.is_folder and _layout(file) is not None


def _read(file: CaptionFile) -> list[CaptionedPhoto]:
    layout = _layout(file)
    if layout is None:
        file.text()  # says what it is, where it is no text
        headers = [header_of(file.beginning, delimiter) for delimiter in DELIMITERS]
        widest: list[str] = max(headers, key=len)
        raise unknown_columns(file, widest)
    delimiter, columns = layout
    return photos_of_rows(file, _rows(file, delimiter), columns)


def _splits(file: CaptionFile) -> tuple[str, ...]:
    layout = _layout(file)
    if layout is None or layout[1].split is None:
        return ()
    return splits_of_rows(_rows(file, layout[0]), layout[1])


READER = Reader(_recognizes, _read, _splits, "a table with named columns")
