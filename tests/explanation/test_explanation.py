"""An explanation is saved whole or not at all, and never over its own photo."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.model_folder import draw_photo

from wordgaze.captioner import Captioner
from wordgaze.errors import ConfigError
from wordgaze.explanation.explanation import Explanation


def path_of(photo: Path) -> Path:
    return photo


def relative(photo: Path) -> str:
    return os.path.relpath(photo)


def opened(photo: Path) -> Any:
    return photo.open("rb")


def image(photo: Path) -> Any:
    return Image.open(photo)


@pytest.mark.parametrize("given", [path_of, relative, opened, image])
def test_a_photo_is_not_written_over(
    captioner: Captioner, tmp_path: Path, given: Callable[[Path], Any]
) -> None:
    photo = draw_photo(tmp_path / "cat.png", 1)
    before = photo.read_bytes()
    os.link(photo, tmp_path / "hard.png")
    (tmp_path / "link.png").symlink_to(photo)
    explanation = captioner.explain(given(photo), "a red dog")
    for out in (
        photo,
        tmp_path / "hard.png",
        tmp_path / "link.png",
        tmp_path / ".." / tmp_path.name / "cat.png",
    ):
        with pytest.raises(ConfigError, match="is an input"):
            explanation.save(out)
    explanation.save(tmp_path / "maps.png")
    assert photo.read_bytes() == before


@pytest.mark.parametrize("given", [Path.read_bytes, lambda photo: io.BytesIO(photo.read_bytes())])
def test_a_photo_without_a_file_is_of_no_file(
    captioner: Captioner, tmp_path: Path, given: Callable[[Path], Any]
) -> None:
    photo = draw_photo(tmp_path / "cat.png", 1)
    assert captioner.explain(given(photo), "a red dog").source is None


@pytest.fixture(scope="module")
def explanation(captioner: Captioner) -> Explanation:
    return captioner.explain(Image.new("RGB", (60, 40), "red"), "a red dog")


def test_a_folder_that_is_not_there(explanation: Explanation, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no folder .*nowhere for maps\.png"):
        explanation.save(tmp_path / "nowhere" / "maps.png")


@pytest.mark.parametrize("suffix", [".png", ".html", ".json", ".npz"])
def test_a_full_disk_leaves_what_was_there(
    explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / f"maps{suffix}"
    out.write_text("of yesterday")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", full)
        explanation.save(out)
    assert out.read_text() == "of yesterday" and list(tmp_path.iterdir()) == [out]
    explanation.save(out)
    assert out.stat().st_size > 500


@pytest.mark.parametrize("path", [5, None, b"maps.png", ["maps.png"], True, "a\0b.png"], ids=repr)
def test_what_is_no_path(explanation: Explanation, path: Any) -> None:
    with pytest.raises(ConfigError, match=r"^path=.*; it must be a path"):
        explanation.save(path)
