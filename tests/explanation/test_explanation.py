"""An explanation is saved whole or not at all, and never over its own photo."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.model_folder import draw_photo, make_parts

from wordgaze.captioner import Captioner
from wordgaze.errors import ConfigError
from wordgaze.explanation.explanation import Explanation
from wordgaze.model.caption_model import CaptionModel


def path_of(photo: Path) -> Path:
    return photo


def relative(photo: Path) -> str:
    return os.path.relpath(photo)


def opened(photo: Path) -> Any:
    return photo.open("rb")


def image(photo: Path) -> Any:
    return Image.open(photo)


@pytest.mark.parametrize("given", [path_of, relative, opened, image])
def test_a_photo_is_not_written_over(captioner: Captioner, tmp_path: Path, given: Callable[[Path], Any]) -> None:
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


@pytest.mark.parametrize("method", ["gradient", "rollout", "mean", "layer-0-head-1"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_what_went_to_the_prefix_tokens_is_saved_beside_the_maps(tmp_path: Path, method: str, mirrored: bool) -> None:
    parts = make_parts()
    config = replace(parts.model.config, encoder=replace(parts.model.config.encoder, prefix_tokens=True))
    with_prefix = CaptionModel(config)
    with_prefix.load_state_dict(parts.model.state_dict())
    captioner = Captioner(replace(parts, model=with_prefix), "cpu", mirrored=mirrored)
    explanation = captioner.explain(draw_photo(tmp_path / "cat.png", 1), "a red dog", method)
    explanation.save(tmp_path / "maps.json")
    explanation.save(tmp_path / "maps.npz")
    words = json.loads((tmp_path / "maps.json").read_text(encoding="utf-8"))["words"]
    assert all(0 < word["prefix"] < 1 for word in words)
    assert np.allclose(np.sum([word["map"] for word in words], axis=(1, 2)), 1, atol=1e-4)
    assert np.allclose(np.load(tmp_path / "maps.npz")["prefix"], [word["prefix"] for word in words])


def test_a_model_that_shows_patches_alone_has_no_prefix(captioner: Captioner, tmp_path: Path) -> None:
    explanation = captioner.explain(draw_photo(tmp_path / "cat.png", 1), "a red dog")
    assert "prefix" not in explanation.to_dict()["words"][0] and "prefix" not in explanation.to_arrays()


def test_print_says_the_caption_and_repr_leaves_out_the_arrays(captioner: Captioner, tmp_path: Path) -> None:
    explanation = captioner.explain(draw_photo(tmp_path / "cat.png", 1), "a red dog")
    assert str(explanation) == "a red dog"
    assert "entropy=" in repr(explanation) and "array(" not in repr(explanation)
