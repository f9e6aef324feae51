"""What commands share for printing."""

from __future__ import annotations

import io
import json
import os
import sys
from collections import Counter

import pytest
from rich.table import Table

from wordgaze.cli.output import MANY, json_line, print_table, progress, tell, tell_left_out
from wordgaze.data.listing import Listing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_is_one_valid_line_whatever_stdout_takes(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    values = {"file": os.fsdecode(b"\xff\n.png"), "caption": "ein Hündchen 犬"}
    line = json_line(values)
    assert "\n" not in line and json.loads(line.encode(encoding).decode(encoding)) == values
    assert ("犬" in line) == (encoding == "utf-8")


@pytest.mark.parametrize(
    ("total", "out", "err", "lines", "shown"),
    [
        (MANY, io.StringIO, Terminal, True, True),
        (MANY - 1, io.StringIO, Terminal, True, False),
        (MANY, io.StringIO, io.StringIO, True, False),
        (MANY, Terminal, Terminal, True, False),
        (MANY, Terminal, Terminal, False, True),
    ],
)
def test_progress_only_for_many_photos_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
    total: int,
    out: type[io.StringIO],
    err: type[io.StringIO],
    lines: bool,
    shown: bool,
) -> None:
    stdout, stderr = out(), err()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress(total, lines=lines) as advance:
        for _ in range(total):
            print("a result")
            advance()
    assert stdout.getvalue() == "a result\n" * total
    assert (f"{total}/{total}" in stderr.getvalue()) == shown == bool(stderr.getvalue())


def test_a_table_is_plain_lines_of_any_width(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("word", "where", box=None, pad_edge=False)
    table.add_row("dog", "left")
    table.add_row("x" * 200, "")
    print_table(table)
    head, dog, long = capsys.readouterr().out.splitlines()
    assert (head.split(), dog.split(), long) == (["word", "where"], ["dog", "left"], "x" * 200)


def test_what_is_said_of_a_photo_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    tell("a\n\t\r\\b.jpg", "is empty")
    assert capsys.readouterr() == ("", "wordgaze: a\\n\\t\\r\\\\b.jpg: is empty\n")


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ({}, ""),
        ({".dng": 2}, "wordgaze: left out: 2 .dng\n"),
        ({"hidden photo": 1}, "wordgaze: left out: 1 hidden photo (--hidden takes what is hidden)\n"),
    ],
)
def test_what_was_left_out(capsys: pytest.CaptureFixture[str], left_out: dict[str, int], told: str) -> None:
    tell_left_out(Listing(left_out=Counter(left_out)))
    assert capsys.readouterr() == ("", told)
