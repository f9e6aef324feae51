"""Every kind of hostile photo has the outcome that docs/hostile-photos.md promises: opened, and in a folder."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests.hostile.kind import LEFT_OUT, Kind
from tests.hostile.table import KINDS, PAGE, page
from tests.model_folder import draw_photo

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.data import streams
from wordgaze.data.photos import open_photo
from wordgaze.errors import PhotoError

ALL = [kind for kinds in KINDS.values() for kind in kinds if not kind.for_root]
FAST = [kind for kind in ALL if not kind.is_large]


def _slow_if_large(kind: Kind) -> Any:
    return pytest.param(kind, marks=pytest.mark.slow if kind.is_large else ())


@pytest.fixture(autouse=True)
def no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WRITER_TIMEOUT", 0.1)


class Changing(io.FileIO):
    """A file to which something happens once a part of it was read."""

    kind: Kind
    path: Path
    was_read = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        before, self.was_read = self.was_read, self.was_read + (count or 0)
        if before < 1000 <= self.was_read:
            assert self.kind.during is not None
            self.kind.during(self.path)
        return count


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> dict[str, Kind]:
    """Return the kinds to change while they are read, by file name."""
    kinds: dict[str, Kind] = {}

    def open_changing(path: Any, mode: str, **options: Any) -> Any:
        kind = None if isinstance(path, int) else kinds.get(os.path.basename(os.fsdecode(path)))
        if kind is None:
            return open(path, mode, **options)
        raw = Changing(path)
        raw.kind, raw.path = kind, Path(path)
        return io.BufferedReader(raw)

    monkeypatch.setattr(streams, "open", open_changing, raising=False)
    return kinds


def made(kind: Kind, folder: Path) -> Path:
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(kind.name))))
    try:
        kind.make(path)
    except OSError as error:
        pytest.skip(f"this file system takes no such file: {error.strerror}")
    return path


def test_there_are_many_kinds_and_no_two_are_called_alike() -> None:
    assert len(ALL) >= 80
    assert len({kind.what for kind in ALL}) == len(ALL)


def test_the_page_says_what_the_tests_hold() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.hostile.table`"


@pytest.mark.parametrize("kind", [_slow_if_large(kind) for kind in ALL], ids=lambda kind: kind.what)
def test_a_kind_has_its_outcome(kind: Kind, tmp_path: Path, changing: dict[str, Kind]) -> None:
    path = made(kind, tmp_path)
    before = sorted(os.listdir(os.fsencode(tmp_path)))
    if kind.during is not None:
        changing[path.name] = kind
    messages: list[str] = []
    if not kind.is_captioned:
        with pytest.raises(PhotoError) as caught:
            open_photo(path, on_warning=messages.append)
        assert kind.matches(str(caught.value)), str(caught.value)
        assert messages == [] and "\n" not in str(caught.value)
    else:
        photo = open_photo(path, on_warning=messages.append)
        assert [message for message in messages if not kind.matches(message)] == []
        assert len(messages) == bool(kind.words)
        if kind.shows is not None:
            assert photo.size == (kind.shows.shape[1], kind.shows.shape[0])
            difference = np.abs(np.asarray(photo, float) - kind.shows).mean()
            assert difference <= kind.tolerance
    if kind.during is None:
        assert sorted(os.listdir(os.fsencode(tmp_path))) == before


# In a folder, among good photos


class Folder:
    """A folder in which a good photo follows every kind, and the arguments that caption all of it."""

    def __init__(self, path: Path, kinds: list[Kind]) -> None:
        self.path, self.kinds = path, {}
        self.named: list[str] = []
        for number, kind in enumerate(kinds):
            inside = path / f"{number:04}"
            inside.mkdir()
            try:
                file = made(kind, inside)
            except pytest.skip.Exception:
                continue
            self.kinds[str(file)] = kind
            if kind.outcome == LEFT_OUT:
                self.named.append(str(file))
            draw_photo(path / f"{number:04}.png", number)

    def goods(self) -> list[str]:
        return sorted(str(path) for path in self.path.glob("*.png"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    yield Folder(tmp_path, [kind for kind in FAST if kind.during is None])


def run(captioner: Captioner, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(Captioner, "from_pretrained", lambda *_, **__: captioner)
    return CliRunner().invoke(main, ["caption", *arguments])


def test_a_folder_of_all_kinds_is_captioned_and_no_caption_is_shifted(
    folder: Folder, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.walk(os.fsencode(folder.path)))
    result = run(captioner, monkeypatch, "--json", str(folder.path), *folder.named)
    assert result.exit_code == 1 and not isinstance(result.exception, Exception), result.stderr[-500:]
    lines = [json.loads(line) for line in result.stdout_bytes.decode("utf-8", "surrogateescape").split("\n")[:-1]]
    by_file = {line["file"]: line for line in lines}
    goods = folder.goods()
    assert sorted(by_file) == sorted([*goods, *folder.kinds]) and len(lines) == len(by_file)
    for file, kind in folder.kinds.items():
        assert ("caption" in by_file[file]) == kind.is_captioned, (kind.what, by_file[file])
        messages = [by_file[file].get("error"), *by_file[file].get("warnings", [])]
        assert all(kind.matches(message) for message in messages if message), kind.what
    alone = captioner.caption(goods)
    expected = [caption.log_probability for caption in alone]
    assert [by_file[good]["log_probability"] for good in goods] == pytest.approx(expected, abs=1e-4)
    assert len({round(value, 3) for value in expected}) > len(expected) * 0.9
    assert sorted(os.walk(os.fsencode(folder.path))) == before


def test_a_photo_is_one_line_whatever_its_name(
    folder: Folder, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(captioner, monkeypatch, str(folder.path), *folder.named)
    assert result.exit_code == 1, result.stderr[-500:]
    captioned = [file for file, kind in folder.kinds.items() if kind.is_captioned]
    lines = result.stdout_bytes.decode("utf-8", "surrogateescape").splitlines()
    assert len(lines) == len(captioned) + len(folder.goods())
    assert all(line.count("\t") == 1 for line in lines)
    said = result.stderr_bytes.decode("utf-8", "surrogateescape").splitlines()
    assert all(line.startswith("wordgaze: ") for line in said)
