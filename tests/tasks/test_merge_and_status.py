"""What ``wordgaze status`` and ``wordgaze merge`` say of folders of shards."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.captioning.shards.standin import caption_of, layout, make_run, rows_of, write_tar

from wordgaze.captioning.shards.inputs import tar_shards
from wordgaze.captioning.shards.rows import Format, read_rows
from wordgaze.cli.main import main


def wordgaze(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def tars(tmp_path: Path) -> list[Path]:
    members = [layout(5 * number, 5) for number in range(3)]
    members[1]["x\udcff,\n.jpg"] = b""
    return [write_tar(tmp_path / f"{number:05}.tar", each) for number, each in enumerate(members)]


def run(tars: list[Path], out: Path, part: tuple[int, int] = (0, 1), rows: Format = "jsonl") -> Path:
    list(make_run(tar_shards(tars), out, part=part, rows=rows).run())
    return out


def test_status_of_a_part_and_of_all(tars: list[Path], tmp_path: Path) -> None:
    out = run(tars, tmp_path / "out", part=(1, 2))
    (out / ".00000.claim.0").write_text("{}")
    done = wordgaze("status", out)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[:2] == ["shards: 1 of 3 done, 1 being captioned now", "photos: 6 (5 success, 1 refused)"]
    assert lines[2].startswith("rate: ") and lines[3].startswith("time left: about ")
    assert lines[4] == "1 not captioned: is empty (# bytes); get the file again from its source"
    (out / ".00000.claim.0").unlink()
    run(tars, out)
    done = wordgaze("status", out, "--json")
    values = json.loads(done.stdout)
    assert done.exit_code == 0 and (values["done"], values["photos"], values["running"]) == (3, 16, 0)
    assert values["counts"] == {"success": 15, "refused": 1, "failed": 0}


def test_the_rate_leaves_out_what_was_before_a_pause(tars: list[Path], tmp_path: Path) -> None:
    out = run(tars, tmp_path / "out")
    now = time.time()
    for number, (ended, seconds) in enumerate([(now - 86400, 1.0), (now - 10, 10.0), (now, 20.0)]):
        path = out / f"{number:05}_stats.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"ended": ended, "seconds": seconds}))
    # Two machines at once: 6 photos in 10 seconds and 5 in 20, from 20 seconds ago on.
    assert "rate: 0.6 photos a second" in wordgaze("status", out).stdout


@pytest.mark.parametrize("rows", ["jsonl", "parquet"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_merge_holds_each_row_once(tars: list[Path], tmp_path: Path, rows: Format, suffix: str) -> None:
    if "parquet" in (rows, suffix[1:]):
        pytest.importorskip("pyarrow")
    out, target = run(tars, tmp_path / "out", rows=rows), tmp_path / f"all{suffix}"
    done = wordgaze("merge", out, target)
    assert done.exit_code == 0 and done.stdout == "" and "16 rows of 3 shards" in done.stderr
    expected = [row for number in range(3) for row in rows_of(out, f"{number:05}", rows)]
    if suffix == ".csv":
        with target.open(newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        assert [row["caption"] or None for row in found] == [row.caption for row in expected]
        assert found[10]["path"] == "00001.tar/x\\udcff,\n.jpg"
        return
    merged = list(read_rows(target))
    assert [row.caption for row in merged] == [caption_of(n) for n in range(10)] + [None] + [
        caption_of(n) for n in range(10, 15)
    ]
    text = {row.path.encode(errors="backslashreplace") for row in expected}
    assert {row.path.encode(errors="backslashreplace") for row in merged} == text


def test_a_merge_refuses_missing_shards_and_damaged_ones(tars: list[Path], tmp_path: Path) -> None:
    out, target = run(tars, tmp_path / "out", part=(0, 2)), tmp_path / "all.jsonl"
    done = wordgaze("merge", out, target)
    assert done.exit_code == 2 and "1 of 3 shards are missing (00001 is the first)" in done.stderr
    assert not target.exists()
    done = wordgaze("merge", out, target, "--partial")
    assert done.exit_code == 0 and "10 rows of 2 shards; 1 shards are missing" in done.stderr
    run(tars, out)
    lines = (out / "00002.jsonl").read_text().splitlines(keepends=True)
    (out / "00002.jsonl").write_text("".join(lines[:-1]))
    done = wordgaze("merge", out, target)
    assert done.exit_code == 2 and "00002.jsonl has 4 rows, but 5 were written" in done.stderr
    assert len(target.read_text().splitlines()) == 10
    marker = out / "00002_stats.json"
    values = json.loads(marker.read_text())
    values["identity"]["fingerprint"] = "cd34"
    marker.write_text(json.dumps(values))
    assert "of another model or other options" in wordgaze("merge", out, target).stderr


def test_folders_that_hold_no_shards(tmp_path: Path, tars: list[Path]) -> None:
    for command in (["status", tmp_path / "nowhere"], ["merge", tmp_path, tmp_path / "a.jsonl"]):
        done = wordgaze(*command)
        assert done.exit_code == 2 and "holds no shards of captions" in done.stderr
    out = run(tars, tmp_path / "out")
    assert "is no .jsonl or .csv or .parquet file" in wordgaze("merge", out, tmp_path / "all.txt").stderr
    assert "would lie among the shards" in wordgaze("merge", out, out / "all.jsonl").stderr
