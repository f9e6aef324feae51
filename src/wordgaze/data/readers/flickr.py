"""Flickr8k's ``Flickr8k.token.txt`` and Flickr30k's ``results_20130124.token``: NAME#NUMBER, a tab, the caption."""

from __future__ import annotations

import re

from wordgaze.data.readers.caption_file import LINE_END, CaptionedPhoto, CaptionFile, Reader
from wordgaze.data.readers.rows import Columns, Row, photos_of_rows
from wordgaze.errors import DataError

_LINE = re.compile(r"([^\t]*[^\t\s])#\d+\t(.*)", re.DOTALL)


def _read(file: CaptionFile) -> list[CaptionedPhoto]:
    rows = []
    for number, line in enumerate(LINE_END.split(file.text()), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise DataError(
                f"{file.path}: line {number} is {line!r:.60}, not NAME#NUMBER, a tab and the caption, as the first is; "
                "fix that line."
            )
        rows.append(Row(f"line {number}", {"photo": match[1], "caption": match[2]}))
    return photos_of_rows(file, rows, Columns("photo", "caption", None))


def _recognizes(file: CaptionFile) -> bool:
    return not file.is_folder and _LINE.match(LINE_END.split(file.beginning, maxsplit=1)[0]) is not None


READER = Reader(_recognizes, _read, title="Flickr8k's token.txt")
