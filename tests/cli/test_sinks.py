"""``wordgaze caption -o``, ``--sidecar``: what is written, what a rerun does, and what people are told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from wordgaze.captioner import Captioner
from wordgaze.captioning.sinks.parquet import read_parquet
from wordgaze.cli.main import main
from wordgaze.tasks.caption_files import model_fingerprint


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch, captioner: Captioner) -> None:
    """Load the small model once for all commands."""
    monkeypatch.setattr(Captioner, "from_pretrained", lambda *_, **__: captioner)


def caption(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["caption", *map(str, arguments)])


def told(result: Result) -> list[str]:
    return result.stderr.splitlines()


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(read_parquet(path))
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_rows_are_those_of_json_and_a_rerun_adds_the_new_photos(
    captioner: Captioner, mixed: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"rows.{suffix}"
    new = (mixed / "e.png").rename(tmp_path / "e.png")
    result = caption(mixed, "-o", out)
    assert result.stdout == "" and result.exit_code == 1
    assert told(result)[-2:] == [
        "wordgaze: failed: is damaged or cut short in its header (1), is not a photo in a format that can be read (1)",
        f"wordgaze: {out}: 5 written, 2 failed",
    ]
    new.rename(mixed / "e.png")
    again = caption(mixed, "-o", out)
    assert told(again)[-1] == f"wordgaze: {out}: 1 written, 5 skipped (captioned before), 2 failed"
    assert again.exit_code == 1
    printed = [json.loads(line) for line in caption(mixed, "--json").stdout.splitlines()]
    rows = sorted(rows_of(out), key=lambda row: row["file"])
    assert {row.pop("fingerprint") for row in rows} == {model_fingerprint(captioner)}
    assert {row.pop("precision") for row in rows} == {"float32"}
    assert all(row.pop("options") for row in rows)
    assert [row.get("caption") for row in rows] == [row.get("caption") for row in printed]
    assert [row.get("error") for row in rows] == [row.get("error") for row in printed]
    scores = [float(row.get("log_probability", 0)) for row in rows]
    assert scores == pytest.approx([row.get("log_probability", 0) for row in printed])
    if suffix == "csv":
        rows = [{**row, "words": json.loads(row.get("words", "[]"))} for row in rows]
    words = [[word["word"] for word in row.get("words", [])] for row in rows]
    assert words == [[word["word"] for word in row.get("words", [])] for row in printed]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", out.name]


def test_failures_are_tried_again_when_asked_for(mixed: Path, photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    caption(mixed, "-o", out)
    (mixed / "a.jpg").write_bytes(photos[0].read_bytes())
    before = caption(mixed, "-o", out)
    assert told(before)[-1] == f"wordgaze: {out}: 6 skipped (captioned before), 2 failed" and before.exit_code == 1
    again = caption(mixed, "-o", out, "--retry", "failed")
    assert told(again)[-1] == f"wordgaze: {out}: 1 written, 6 skipped (captioned before), 1 failed"
    assert [Path(row["file"]).name for row in rows_of(out)] == [path.name for path in sorted(mixed.glob("*.*g"))]
    (mixed / "d2.png").unlink()
    assert caption(mixed, "-o", out).exit_code == 0


def test_other_options_are_refused(photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    assert caption(photos[0], "-o", out).exit_code == 0
    before = out.read_bytes()
    result = caption(*photos, "-o", out, "--num-beams", 4, "--batch-size", 2)
    assert result.exit_code == 2 and out.read_bytes() == before
    assert "its rows were made with other options (num_beams 2, now 4)" in result.stderr
    assert caption(*photos, "-o", out, "--batch-size", 2).exit_code == 0


def test_sidecars_hold_a_line_and_what_a_person_wrote_stays(captioner: Captioner, mixed: Path) -> None:
    (mixed / "b.txt").write_text("mine\n")
    (mixed / "c.txt").write_text(" \n")
    result = caption(mixed, "--sidecar", ".txt")
    assert told(result)[-1] == "wordgaze: sidecars: 5 written, 1 skipped (captioned before), 2 failed"
    assert (result.stdout, result.exit_code) == ("", 1)
    assert (mixed / "b.txt").read_text() == "mine\n" and not (mixed / "a.txt").exists()
    assert (mixed / "c.txt").read_text(encoding="utf-8") == f"{captioner.caption(mixed / 'c.png')}\n"
    assert told(caption(mixed, "--sidecar", ".txt"))[-1].endswith("6 skipped (captioned before), 2 failed")
    caption(mixed, "--sidecar", ".txt", "--existing", "overwrite")
    assert (mixed / "b.txt").read_text(encoding="utf-8") == f"{captioner.caption(mixed / 'b.png')}\n"


def test_photos_that_would_share_a_sidecar_are_found_first(photos: list[Path], tmp_path: Path) -> None:
    folder = photos[0].parent
    photos[0].rename(folder / "g.jpg")
    result = caption(folder, "--sidecar", ".txt", "-o", tmp_path / "rows.jsonl")
    assert (
        result.exit_code == 2 and f"{folder / 'g.jpg'} and {folder / 'g.png'} would share the sidecar" in result.stderr
    )
    assert not list(folder.glob("*.txt")) and not (tmp_path / "rows.jsonl").exists()


def test_sinks_are_combined_and_each_gets_what_it_lacks(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    caption(mixed / "b.png", "-o", out)
    result = caption(mixed, "-o", out, "--sidecar", ".caption", "--xmp", "sidecar")
    assert told(result)[-3:] == [
        "wordgaze: sidecars: 6 written, 2 failed",
        "wordgaze: alt text: 6 written, 2 failed",
        f"wordgaze: {out}: 5 written, 1 skipped (captioned before), 2 failed",
    ]
    assert len(list(mixed.glob("*.caption"))) == len(list(mixed.glob("*.xmp"))) == 6 and len(rows_of(out)) == 8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-o", "rows.jsonl", "--json"], "-o prints nothing"),
        (["--sidecar", ".txt", "--confidence"], "--sidecar prints nothing"),
        (["-o", "rows.txt"], "end it in .jsonl or .csv or .parquet"),
        (["-o", "nowhere/rows.csv"], "There is no folder nowhere"),
        (["-o", "FILE/rows.csv"], "is a file, not a folder"),
        (["-o", "-", "rows.csv"], "its name tells the format"),
        (["--sidecar", "txt"], "a dot and letters"),
        (["--sidecar", ".PNG"], "which other files end with"),
        (["--sidecar", ".txt", "-"], "stdin has no sidecar"),
        (["-o", "rows.csv", "-"], "stdin has no name to resume by"),
        (["--retry", "failed"], "--retry is for -o and --out-dir"),
        (["-o", "rows.jsonl", "--existing", "skip"], "--existing is for"),
    ],
)
def test_flags_that_make_no_sense(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = [flag.replace("FILE", str(photos[0])) for flag in flags]
    result = caption(photos[0], *flags)
    assert result.exit_code == 2 and words in result.stderr and result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
