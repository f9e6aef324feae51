"""Rows in files: one a photo, whatever names and texts hold, and whatever killed the run that wrote them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wordgaze.captioning.identity import RunIdentity
from wordgaze.captioning.sinks.lines import CsvLines, JsonLines, LineFormat, escaped, unescaped
from wordgaze.captioning.sinks.parquet import ParquetFile, partial_file, read_parquet
from wordgaze.captioning.sinks.row_file import RowFile
from wordgaze.captioning.sinks.sink import CaptionedFile, Outcome, Sink
from wordgaze.errors import ConfigError
from wordgaze.generation.caption import Caption, CaptionWord

IDENTITY = RunIdentity("ab12", "float32", {"num_beams": 5})
FORMATS: list[LineFormat] = [JsonLines(), CsvLines()]
ODD = [os.fsdecode(b"\xff\n.png"), 'a\\n\tb,"c".png', "犬\u2028\x85.png", "-.png"]

WORDS = st.fixed_dictionaries({"word": st.text(max_size=5), "probability": st.none() | st.floats(0, 1)})
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=12)
CAPTIONS = st.fixed_dictionaries(
    {
        "caption": st.text(max_size=12),
        "log_probability": st.floats(allow_nan=False, allow_infinity=False),
        "words": st.lists(
            st.fixed_dictionaries({"word": st.text(max_size=5), "probability": st.none() | st.floats(0, 1)})
        ),
        "alternatives": st.just([]),
    },
    optional={"confidence": st.floats(0, 1), "warnings": st.lists(TEXTS, min_size=1, max_size=2)},
)
ROWS = st.builds(
    lambda file, values: {"file": file, **values, **IDENTITY.to_dict()},
    TEXTS.filter(bool),
    CAPTIONS | st.fixed_dictionaries({"error": TEXTS.filter(bool)}),
)


def captioned(name: str, text: str | None = "a dog") -> CaptionedFile:
    if text is None:
        return CaptionedFile(Path(name), error="is empty (0 bytes); get the file again from its source")
    words = tuple(CaptionWord(word, 0.5) for word in text.split())
    return CaptionedFile(Path(name), Caption(text, -1.25, words, confidence=0.5), warnings=("is odd",))


def sink_of(path: Path, identity: RunIdentity = IDENTITY, *, retry: bool = False) -> Sink:
    if path.suffix == ".parquet":
        return ParquetFile(path, identity, retry=retry)
    return RowFile(path, CsvLines() if path.suffix == ".csv" else JsonLines(), identity, retry=retry)


def write(path: Path, *files: CaptionedFile, retry: bool = False, complete: bool = True) -> list[Outcome]:
    """Return the outcomes of a run; one that is not ``complete`` ends as by SIGKILL."""
    sink = sink_of(path, retry=retry)
    sink.prepare([file.file for file in files])
    outcomes = [sink.check(file.file) or sink.write(file) for file in files]
    if complete:
        sink.finish(complete=True)
    sink.close()
    return outcomes


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(read_parquet(path))
    lines = CsvLines() if path.suffix == ".csv" else JsonLines()
    return [lines.decode(line) for line in path.read_bytes().splitlines(keepends=True) if line != lines.header]


@pytest.fixture(params=["rows.jsonl", "rows.csv", "rows.parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


@given(TEXTS)
@example("\\x41\\\\n\n")
def test_a_name_comes_back_from_its_one_line(text: str) -> None:
    line = escaped(text)
    assert unescaped(line) == text and len(line.splitlines()) <= 1
    assert line.encode().decode() == line


@pytest.mark.parametrize("lines", FORMATS)
@given(row=ROWS)
def test_a_row_comes_back_from_its_line(lines: LineFormat, row: dict[str, Any]) -> None:
    line = lines.encode(row)
    assert line.endswith(b"\n") and len(line.decode().splitlines()) == 1
    assert lines.decode(line) == row


def test_a_rerun_writes_what_is_missing(path: Path) -> None:
    files = [captioned(name) for name in ODD] + [captioned("bad.png", None)]
    assert [outcome.status for outcome in write(path, *files[:2])] == ["written", "written"]
    again = write(path, *files)
    assert [outcome.status for outcome in again] == ["skipped", "skipped", "written", "written", "failed"]
    expected = [{**file.to_dict(), **IDENTITY.to_dict()} for file in files]
    found = [{"alternatives": [], **row} if "caption" in row else row for row in rows_of(path)]
    assert found == expected
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_failed_is_tried_again_when_asked_for_and_replaced_in_its_place(path: Path) -> None:
    write(path, captioned("a"), captioned("b", None), captioned("c"))
    assert [outcome.status for outcome in write(path, captioned("b"))] == ["failed"]
    assert [outcome.status for outcome in write(path, captioned("c"), captioned("b"), retry=True)] == [
        "skipped",
        "written",
    ]
    assert [(row["file"], "error" in row) for row in rows_of(path)] == [("a", False), ("b", False), ("c", False)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_killed_retry_loses_no_row(path: Path) -> None:
    write(path, captioned("a", None), captioned("b", None))
    write(path, captioned("a"), captioned("new"), retry=True, complete=False)
    lines = partial_file(path) if path.suffix == ".parquet" else path
    assert [(row["file"], "error" in row) for row in rows_of(lines)] == [("a", True), ("b", True), ("new", False)]
    assert [outcome.status for outcome in write(path, captioned("a"), captioned("b"))] == ["skipped", "failed"]
    assert [(row["file"], "error" in row) for row in rows_of(path)] == [("a", False), ("b", True), ("new", False)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_half_a_row_is_cut_off_wherever_it_ends(path: Path) -> None:
    write(path, captioned("a"), captioned("b"), complete=False)
    lines = partial_file(path) if path.suffix == ".parquet" else path
    whole = lines.read_bytes()
    for size in range(len(whole)):
        lines.write_bytes(whole[:size])
        write(path, captioned("a"), captioned("b"))
        assert [row["file"] for row in rows_of(path)] == ["a", "b"]
        path.unlink()


OTHERS = [b"hello", b"hello\n", b'{"a": 1}\n', b"[]\n", b"file\n", b'{"file": "a"}\n', b"\xff\xfe\n", b'{"file": 1']


@pytest.mark.parametrize("content", [*OTHERS, b"[" * 9999 + b"\n"], ids=range(9))
def test_files_of_others_stay_as_they_are(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="remove it, or choose another output"):
        write(path, captioned("a"))
    assert path.read_bytes() == content and [file.name for file in path.parent.iterdir()] == [path.name]


def test_rows_of_json_alone_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(captioned("a").to_dict()) + "\n")
    with pytest.raises(ConfigError, match="don't say what they were made with"):
        write(path, captioned("b"))


def test_rows_of_another_model_are_refused(path: Path) -> None:
    write(path, captioned("a"))
    before = path.read_bytes()
    sink = sink_of(path, RunIdentity("cd34", "float32", {"num_beams": 5}))
    with pytest.raises(ConfigError, match=r"can't be resumed: its rows are of another model \(fingerprint ab12, now"):
        sink.prepare([])
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == [path.name]


def test_two_runs_at_a_time_do_not_mix(path: Path) -> None:
    first, second = sink_of(path), sink_of(path)
    first.prepare([])
    with pytest.raises(ConfigError, match="is being written by another run"):
        second.prepare([])
    second.close()
    first.close()


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.rename(path.with_name("x")) and path.touch()])
def test_a_file_that_has_gone_is_noticed(path: Path, change: Any) -> None:
    sink = sink_of(path)
    sink.prepare([])
    sink.write(captioned("a"))
    change(partial_file(path) if path.suffix == ".parquet" else path)
    with pytest.raises(ConfigError, match="was removed or replaced while it was written"):
        sink.write(captioned("b"))
    sink.close()
