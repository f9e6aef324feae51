"""Hostile files: what is no regular file, names that break lines, and files that change while they are read."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tests.data.odd_photos import encoded
from tests.hostile.contents import AGAIN, JPEG
from tests.hostile.kind import CAPTIONED, LEFT_OUT, REFUSED, Kind, captioned, writer

NOISE = encoded("PNG", Image.fromarray(np.random.default_rng(8).integers(0, 256, (300, 400, 3), np.uint8)))
"""A photo of many blocks: it is half read when it changes."""


def not_files() -> Iterator[Kind]:
    yield Kind("a pipe (FIFO) that nobody writes to", os.mkfifo, LEFT_OUT,
               words="is a pipe that nothing is written to; name a file", name="pipe.jpg")  # fmt: skip
    yield Kind("a socket", _socket, LEFT_OUT, words="is a socket, not a photo; name a file", name="socket.jpg")
    for device in ("zero", "full", "null", "random"):
        yield Kind(f"a link to /dev/{device}", _link(f"/dev/{device}"), LEFT_OUT,
                   words="is a device, not a photo; name a file", name=f"{device}.jpg")  # fmt: skip
    nowhere = "is a link that leads nowhere; check what it points to"
    yield Kind("a link to itself", lambda path: path.symlink_to(path.name), REFUSED, words="…")
    yield Kind("two links to each other", _loop, REFUSED, words="…")
    yield Kind("a link that leads nowhere", _link("nowhere.jpg"), REFUSED, words=nowhere)
    yield Kind("a link to a photo", _to_a_photo, CAPTIONED, "as the photo")
    yield Kind("a link to its own folder", _link("."), LEFT_OUT, name="itself.jpg",
               words="is a folder without photos; name photos")  # fmt: skip
    yield Kind(
        "a folder called x.jpg", Path.mkdir, LEFT_OUT, words="is a folder without photos; name photos", name="x.jpg"
    )


def _socket(path: Path) -> None:
    # A relative name: a socket's may be 107 bytes long at most.
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _loop(path: Path) -> None:
    other = path.with_name(".loop")
    path.symlink_to(other.name)
    other.symlink_to(path.name)


def _to_a_photo(path: Path) -> None:
    (path.parent / ".target").write_bytes(JPEG)
    path.symlink_to(".target")


def permissions() -> Iterator[Kind]:
    yield Kind("a photo that may not be read", _forbidden, REFUSED, for_root=True,
               words="can't be read; check the file's permissions")  # fmt: skip
    yield Kind("a folder that may not be listed", _closed, REFUSED, name="closed", for_root=True,
               words="is a folder that can't be read; check its permissions")  # fmt: skip


def _forbidden(path: Path) -> None:
    path.write_bytes(JPEG)
    path.chmod(0)


def _closed(path: Path) -> None:
    path.mkdir()
    path.chmod(0)


def names() -> Iterator[Kind]:
    for what, name, shown in (
        ("a line feed", "a\nb.jpg", r"`a\nb.jpg`"),
        ("a tab", "a\tb.jpg", r"`a\tb.jpg`"),
        ("a carriage return", "a\rb.jpg", r"`a\rb.jpg`"),
        ("a backslash", "a\\nb.jpg", r"`a\\nb.jpg`"),
        ("an escape sequence of terminals", "a\x1b[2Jb.jpg", r"`a\x1b[2Jb.jpg`"),
        ("a next line character (U+0085)", "a\x85b.jpg", r"`a\x85b.jpg`"),
        ("a line separator (U+2028)", "a\u2028b.jpg", r"`a\u2028b.jpg`"),
        ("an emoji", "ü😀.jpg", "`ü😀.jpg`"),
        ("bytes that are not UTF-8", b"a\xff\xfeb.jpg", "the same bytes"),
        ("a leading dash", "-rf.jpg", "`-rf.jpg`"),
        ("spaces", " a b .jpg", "it is"),
        ("quotes, a dollar sign and a backquote", "\"a' $(b)`.jpg", "it is"),
        ("255 bytes", "n" * 251 + ".jpg", "it is"),
    ):
        yield captioned(f"a name with {what}", JPEG, f"written as {shown}", name=name)


def changing() -> Iterator[Kind]:
    whole = writer(NOISE)
    pixels = np.asarray(Image.open(io.BytesIO(NOISE)))
    few = f"is damaged or cut short: only N of 300 rows can be read; {AGAIN}"
    for what, during, words in (
        ("is cut to half while it is read", lambda path: os.truncate(path, len(NOISE) // 2), few),
        ("is emptied while it is read", lambda path: os.truncate(path, 0), few),
    ):
        yield Kind(f"a photo that {what}", whole, REFUSED, words=words, name="changes.png", during=during)
    for what, during in (
        ("grows while it is read", lambda path: path.open("ab").write(b"more" * 99_999)),
        ("is deleted while it is read", os.unlink),
        ("is replaced by another while it is read", _replace),
    ):
        yield Kind(f"a photo that {what}", whole, CAPTIONED, "as it was when it was opened", name="changes.png",
                   shows=pixels, during=during)  # fmt: skip
    yield Kind("a photo on a disk that fails while it is read", whole, REFUSED, name="changes.png", during=_fail,
               words="can't be read (Input/output error); try again, or get the file again")  # fmt: skip


def _replace(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(JPEG)
    os.replace(other, path)


def _fail(path: Path) -> None:
    raise OSError(5, "Input/output error")
