"""One file from a server that breaks off, lies, refuses and dawdles."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import coco_server
from tests.coco_server import CocoServer, break_off, claim, serving, status, trickle

from wordgaze.data.download.fetch import FetchError, FetchOptions, Stopped, fetch
from wordgaze.errors import DataError

CONTENT = bytes(range(256)) * 1000
QUICK = FetchOptions(attempts=3, timeout=0.5, first_wait=0.01, most_wait=0.05)


@pytest.fixture
def server() -> Iterator[CocoServer]:
    with serving() as server:
        server.files["/file"] = CONTENT
        yield server


def verify(path: Path, is_checked: bool) -> None:
    if path.read_bytes() != CONTENT:
        raise DataError("is another file")


def get(server: CocoServer, folder: Path, options: FetchOptions = QUICK) -> Path:
    target = folder / "file"
    try:
        fetch(f"{server.url}/file", target, verify, options)
    finally:
        assert not target.exists() or target.read_bytes() == CONTENT
    assert not target.with_name("file.part").exists()
    return target


def test_a_file(server: CocoServer, tmp_path: Path) -> None:
    assert get(server, tmp_path).read_bytes() == CONTENT and server.asked_for("/file") == [None]


@pytest.mark.parametrize("is_amazon", [False, True])
def test_one_that_breaks_off_is_resumed(server: CocoServer, tmp_path: Path, is_amazon: bool) -> None:
    server.is_amazon = is_amazon
    server.faults["/file"] = [break_off(0.5), break_off(0.5)]
    get(server, tmp_path)
    assert server.asked_for("/file") == [None, "bytes=128000-", "bytes=192000-"]


def test_progress_is_no_failure_however_often_it_breaks_off(server: CocoServer, tmp_path: Path) -> None:
    server.faults["/file"] = [break_off(0.2)] * 10
    get(server, tmp_path)
    assert len(server.requests) == 11


def test_a_part_of_an_earlier_run_is_continued(server: CocoServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    get(server, tmp_path)
    assert server.asked_for("/file") == ["bytes=1000-"]


def test_a_part_that_was_whole_already(server: CocoServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    get(server, tmp_path)
    assert server.asked_for("/file") == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("part", [b"another beginning", CONTENT + b"more"])
def test_a_part_of_another_file_is_thrown_away(server: CocoServer, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "file.part").write_bytes(part)
    get(server, tmp_path)
    assert server.asked_for("/file") == [f"bytes={len(part)}-", None]


@pytest.mark.parametrize("fault", [coco_server.whole_again, coco_server.other_range], ids=["whole", "other part"])
def test_a_range_that_is_not_heeded(server: CocoServer, tmp_path: Path, fault: coco_server.Fault) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.faults["/file"] = [fault]
    get(server, tmp_path)


def test_a_server_that_claims_more_than_it_has_once_and_always(server: CocoServer, tmp_path: Path) -> None:
    server.faults["/file"] = [claim(50)]
    get(server, tmp_path)
    (tmp_path / "file").unlink()
    server.faults["/file"] = [claim(50)] * 2
    # It has no more: that is the whole file, as its contents show.
    get(server, tmp_path)


def test_a_server_that_claims_less_than_it_has(server: CocoServer, tmp_path: Path) -> None:
    server.faults["/file"] = [claim(-50)]
    get(server, tmp_path)
    (tmp_path / "file").unlink()
    server.faults["/file"] = [claim(-50)] * 3
    with pytest.raises(FetchError, match="what came is another file, 3 times in a row") as raised:
        get(server, tmp_path)
    assert not raised.value.lasting


def test_another_content_under_the_right_checksum(server: CocoServer, tmp_path: Path) -> None:
    server.is_amazon = True
    server.faults["/file"] = [coco_server.flipped]
    get(server, tmp_path)
    server.faults["/file"] = [coco_server.flipped] * 3
    with pytest.raises(FetchError, match="another checksum than the server says"):
        fetch(f"{server.url}/file", tmp_path / "other", lambda *_: None, QUICK)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_is_broken_on_the_server_is_not_fetched_again(server: CocoServer, tmp_path: Path) -> None:
    server.is_amazon = True
    server.files["/file"] = b"something else"
    with pytest.raises(FetchError, match="the server's own file is another file") as raised:
        get(server, tmp_path)
    assert raised.value.lasting and len(server.requests) == 1


@pytest.mark.parametrize(("code", "name"), [(404, "Not Found"), (403, "Forbidden"), (410, "Gone")])
def test_what_is_not_there_is_asked_for_once(server: CocoServer, tmp_path: Path, code: int, name: str) -> None:
    server.faults["/file"] = [status(code)] * 3
    with pytest.raises(FetchError, match=rf"the server answers {code} \({name}\)") as raised:
        get(server, tmp_path)
    assert raised.value.lasting and len(server.requests) == 1


def test_a_busy_server_is_asked_again_and_given_its_time(server: CocoServer, tmp_path: Path) -> None:
    server.faults["/file"] = [status(503), status(429, Retry_After="1")]
    start = time.monotonic()
    get(server, tmp_path, FetchOptions(attempts=3, first_wait=0.01))
    assert time.monotonic() - start >= 1


def test_a_server_that_stays_busy(server: CocoServer, tmp_path: Path) -> None:
    server.faults["/file"] = [status(503)] * 3
    with pytest.raises(FetchError, match=r"answers 503 \(Service Unavailable\), 3 times in a row") as raised:
        get(server, tmp_path)
    assert not raised.value.lasting


def test_a_slow_server_is_waited_for_and_one_that_is_slower_is_left(server: CocoServer, tmp_path: Path) -> None:
    server.faults["/file"] = [trickle(0.02, 10_000)]
    get(server, tmp_path)
    assert len(server.requests) == 1
    (tmp_path / "file").unlink()
    server.faults["/file"] = [trickle(0.1)]
    get(server, tmp_path)
    assert len(server.requests) == 3 and server.requests[-1][1] is not None


def test_a_server_that_falls_silent(server: CocoServer, tmp_path: Path) -> None:
    server.faults["/file"] = [trickle(1, 100_000)]
    get(server, tmp_path)
    assert server.asked_for("/file") == [None, "bytes=100000-"]


def test_no_server(tmp_path: Path) -> None:
    with serving() as server:
        url = server.url
    with pytest.raises(FetchError, match=r"no answer \(Connection refused\), 3 times in a row"):
        fetch(f"{url}/file", tmp_path / "file", verify, QUICK)


def test_a_full_disk_is_no_fault_of_the_server(server: CocoServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        fetch(f"{server.url}/file", tmp_path / "file", verify, QUICK)
    assert len(server.requests) == 1


def test_a_stop_ends_a_wait_and_keeps_what_is_there(server: CocoServer, tmp_path: Path) -> None:
    server.faults["/file"] = [break_off(0.5), status(503, Retry_After="60")]
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped):
        fetch(f"{server.url}/file", tmp_path / "file", verify, FetchOptions(first_wait=0.01), stop)
    assert (tmp_path / "file.part").stat().st_size == 128_000
