"""Tar shards: which photos and captions they hold, and which archives are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wordgaze.data.captions import Source, load_sources, read_captions
from wordgaze.data.packed import TarPhoto
from wordgaze.data.photos import open_photo
from wordgaze.errors import DataError, PhotoError


def photo(color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), color).save(file, "PNG")
    return file.getvalue()


def tar(members: dict[str, bytes | str], **options: object) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


PAIR: dict[str, bytes | str] = {
    "0001.png": photo(), "0001.txt": "a dog\none dog\n", "0002.txt": "a cat", "0002.png": photo("blue")
}  # fmt: skip


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_photos_and_captions_of_a_shard(tmp_path: Path, format: int) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(tar(PAIR, format=format))
    captions = read_captions(path, check_files=True)
    assert [(photo.photo_id, photo.path, photo.captions) for photo in captions] == [
        ("0001", path / "0001.png", ("a dog", "one dog")),
        ("0002", path / "0002.png", ("a cat",)),
    ]
    assert captions.formats == ("tar shards (WebDataset)",)
    colors = [np.asarray(open_photo(photo.source))[0, 0].tolist() for photo in captions]  # type: ignore[arg-type]
    assert colors == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("described", "captions"),
    [
        ({"caption": "a dog", "width": 8}, ("a dog",)),
        ({"captions": ["a dog", "one"]}, ("a dog", "one")),
        ({"text": "a dog"}, ("a dog",)),
    ],
)
def test_captions_in_json_as_img2dataset_writes_it(
    tmp_path: Path, described: dict[str, object], captions: tuple[str, ...]
) -> None:
    path = tmp_path / "00000.tar"
    path.write_bytes(tar({"00000/1.png": photo(), "00000/1.json": json.dumps(described)}))
    assert [photo.captions for photo in read_captions(path)] == [captions]
    path.write_bytes(tar({"1.png": photo(), "1.json": json.dumps(described), "1.txt": "of the text"}))
    assert read_captions(path).photos[0].captions == ("of the text",)
    path.write_bytes(tar({"1.png": photo(), "1.json": json.dumps({"alt": "a dog"})}))
    assert read_captions(path, columns=("image", "alt")).photos[0].captions == ("a dog",)


def test_what_systems_add_and_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    more = {"._0001.png": b"\0\5\x16\7", "__MACOSX/0003.png": b"x", "README.txt": "not a caption", "0001.cls": "7"}
    path.write_bytes(tar({"./" + name: content for name, content in (PAIR | more).items()}))
    assert [photo.photo_id for photo in read_captions(path)] == ["0001", "0002"]


def test_several_shards_are_a_folder_a_pattern_or_a_range(tmp_path: Path) -> None:
    for number in range(3):
        names = {f"{number}{name}": content for name, content in PAIR.items()}
        (tmp_path / f"train-{number:03d}.tar").write_bytes(tar(names))
    patterns = ("", "train-*.tar", "train-{000..002}.tar")
    counts = [[photo.photo_id for photo in read_captions(tmp_path / pattern)] for pattern in patterns]
    assert counts == [["00001", "00002", "10001", "10002", "20001", "20002"]] * 3
    with pytest.raises(DataError, match=r"2 of 5 files are missing, the first is .*train-003\.tar"):
        read_captions(tmp_path / "train-{000..004}.tar")
    with pytest.raises(DataError, match=r"no file matches; check the pattern"):
        read_captions(tmp_path / "test-*.tar")


def test_names_that_come_again_in_another_shard_are_told_apart(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(tar(PAIR))
    assert [photo.photo_id for photo in read_captions(tmp_path)] == ["0001", "0002", "b.tar/0001", "b.tar/0002"]


def test_the_names_of_shards_may_be_splits(tmp_path: Path) -> None:
    for name in ("train-0.tar", "train-1.tar", "val-0.tar"):
        (tmp_path / name).write_bytes(tar({f"{name[:-4]}-{key}": content for key, content in PAIR.items()}))
    with pytest.raises(DataError, match="holds several splits"):
        load_sources([Source(str(tmp_path))])
    assert len(load_sources([Source(str(tmp_path), split="train")])) == 4
    assert read_captions(tmp_path).splits == ("train", "val")


LINK = tarfile.TarInfo("0003.png")
LINK.type, LINK.linkname = tarfile.SYMTYPE, "0001.png"


def damaged(content: bytes, at: int) -> bytes:
    return content[:at] + b"\xff" * 8 + content[at + 8 :]


def linked() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(LINK)
    return file.getvalue()


WHOLE = tar(PAIR)
REFUSED: dict[str, tuple[bytes, str]] = {
    "gzip": (gzip.compress(WHOLE), "packed with gzip, so that no photo can be read .*; unpack it with gunzip"),
    "bzip2": (bz2.compress(WHOLE), "packed with bzip2"),
    "xz": (lzma.compress(WHOLE), "packed with xz"),
    "cut in a photo": (WHOLE[:700], "not a whole tar archive .*; get it again"),
    "cut between members": (WHOLE[:1024], "has no mark of its end"),
    "cut in a header": (WHOLE[:1300], "its header at byte 1,024 is damaged"),
    "a damaged header": (damaged(WHOLE, 1024 + 148), "its header at byte 1,024 is damaged; get"),
    "two in one": (WHOLE + WHOLE, "more follows its end at byte .*as where archives were put together with cat"),
    "no tar": (b"a dog" * 200, "not a whole tar archive"),
    "a link": (linked(), "0003.png is a link or has holes; pack it again with tar --dereference"),
    "no photos": (tar({"1.txt": "a dog"}), "lists no photos"),
    "no captions": (tar({"1.png": photo()}), "none of its 1 photos has a caption"),
    "two photos": (tar({"1.a.png": photo(), "1.b.png": photo()}), r"1.a.png and 1.b.png are both photos of '1'"),
    "another encoding": (tar({"1.png": photo(), "1.txt": b"caf\xe9"}), r"1.txt: not UTF-8 text \(byte 3\)"),
    "broken JSON": (tar({"1.png": photo(), "1.json": "{'caption'"}), r"1.json: broken JSON in line 1"),
    "no caption": (tar({"1.png": photo(), "1.json": '{"caption": 7}'}), r"1.json: its object has caption 7; give"),
    "a long text": (tar({"1.png": photo(), "1.txt": "x" * 2_000_000}), "2,000,000 bytes, too many for captions"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_a_damaged_or_odd_archive_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_captions(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_member_that_is_no_longer_there_is_a_photos_error(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(WHOLE)
    source = read_captions(path).photos[1].source
    assert isinstance(source, TarPhoto)
    path.write_bytes(WHOLE[:700])
    reads: list[Callable[[], object]] = [source.read, lambda: source.ends(4, 8), lambda: open_photo(source)]  # type: ignore[arg-type, return-value]
    for read in reads:
        with pytest.raises(PhotoError, match="is cut off: its archive is shorter"):
            read()
    path.unlink()
    with pytest.raises(PhotoError, match="can't be read"):
        source.read()


def test_the_ends_of_a_photo_without_its_middle(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(WHOLE)
    source = read_captions(path).photos[0].source
    assert isinstance(source, TarPhoto)
    assert source.ends(4, 9) == (photo()[:4], photo()[-9:]) and source.ends(9999, 9999) == (photo(), photo())
