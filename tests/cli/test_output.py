"""What commands share for printing."""

from __future__ import annotations

import io
import json
import os
import sys
from collections import Counter

import pytest
from rich.table import Table

from wordgaze.cli.output import MANY, MinuteLines, duration, json_line, print_table, progress, tell, tell_left_out
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
    assert ("/s" in stderr.getvalue()) == shown


def test_a_log_gets_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter([0.0, 30.0, 59.0, 61.0, 90.0, 125.0])
    lines = MinuteLines(1000, "photos", seconds.__next__)
    for _ in range(5):
        lines.advance()
    assert capsys.readouterr() == (
        "",
        "wordgaze: 3 of 1,000 photos, 0.049 a second, 5 h 38 min left\n"
        "wordgaze: 5 of 1,000 photos, 0.04 a second, 6 h 55 min left\n",
    )


def test_a_log_of_a_minute_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(MANY, lines=False) as advance:
        for _ in range(MANY):
            advance()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min"), (4e6, "1,111 h 7 min")],
)
def test_how_long_it_takes(seconds: float, text: str) -> None:
    assert duration(seconds) == text


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
