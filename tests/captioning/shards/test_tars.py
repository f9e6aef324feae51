"""Hostile tars: each gives rows or sentences, never a crash, and nothing is unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.captioning.shards.standin import caption_of, engine, layout, png, write_tar

from wordgaze.captioning.shards import tars as module
from wordgaze.captioning.shards.inputs import tar_shards
from wordgaze.captioning.shards.rows import Row
from wordgaze.captioning.shards.tars import tar_photos, tar_stem
from wordgaze.errors import ConfigError


def rows(tar: Path) -> list[Row]:
    return list(engine().rows(tar_photos(tar)))


def summary(tar: Path) -> list[tuple[str, str | None]]:
    return [(row.path.removeprefix(f"{tar.name}/"), row.caption or row.error) for row in rows(tar)]


def info(name: str, **values: Any) -> tarfile.TarInfo:
    result = tarfile.TarInfo(name)
    for field, value in values.items():
        setattr(result, field, value)
    return result


def test_only_photos_get_rows_and_their_hash_is_the_files(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "a.tar", layout(0, 2) | {"__MACOSX/._a.jpg": b"x", ".b.jpg": b"x", "deep/c.d.png": png(7)}
    )
    assert summary(tar) == [
        ("000000000.jpg", caption_of(0)),
        ("000000001.jpg", caption_of(1)),
        ("deep/c.d.png", caption_of(7)),
    ]
    assert [row.key for row in rows(tar)] == ["000000000", "000000001", "deep/c"]
    assert rows(tar)[0].sha256 == hashlib.sha256(png(0)).hexdigest()


def test_links_and_devices_are_refused_and_odd_names_harm_nothing(tmp_path: Path) -> None:
    kinds = [
        (info("/etc/a.jpg"), png(1)),
        (info("../../b.jpg"), png(2)),
        (info("link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        (info("hard.jpg", type=tarfile.LNKTYPE, linkname="/etc/a.jpg"), b""),
        (info("zero.jpg", type=tarfile.CHRTYPE, devmajor=1, devminor=5), b""),
        (info("pipe.jpg", type=tarfile.FIFOTYPE), b""),
        (info("folder.jpg", type=tarfile.DIRTYPE), b""),
        (info("new\nline\udcff.jpg"), png(3)),
        (info("a" * 3000 + ".jpg"), png(4)),
        (info("empty.jpg"), b""),
        (info("text.jpg"), b"<html>"),
    ]
    tar = write_tar(tmp_path / "a.tar", kinds)
    found = summary(tar)
    assert found[:2] == [("/etc/a.jpg", caption_of(1)), ("../../b.jpg", caption_of(2))]
    assert [(name, str(text).split(" in the tar")[0]) for name, text in found[2:7]] == [
        ("link.jpg", "is a link"),
        ("hard.jpg", "is a link"),
        ("zero.jpg", "is a device or a pipe"),
        ("pipe.jpg", "is a device or a pipe"),
        ("folder.jpg", "is a folder"),
    ]
    assert found[7:9] == [("new\nline\udcff.jpg", caption_of(3)), ("a" * 3000 + ".jpg", caption_of(4))]
    assert {row.status for row in rows(tar)[9:]} == {"refused"} and len(found) == 11
    assert all("\n" not in row.to_json() for row in rows(tar))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_tar_cut_short_anywhere_gives_its_whole_photos_and_says_so(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", {f"{number}.png": png(number) for number in range(3)}).read_bytes()
    for length in [0, 1, 511, 512, 513, 600, 1023, 1024, 1400, 1536, 2048, 2900, 3072, 3500]:
        tar = tmp_path / "cut.tar"
        tar.write_bytes(whole[:length])
        found = rows(tar)
        assert found[-1].path == "cut.tar" and found[-1].key == "cut" and found[-1].status == "refused", length
        assert "get the tar again" in str(found[-1].error)
        whole_photos = [number for number in range(3) if 1024 * number + 512 + len(png(number)) <= length]
        assert [row.caption for row in found if row.caption] == [caption_of(number) for number in whole_photos], length


def test_a_tar_with_garbage_in_its_middle_says_so(tmp_path: Path) -> None:
    data = bytearray(write_tar(tmp_path / "a.tar", {f"{number}.png": png(number) for number in range(3)}).read_bytes())
    data[1024:1536] = b"\xff" * 512
    (tmp_path / "a.tar").write_bytes(data)
    assert [row.caption for row in rows(tmp_path / "a.tar")] == [caption_of(0), None]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"no tar" * 1000, b"\x1f\x8b" + b"x" * 2000, b"\xff" * 4096])
def test_what_is_no_tar_is_one_refused_row(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    (tmp_path / "b.tgz").write_bytes(content)
    for name in ("a.tar", "b.tgz"):
        [row] = rows(tmp_path / name)
        assert row.status == "refused" and row.path == name


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        header = info("x", type=kind, size=8 * 1024**3).tobuf(tarfile.GNU_FORMAT)
        with (tmp_path / "a.tar").open("wb") as file:
            file.write(header)
            file.truncate(9 * 1024**3)
        [row] = rows(tmp_path / "a.tar")
        assert row.status == "refused"


def test_a_photo_that_claims_gigabytes_is_cut_by_the_tars_end(tmp_path: Path) -> None:
    header = info("x.jpg", size=8 * 1024**3).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header + png(1))
    photo, tar = rows(tmp_path / "a.tar")
    assert photo.path == "a.tar/x.jpg" and "cut short" in str(photo.error) and tar.path == "a.tar"


def test_a_negative_size_ends_the_tar(tmp_path: Path) -> None:
    header = bytearray(info("x.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(bytes(header) * 3 + bytes(1024))
    assert rows(tmp_path / "a.tar")[-1].path == "a.tar"


def test_thousands_of_nested_headers_end_the_tar(tmp_path: Path) -> None:
    header = info("x", type=tarfile.GNUTYPE_LONGNAME, size=2).tobuf(tarfile.GNU_FORMAT) + b"ab".ljust(512, b"\0")
    (tmp_path / "a.tar").write_bytes(header * 5000)
    [row] = rows(tmp_path / "a.tar")
    assert row.status == "refused"


def test_a_large_photo_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING_BYTES", 10)
    tar = write_tar(tmp_path / "a.tar", layout(0, 3))
    sources = [source for _, source in tar_photos(tar)]
    assert all(isinstance(source, io.BufferedReader) for source in sources)
    assert [(row.caption, row.sha256) for row in rows(tar)] == [
        (caption_of(number), hashlib.sha256(png(number)).hexdigest()) for number in range(3)
    ]


def test_a_compressed_tar_is_read_and_one_cut_short_says_so(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar.gz", layout(0, 3), "w:gz")
    assert [row.caption for row in rows(tar)] == [caption_of(number) for number in range(3)]
    tar.write_bytes(tar.read_bytes()[:-30])
    assert rows(tar)[-1].path == "a.tar.gz" and rows(tar)[-1].status == "refused"
    (tmp_path / "b.tgz").write_bytes(gzip.compress(b"no tar"))
    assert [row.path for row in rows(tmp_path / "b.tgz")] == ["b.tgz"]


def test_a_tar_that_vanished_is_the_machines_fault(tmp_path: Path) -> None:
    [row] = rows(tmp_path / "a.tar")
    assert row.status == "failed" and row.path == "a.tar"


def test_names_of_tars(tmp_path: Path) -> None:
    assert [tar_stem(name) for name in ("a/0.tar", "b.c.TAR", "x.tar.gz", "y.tgz", "z.zip", ".tar")] == [
        "0",
        "b.c",
        "x",
        "y",
        None,
        None,
    ]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", {})
    with pytest.raises(ConfigError, match="would both be written as 0"):
        tar_shards([tmp_path / "a/0.tar", tmp_path / "b/0.tar"])
    with pytest.raises(ConfigError, match="No such file"):
        tar_shards([tmp_path / "c.tar"])
    with pytest.raises(ConfigError, match="is not a tar"):
        tar_shards([tmp_path / "a/0.tar", tmp_path / "photo.jpg"])
    with pytest.raises(ConfigError, match="is not a file"):
        (tmp_path / "d.tar").mkdir()
        tar_shards([tmp_path / "d.tar"])
