"""Which photos arguments mean, and what is left out of folders."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from wordgaze.data.listing import Exclusion, Listing, find_photos, photos_in, read_list
from wordgaze.data.photos import open_photo
from wordgaze.errors import ConfigError, PhotoError


def test_photos_come_in_the_order_of_the_arguments_and_by_code_point(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.png", "a-b.webp", "Z.jpg", "é.avif", "a/notes.txt", "README"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).touch()
    last, missing = tmp_path / "one.bmp", tmp_path / "missing.png"
    photos = photos_in([last, tmp_path / "folder", str(missing), last]).photos
    inside = [path.relative_to(tmp_path / "folder").as_posix() for path in map(Path, photos[1:-2])]
    assert inside == ["Z.jpg", "a-b.webp", "a/z.png", "b.JPG", "é.avif"]
    assert [photos[0], *photos[-2:]] == [last, missing, last]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://example.com/cat.jpg", "is an address, and addresses are not fetched; download it first"),
        (Path("http://example.com/cat.jpg"), "addresses are not fetched"),
        ("FTP://example.com/cat.jpg", "addresses are not fetched"),
        ("s3://bucket/cat.jpg", "addresses are not fetched"),
        ("file:///photos/cat.jpg", "addresses are not fetched"),
        ("data:image/png;base64,iVBORw0KGgo=", "addresses are not fetched"),
        ("C:/photos/cat.jpg", "no such file"),
        ("a:b.jpg", "no such file"),
        ("nowhere/cat.jpg", "no such file"),
    ],
)
def test_a_path_that_is_not_there(path: str | Path, message: str) -> None:
    with pytest.raises(PhotoError, match=message):
        open_photo(path)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(PhotoError, match="is a link that leads nowhere"):
        open_photo(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="links"):
        open_photo(tmp_path / "loop.jpg")


# --- Folders ---------------------------------------------------------------------------------------------------


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


TREE = ["a.jpg", "a_mask.png", "raw/b.jpg", "2019/raw/c.jpg", "2019/raw.jpg", "2019/RAW/d.jpg", "[1].jpg"]


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (["*_mask.*"], ["2019/RAW/d.jpg", "2019/raw.jpg", "2019/raw/c.jpg", "[1].jpg", "a.jpg", "raw/b.jpg"]),
        (["raw"], ["2019/RAW/d.jpg", "2019/raw.jpg", "[1].jpg", "a.jpg", "a_mask.png"]),
        (["raw/", "[[]1].jpg"], ["2019/RAW/d.jpg", "2019/raw.jpg", "a.jpg", "a_mask.png"]),
        (["/raw"], ["2019/RAW/d.jpg", "2019/raw.jpg", "2019/raw/c.jpg", "[1].jpg", "a.jpg", "a_mask.png"]),
        (["./2019/raw"], ["2019/RAW/d.jpg", "2019/raw.jpg", "[1].jpg", "a.jpg", "a_mask.png", "raw/b.jpg"]),
        (["2019/*"], ["[1].jpg", "a.jpg", "a_mask.png", "raw/b.jpg"]),
        (["**/raw/*"], ["2019/RAW/d.jpg", "2019/raw.jpg", "[1].jpg", "a.jpg", "a_mask.png"]),
        (["*.jpg/"], sorted(TREE)),
        (["[!a]*"], ["a.jpg", "a_mask.png"]),
        (["?.jpg", "R*"], ["2019/raw.jpg", "[1].jpg", "a_mask.png"]),
    ],
)
def test_what_is_excluded(tmp_path: Path, patterns: list[str], taken: list[str]) -> None:
    make(tmp_path, *TREE)
    photos = [Path(photo) for photo in photos_in([tmp_path], exclude=patterns).photos]
    assert [photo.relative_to(tmp_path).as_posix() for photo in photos] == taken


def test_patterns_leave_out_named_photos_but_no_named_folder(tmp_path: Path) -> None:
    make(tmp_path, *TREE)
    listing = photos_in([tmp_path / "raw", tmp_path / "a.jpg", tmp_path / "a_mask.png"], exclude=["raw", "*_mask*"])
    assert listing.photos == [tmp_path / "raw" / "b.jpg", tmp_path / "a.jpg"]
    assert listing.describe_left_out() == "1 excluded photo" and listing.spared == [tmp_path / "a_mask.png"]


@pytest.mark.parametrize("pattern", ["", "/", "./"])
def test_an_empty_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="matches nothing"):
        Exclusion([pattern])


def test_a_pattern_may_be_a_path_as_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "photos", *(name for name in TREE if "[" not in name))
    monkeypatch.chdir(tmp_path)
    shown = sorted(str(photo) for photo in photos_in(["photos"]).photos)
    assert list(map(str, photos_in(["photos"], exclude=shown[1:]).photos)) == shown[:1]
    without = photos_in(["photos", "photos/raw/b.jpg"], exclude=["photos/raw", "photos/raw/*"]).photos
    assert "photos/raw/b.jpg" in shown and list(map(str, without)) == [s for s in shown if s != "photos/raw/b.jpg"]
    absolute = photos_in([tmp_path], exclude=[f"{tmp_path}/photos/2019/"]).photos
    assert len(absolute) == 3


def test_the_current_folder_is_not_in_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "b/c.jpg")
    monkeypatch.chdir(tmp_path)
    assert photos_in(["."]).photos == photos_in(["./"]).photos == [Path("a.jpg"), Path("b/c.jpg")]


def test_a_folder_twice_and_a_photo_twice(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert photos_in([tmp_path, tmp_path, tmp_path / "a.jpg"]).photos == [tmp_path / "a.jpg"] * 3


def test_a_folder_that_is_a_link_is_searched_when_named(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.jpg")
    (tmp_path / "link").symlink_to("photos")
    assert photos_in([tmp_path / "link"]).photos == [tmp_path / "link" / "a.jpg"]
    assert photos_in([tmp_path]).photos == [tmp_path / "photos" / "a.jpg"]


def test_a_folder_that_can_not_be_listed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "closed/b.jpg", ".closed/c.jpg")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if "closed" in path:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert photos_in([tmp_path]).photos == [tmp_path / "a.jpg", tmp_path / "closed"]
    assert photos_in([tmp_path / "closed"]).photos == [tmp_path / "closed"]


def test_what_was_left_out_is_one_line_with_thousands_and_plurals() -> None:
    counts = Counter({".dng": 1234, ".txt": 5, "hidden photo": 2, "link to a folder": 3, "excluded folder": 1})
    told = Listing(left_out=counts).describe_left_out()
    assert told == "1,234 .dng, 5 .txt, 2 hidden photos, 1 excluded folder, 3 links to folders"
    assert Listing().describe_left_out() == ""


def test_folders_for_training_leave_out_companions(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "._a.jpg", "@eaDir/a.jpg/thumb.jpg", "empty/notes.txt")
    assert find_photos(tmp_path) == [tmp_path / "a.jpg"] and find_photos(tmp_path / "empty") == []


@pytest.mark.parametrize(("paths", "message"), [([""], "A path is empty"), ([".", ""], "A path is empty")])
def test_an_empty_path_is_refused(paths: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        photos_in(paths)


def test_no_photos_in_many_folders(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(9)]
    for folder in folders:
        folder.mkdir()
    with pytest.raises(ConfigError, match=r"no photos in .*/0, .*/1, .*/2 and 6 more; name photos"):
        photos_in(folders)


# --- Lists -----------------------------------------------------------------------------------------------------

LISTS = [
    (b"a.jpg\nb c.jpg\n", ["a.jpg", "b c.jpg"]),
    (b"a.jpg\r\n\r\n  \nb.jpg", ["a.jpg", "b.jpg"]),
    (b"\xef\xbb\xbfa.jpg\n", ["a.jpg"]),
    (b"a\nb.jpg\0 c.jpg\0\0d\r\0", ["a\nb.jpg", " c.jpg", "d\r"]),
    ("ä.jpg\r\nb.jpg\r\n".encode("utf-16"), ["ä.jpg", "b.jpg"]),
    ("/a.jpg\r\nb/c.jpg".encode("utf-16-le"), ["/a.jpg", "b/c.jpg"]),
    ("/a.jpg\nb/c.jpg".encode("utf-16-be"), ["/a.jpg", "b/c.jpg"]),
    (b"a\0b\0", ["a", "b"]),
    (b"\xff.jpg\n", [os.fsdecode(b"\xff.jpg")]),
    (b"#a.jpg\n-b.jpg\n'c.jpg'\n", ["#a.jpg", "-b.jpg", "'c.jpg'"]),
]


@pytest.mark.parametrize(("data", "names"), LISTS)
def test_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, names: list[str]) -> None:
    (tmp_path / "list").write_bytes(data)
    assert read_list(tmp_path / "list") == names
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_list("-") == names


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"The list .*list does not exist; check the path"),
        (b"", r"The list .*list is empty; write"),
        (b"\n \r\n", r"The list .*list is empty"),
        (b"\0\0", r"The list .*list is empty"),
        (b"\xff\xd8\xff\xe0", "is a photo, not a list of photos"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / "list").write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        photos_in([], [tmp_path / "list"])


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        read_list(tmp_path)
