"""Rows as lines of JSON or CSV, UTF-8: one line a row, whatever the names and texts hold."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping
from typing import Any, Protocol

from wordgaze.files import one_line

Row = dict[str, Any]

# JSON allows these in texts, but some readers end a line at them, and terminals obey them.
_LINE_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029]")
_ESCAPED = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|[tnr\\])")
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}

IDENTITY = ("fingerprint", "precision", "options")
COLUMNS = (
    *("file", "caption", "error", "warnings", "log_probability", "confidence"),
    *(*IDENTITY, "words", "alternatives"),
)
"""The columns of CSV and Parquet, each empty where a row has no such value."""
_JSON_CELLS = ("warnings", "options", "words", "alternatives")


def json_line(values: Any, *, ensure_ascii: bool = False) -> str:
    """Return JSON without line breaks; bytes of a name that are not text become escapes like ``\\udcff``."""
    line = json.dumps(values, ensure_ascii=ensure_ascii).encode(errors="backslashreplace").decode()
    return _LINE_BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def escaped(text: str) -> str:
    r"""Return a text as one line of valid UTF-8: as :func:`one_line`, and bytes that are not text as ``\udcff``."""
    return one_line(text).encode(errors="backslashreplace").decode()


def unescaped(text: str) -> str:
    """Return the text of which ``escaped`` made this."""
    if os.sep == "\\":
        return text
    return _ESCAPED.sub(lambda match: _LETTERS.get(match[1]) or chr(int(match[1][1:], 16)), text)


class LineFormat(Protocol):
    """Rows as lines: a file's first line, if it has one of its own, and each row's."""

    header: bytes

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """Return a row's line, with its end."""

    def decode(self, line: bytes) -> Row:
        """Return the row of a line; raise ValueError where it is none of ours."""

    def may_begin(self, data: bytes) -> bool:
        """Return whether the beginning of a row can look like ``data``."""


class JsonLines:
    """Rows as JSON objects."""

    header = b""
    _begin = b'{"file": "'

    def encode(self, row: Mapping[str, Any]) -> bytes:
        return f"{json_line(row)}\n".encode()

    def decode(self, line: bytes) -> Row:
        try:
            row = json.loads(line)
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        if not isinstance(row, dict) or not isinstance(row.get("file"), str):
            raise ValueError("names no file")
        if ("caption" in row) == ("error" in row):
            raise ValueError("has neither a caption nor an error")
        return row

    def may_begin(self, data: bytes) -> bool:
        return data.startswith(self._begin) or self._begin.startswith(data)


class CsvLines:
    """Rows as comma-separated values under :data:`COLUMNS`.

    Cells of text are as in lines of output (:func:`escaped`), so that a row is one line; lists are JSON.
    """

    header = f"{','.join(COLUMNS)}\n".encode()

    def encode(self, row: Mapping[str, Any]) -> bytes:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(_cell(name, row.get(name)) for name in COLUMNS)
        return out.getvalue().encode()

    def decode(self, line: bytes) -> Row:
        [cells] = csv.reader([line.decode()], strict=True)
        values = {name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell}
        if "file" not in values or ("caption" in values and "error" in values):
            raise ValueError("is no row")
        row: Row = {name: json.loads(cell) if name in _JSON_CELLS else unescaped(cell) for name, cell in values.items()}
        row |= {name: float(row[name]) for name in ("log_probability", "confidence") if name in row}
        return row if "error" in row else {"caption": "", **row}

    def may_begin(self, data: bytes) -> bool:
        return self.header.startswith(data)


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return ""
    if name in _JSON_CELLS:
        return json_line(value)
    return escaped(value) if isinstance(value, str) else value
