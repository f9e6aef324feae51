"""Shards are captioned once, resumed after the last row, never mixed, and retried row by row."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.captioning.shards.standin import (
    IDENTITY,
    caption_of,
    engine,
    layout,
    make_run,
    png,
    rows_of,
    write_tar,
)

from wordgaze.captioning.shards.inputs import list_shards, tar_shards
from wordgaze.captioning.shards.marker import general, read_marker
from wordgaze.errors import ConfigError


@pytest.fixture
def tars(tmp_path: Path) -> list[Path]:
    """Three tars of five photos each, as img2dataset writes them."""
    return [write_tar(tmp_path / f"{number:05}.tar", layout(5 * number, 5)) for number in range(3)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def listing(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("wordgaze_plan_"))


def test_each_shard_gets_a_file_and_a_marker_and_nothing_else_is_left(tars: list[Path], out: Path) -> None:
    done = list(make_run(tar_shards(tars), out).run())
    assert [(shard.name, shard.is_ours, shard.marker.counts["success"]) for shard in done] == [
        ("00000", True, 5),
        ("00001", True, 5),
        ("00002", True, 5),
    ]
    assert listing(out) == [f"{number:05}{end}" for number in range(3) for end in (".jsonl", "_stats.json")]
    rows = rows_of(out, "00001")
    assert [(row.key, row.path, row.caption) for row in rows] == [
        (f"{number:09}", f"00001.tar/{number:09}.jpg", caption_of(number)) for number in range(5, 10)
    ]
    assert (rows[0].status, rows[0].width, rows[0].height, rows[0].log_probability) == ("success", 3, 2, -1.5)
    marker = json.loads((out / "00001_stats.json").read_text())
    assert marker["format"] == "wordgaze-shard-1" and marker["identity"] == IDENTITY.to_dict()
    assert marker["input"] == {"bytes": tars[1].stat().st_size, "modified": int(tars[1].stat().st_mtime)}


def test_a_rerun_opens_no_tar_that_is_done(tars: list[Path], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list(make_run(tar_shards(tars[:2]), out).run())
    opened = []
    monkeypatch.setattr("wordgaze.captioning.shards.inputs.tar_photos", lambda path, *_: opened.append(path) or _none())
    done = list(make_run(tar_shards(tars), out).run())
    assert [shard.is_ours for shard in done] == [False, False, True]
    assert opened == [tars[2]]


def _none():
    yield from ()


def test_photos_of_a_list_are_cut_into_shards(tmp_path: Path, out: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(png(number))
    files[3].unlink()
    files[1].write_bytes(b"no photo")
    done = list(make_run(list_shards(files, 3), out).run())
    assert [shard.name for shard in done] == ["00000", "00001"]
    rows = rows_of(out, "00000") + rows_of(out, "00001")
    assert [row.key for row in rows] == ["000000000", "000000001", "000000002", "000010000", "000010001"]
    assert [row.status for row in rows] == ["success", "refused", "success", "failed", "success"]
    assert rows[3].error == "no such file; check the path" and rows[3].sha256 is None
    assert rows[1].sha256 is not None and rows[1].caption is None
    assert done[0].marker.counts == {"success": 2, "refused": 1, "failed": 0}
    with pytest.raises(ConfigError, match="another list of photos"):
        list(make_run(list_shards(files[:4], 3), out).run())


def test_a_retry_rewrites_only_rows_without_a_caption(tmp_path: Path, out: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        file.write_bytes(png(number))
    files[4].write_bytes(b"")
    files[1].unlink()
    list(make_run(list_shards(files, 3), out).run())
    before = rows_of(out, "00000")
    files[1].write_bytes(png(1))
    batches: list[int] = []
    run = make_run(list_shards(files, 3), out, captioner=engine(on_batch=lambda: batches.append(1)), retry=True)
    done = list(run.run())
    assert [shard.marker.unsuccessful for shard in done] == [0, 1]
    after = rows_of(out, "00000")
    assert len(batches) == 1 and after[1].caption == caption_of(1)
    assert [after[0], after[2]] == [before[0], before[2]]
    assert [row.status for row in rows_of(out, "00001")] == ["success", "refused", "success"]
    assert listing(out) == ["00000.jsonl", "00000_stats.json", "00001.jsonl", "00001_stats.json"]


def test_a_run_that_is_stopped_resumes_after_its_last_row(tars: list[Path], out: Path) -> None:
    first = make_run(tar_shards(tars), out, stopping=iter([False] * 4 + [True] * 20).__next__)
    assert list(first.run()) == [] and first.stopped
    [partial] = out.glob(".*.partial")
    kept = len(partial.read_text().splitlines())
    assert 0 < kept < 5
    photos: list[int] = []
    again = make_run(tar_shards(tars), out, captioner=engine(on_batch=lambda: photos.append(1), batch=1))
    assert [shard.marker.captioned for shard in again.run()] == [5 - kept, 5, 5]
    assert len(photos) == 15 - kept
    assert [row.caption for row in rows_of(out, "00000")] == [caption_of(number) for number in range(5)]
    assert len(listing(out)) == 6


def test_rows_that_a_power_cut_spoiled_are_captioned_again(tars: list[Path], out: Path) -> None:
    run = make_run(tar_shards(tars[:1]), out, stopping=iter([False] * 4 + [True] * 20).__next__)
    list(run.run())
    [partial] = out.glob(".*.partial")
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(lines[0] + bytes(len(lines[1])) + b"\n" + lines[2][:20])
    [done] = make_run(tar_shards(tars[:1]), out).run()
    assert done.marker.captioned == 4
    assert [row.caption for row in rows_of(out, "00000")] == [caption_of(number) for number in range(5)]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (replace(IDENTITY, fingerprint="cd34"), "another model"),
        (replace(IDENTITY, precision="bfloat16"), "computed in float32"),
        (replace(IDENTITY, options={}), "other options"),
    ],
)
def test_rows_of_other_runs_are_not_mixed(tars: list[Path], out: Path, other, sentence: str) -> None:
    list(make_run(tar_shards(tars[:1]), out).run())
    before = listing(out)
    with pytest.raises(ConfigError, match=sentence):
        list(make_run(tar_shards(tars), out, other).run())
    with pytest.raises(ConfigError, match=r"files are \.jsonl, not \.parquet"):
        list(make_run(tar_shards(tars), out, rows="parquet").run())
    assert listing(out) == before


def test_a_tar_that_has_changed_is_refused(tars: list[Path], out: Path) -> None:
    list(make_run(tar_shards(tars[:1]), out).run())
    write_tar(tars[0], layout(0, 50))
    with pytest.raises(ConfigError, match="of another input"):
        list(make_run(tar_shards(tars), out).run())
    (out / "00000_stats.json").unlink()
    assert len(list(make_run(tar_shards(tars), out).run())) == 3
    assert len(rows_of(out, "00000")) == 50


def test_a_folder_with_files_of_others_is_refused(tars: list[Path], out: Path) -> None:
    out.mkdir()
    for name in ("00000.parquet", "00000_stats.json", "notes.txt"):
        (out / name).write_text("{}")
        with pytest.raises(ConfigError, match=f"holds {name}, which wordgaze has not written"):
            list(make_run(tar_shards(tars), out).run())
        assert os.listdir(out) == [name]
        (out / name).unlink()
    (out / ".DS_Store").write_text("")
    assert len(list(make_run(tar_shards(tars), out).run())) == 3


def test_shards_are_dealt_whole(tars: list[Path], out: Path) -> None:
    shards = tar_shards(tars)
    assert [done.name for done in make_run(shards, out, part=(0, 2)).run()] == ["00000", "00002"]
    assert [done.name for done in make_run(shards, out, part=(1, 2)).run()] == ["00001"]


def test_parquet_holds_the_same_rows(tars: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    list(make_run(tar_shards(tars), tmp_path / "a").run())
    list(make_run(tar_shards(tars), tmp_path / "b", rows="parquet").run())
    for shard in ("00000", "00001", "00002"):
        assert rows_of(tmp_path / "a", shard) == rows_of(tmp_path / "b", shard, "parquet")
    assert len(listing(tmp_path / "b")) == 6


def test_what_killed_runs_left_is_removed(tars: list[Path], out: Path) -> None:
    list(make_run(tar_shards(tars), out).run())
    for name in (".00000.01234567.partial", ".00000.01234567.stats", ".wordgaze.01234567.plan", ".00000.claim.0"):
        (out / name).write_text("")
        os.utime(out / name, (0, 0))
    list(make_run(tar_shards(tars), out).run())
    assert len(listing(out)) == 6


def test_a_live_worker_is_waited_for_and_a_dead_one_replaced(tars: list[Path], out: Path) -> None:
    told: list[str] = []
    list(make_run(tar_shards(tars), out).run())
    (out / "00001_stats.json").unlink()
    claim = {"token": "01234567", "host": "far", "pid": 7, "place": "far", "begun": "1", "work": "w"}
    (out / ".00001.claim.0").write_text(json.dumps(claim))
    start = time.monotonic()
    done = list(make_run(tar_shards(tars), out, on_message=told.append, expiry=0.5).run())
    assert time.monotonic() - start > 0.3
    assert told == ["waiting for process 7 on far, which captions shard 00001"]
    assert [shard.is_ours for shard in done] == [False, False, True]
    assert len(listing(out)) == 6


def test_a_worker_that_slept_drops_a_shard_with_a_new_owner(tars: list[Path], out: Path) -> None:
    told: list[str] = []
    done: list[bool] = []

    def overtake() -> None:
        # As a machine that sees no heartbeat does, in the middle of the first shard.
        if not done:
            os.utime(out / ".00000.claim.0", (0, 0))
            done.extend(shard.is_ours for shard in make_run(tar_shards(tars[:1]), out).run())

    slow = make_run(tar_shards(tars[:1]), out, captioner=engine(on_batch=overtake), on_message=told.append, beat=100)
    assert [shard.is_ours for shard in slow.run()] == [False] and done == [True]
    assert told == ["shard 00000 was taken over by another worker"]
    assert [row.caption for row in rows_of(out, "00000")] == [caption_of(number) for number in range(5)]
    assert listing(out) == ["00000.jsonl", "00000_stats.json"]
    marker = read_marker(out / "00000_stats.json")
    assert marker is not None and marker.captioned == 5


def test_a_reason_has_no_numbers_but_those_of_names() -> None:
    assert general("has 12,345 of 2.5 pixels, at 7") == "has # of # pixels, at #"
    assert general("not a photo (TIFF, JPEG 2000, PPM)") == "not a photo (TIFF, JPEG 2000, PPM)"
