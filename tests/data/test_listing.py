"""Which photos arguments mean, and what is left out of folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordgaze.data.listing import find_photos
from wordgaze.data.photos import open_photo
from wordgaze.errors import PhotoError


def test_photos_come_in_the_order_of_the_arguments_and_by_code_point(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.png", "a-b.webp", "Z.jpg", "é.avif", "a/notes.txt", "README"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).touch()
    last, missing = tmp_path / "one.bmp", tmp_path / "missing.png"
    found = find_photos([last, tmp_path / "folder", str(missing), last])
    inside = [path.relative_to(tmp_path / "folder").as_posix() for path in found[1:-2]]
    assert inside == ["Z.jpg", "a-b.webp", "a/z.png", "b.JPG", "é.avif"]
    assert [found[0], *found[-2:]] == [last, missing, last]


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
