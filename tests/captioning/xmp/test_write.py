"""Alt text written into files: whole or not at all, mode and time kept, beside the photo or in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.captioning.xmp_photos import (
    exiftool,
    image_bytes,
    is_ours,
    language_alternative,
    needs_exiftool,
    rdf,
    tags,
    without_xmp,
)

from wordgaze.captioning.xmp.merge import AltText
from wordgaze.captioning.xmp.splice import Splice
from wordgaze.captioning.xmp.write import Outcome, Where, write_alt_text
from wordgaze.errors import PhotoError

ALT = AltText("a dog & a <cat>", "bundled", "0123abcd", 0.5678)
OTHER = AltText("two birds", "another", "ffff")
MINE = rdf(language_alternative("Iptc4xmpCore:AltTextAccessibility", "mine"))
KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(image_bytes("JPEG"))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@needs_exiftool
def test_exiftool_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    paths = [tmp_path / f"a.{suffix}" for suffix in KINDS]
    for path in paths:
        path.write_bytes(image_bytes(KINDS[path.suffix[1:]]))
    # Lists, structures, languages, numbers, and a namespace that it moves into its own order when it writes again.
    exiftool(
        *("-overwrite_original", "-XMP-dc:Subject=one", "-XMP-dc:Subject=two & <three>", "-XMP-dc:Title-de=Bild"),
        *("-XMP-xmp:Rating=4", "-XMP-iptcExt:LocationShown={City=A,CountryName=B}", "-XMP-photoshop:City=x"),
        *("-XMP-mwg-rs:RegionInfo={AppliedToDimensions={W=33,H=21,Unit=pixel}}", "-Artist=me", *paths),
    )
    before = {path: (tags(path), without_xmp(path.read_bytes())) for path in paths}
    for path in paths:
        assert write_alt_text(path, ALT).status == "written"
        assert without_xmp(path.read_bytes()) == before[path][1]
        found = tags(path)
        assert {name: value for name, value in found.items() if not is_ours(name)} == before[path][0]
        assert {name: value for name, value in found.items() if is_ours(name)} == {
            "XMP-iptcCore:AltTextAccessibility": "a dog & a <cat>",
            "XMP-dc:Description": "a dog & a <cat>",
            "XMP-wordgaze:AltText": "a dog & a <cat>",
            "XMP-wordgaze:Description": "a dog & a <cat>",
            "XMP-wordgaze:Model": "bundled",
            "XMP-wordgaze:ModelFingerprint": "0123abcd",
            "XMP-wordgaze:Confidence": 0.5678,
        }
    exiftool("-overwrite_original", "-XMP-xmp:Label=green", *paths)
    exiftool("-overwrite_original", "-XMP-dc:Description=by a person", paths[0])
    for path in paths:
        assert write_alt_text(path, OTHER, existing="overwrite").status == "written"
        found = tags(path)
        assert (found["XMP-iptcCore:AltTextAccessibility"], found["XMP-xmp:Label"]) == ("two birds", "green")
        assert found["XMP-dc:Description"] == ("by a person" if path == paths[0] else "two birds")
        assert "XMP-wordgaze:Confidence" not in found
    assert exiftool("-validate", "-warning", "-a", "-s3", *paths).count("OK") == 3


@needs_exiftool
def test_exiftool_reads_a_sidecar(photo: Path) -> None:
    outcome = write_alt_text(photo, ALT, "sidecar")
    assert outcome == Outcome("written", photo.with_name("a.jpg.xmp"))
    assert tags(outcome.file)["XMP-iptcCore:AltTextAccessibility"] == "a dog & a <cat>"


def test_mode_and_time_stay(photo: Path) -> None:
    photo.chmod(0o640)
    os.utime(photo, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    write_alt_text(photo, ALT)
    status = photo.stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o640, 987_654_321_987_654_321)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="needs extended attributes of Linux")
def test_extended_attributes_stay(photo: Path) -> None:
    try:
        os.setxattr(photo, "user.note", b"mine")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    write_alt_text(photo, ALT)
    assert os.getxattr(photo, "user.note") == b"mine"


def test_through_a_link_its_target_is_written(photo: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    link = links / "b.jpg"
    link.symlink_to(photo)
    assert write_alt_text(link, ALT).file == link
    assert link.is_symlink() and b"a dog &amp; a" in photo.read_bytes() and names(links) == ["b.jpg"]
    write_alt_text(link, ALT, "sidecar")
    assert names(links) == ["b.jpg", "b.jpg.xmp"]


@pytest.mark.parametrize("where", ["embed", "sidecar"])
def test_a_full_disk_leaves_all_as_it_was(where: Where, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_alt_text(photo, ALT, where)
    before = {name: (photo.parent / name).read_bytes() for name in names(photo.parent)}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_alt_text(photo, OTHER, where, "overwrite")
    assert {name: (photo.parent / name).read_bytes() for name in names(photo.parent)} == before


def test_a_photo_that_changes_meanwhile_is_left_alone(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wordgaze.captioning.xmp import write

    copy = write.copy_spliced

    def slow(source: BinaryIO, splices: Iterable[Splice], target: BinaryIO) -> None:
        copy(source, splices, target)
        photo.write_bytes(b"another program's")

    monkeypatch.setattr(write, "copy_spliced", slow)
    with pytest.raises(PhotoError, match="changed while"):
        write_alt_text(photo, ALT)
    assert photo.read_bytes() == b"another program's" and names(photo.parent) == ["a.jpg"]


def test_a_photo_that_shrinks_meanwhile_is_left_alone(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wordgaze.captioning.xmp import write

    before = photo.read_bytes()
    monkeypatch.setattr(write.JpegXmp, "splices", lambda *_: [Splice(10**6, 10**6, b"a packet")])
    with pytest.raises(PhotoError, match="became shorter"):
        write_alt_text(photo, ALT)
    assert photo.read_bytes() == before and names(photo.parent) == ["a.jpg"]


def test_a_read_only_photo_is_refused(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The rights themselves would not stop root.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(PhotoError, match="not writable"):
        write_alt_text(photo, ALT)


def test_a_name_of_255_bytes_has_room_for_alt_text_inside_alone(photo: Path) -> None:
    long = photo.rename(photo.with_name("é" * 125 + "a.jpg"))
    assert len(os.fsencode(long.name)) == 255
    with pytest.raises(PhotoError, match="too long"):
        write_alt_text(long, ALT, "sidecar")
    assert write_alt_text(long, ALT).status == "written" and names(photo.parent) == [long.name]


def test_other_kinds_get_a_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"  # what counts is the content
    path.write_bytes(image_bytes("TIFF"))
    before = path.read_bytes()
    outcome = write_alt_text(path, ALT)
    assert (outcome.status, outcome.file) == ("written", tmp_path / "a.jpg.xmp")
    assert outcome.message is not None and "takes no alt text inside" in outcome.message
    assert path.read_bytes() == before and b"a dog &amp; a" in outcome.file.read_bytes()


def test_a_sidecar_is_merged_with(photo: Path) -> None:
    before, sidecar = photo.read_bytes(), photo.with_name("a.jpg.xmp")
    sidecar.write_bytes(rdf("<!-- darktable's --><photoshop:City>x</photoshop:City>"))
    assert write_alt_text(photo, ALT, "sidecar").status == "written"
    assert b"<!-- darktable's --><photoshop:City>x</photoshop:City>" in sidecar.read_bytes()
    assert write_alt_text(photo, OTHER, "sidecar").status == "skipped"
    assert write_alt_text(photo, OTHER, "sidecar", "overwrite").status == "written"
    assert b">two birds<" in sidecar.read_bytes() and photo.read_bytes() == before


@pytest.mark.parametrize("where", ["embed", "sidecar"])
@pytest.mark.parametrize("place", ["embed", "sidecar"])
def test_a_persons_text_stays_in_whichever_place_it_is(where: Where, place: Where, photo: Path) -> None:
    if place == "embed":
        photo.write_bytes(image_bytes("JPEG", xmp=MINE))
    else:
        photo.with_name("a.jpg.xmp").write_bytes(MINE)
    before = {name: (photo.parent / name).read_bytes() for name in names(photo.parent)}
    assert write_alt_text(photo, ALT, where, "overwrite").status == "kept"
    assert {name: (photo.parent / name).read_bytes() for name in names(photo.parent)} == before


def test_a_broken_other_place_says_nothing(photo: Path) -> None:
    photo.with_name("a.jpg.xmp").write_bytes(b"<!DOCTYPE a>" + MINE)
    assert write_alt_text(photo, ALT).status == "written"
    with pytest.raises(PhotoError, match=r"sidecar .*a\.jpg\.xmp, which holds XMP with a DTD"):
        write_alt_text(photo, ALT, "sidecar")


@pytest.mark.parametrize("where", ["embed", "sidecar"])
def test_a_dry_run_says_what_would_happen(where: Where, photo: Path) -> None:
    before = photo.read_bytes()
    assert write_alt_text(photo, ALT, where, dry_run=True).status == "written"
    assert photo.read_bytes() == before and names(photo.parent) == ["a.jpg"]
    write_alt_text(photo, ALT, where)
    assert write_alt_text(photo, ALT, where, dry_run=True).status == "skipped"


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "loop"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    with pytest.raises(PhotoError, match="no file"):
        write_alt_text(path, ALT)


def test_a_sidecar_that_is_a_folder_is_refused(photo: Path) -> None:
    photo.with_name("a.jpg.xmp").mkdir()
    with pytest.raises(PhotoError, match="is no file"):
        write_alt_text(photo, ALT, "sidecar")
