"""Many files: each has its result in its place, none costs another, and few are held at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wordgaze.captioner import Captioner
from wordgaze.data.listing import photos_in
from wordgaze.errors import ConfigError
from wordgaze.tasks.caption_files import caption_files


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_every_file_has_its_own_result_in_its_place(captioner: Captioner, mixed: Path, batch_size: int) -> None:
    files = [*photos_in([mixed]).photos, mixed / "nothere.png", mixed / "c.png"]
    results = list(caption_files(captioner, files, batch_size=batch_size))
    assert [result.file for result in results] == files
    assert [result.file.name for result in results if result.error] == ["a.jpg", "d2.png", "nothere.png"]
    for result in results:
        if result.caption is not None:
            assert str(result.caption) == str(captioner.caption(result.file)), result.file


def test_nothing_but_failures_and_nothing_at_all(captioner: Captioner, mixed: Path) -> None:
    [result] = caption_files(captioner, [mixed / "d2.png"])
    assert result.to_dict() == {"file": str(mixed / "d2.png"), "error": result.error}
    assert "is not a photo" in str(result.error)
    assert list(caption_files(captioner, [])) == []


def test_options_of_the_search(captioner: Captioner, photos: list[Path]) -> None:
    options = captioner.generation_options(num_beams=3, num_captions=3)
    results = list(caption_files(captioner, photos, options))
    assert [len(result.caption.alternatives) for result in results if result.caption] == [2] * len(photos)


def test_files_are_taken_as_they_are_needed(captioner: Captioner, photos: list[Path]) -> None:
    """A list of a hundred million files must not be opened ahead of the model."""
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield photos[taken % len(photos)]

    results = caption_files(captioner, endless(), batch_size=3)
    for _ in range(7):
        next(results)
    assert taken <= 7 + 2 * 3
    results.close()  # type: ignore[attr-defined]  # ends the threads, too


def test_a_batch_of_no_photos_is_refused(captioner: Captioner) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        next(caption_files(captioner, [], batch_size=0))


def test_arguments_in_order_and_folders_by_code_point(mixed: Path) -> None:
    (mixed / "Z").mkdir()
    (mixed / "b.png").rename(mixed / "Z" / "ä.PNG")
    found = photos_in([mixed / "g.png", mixed]).photos
    assert [path.name for path in found] == [
        "g.png",
        "ä.PNG",
        "a.jpg",
        "c.png",
        "d.png",
        "d2.png",
        "e.png",
        "f.png",
        "g.png",
    ]


def test_a_folder_without_photos(captioner: Captioner, mixed: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=f"no photos in {empty}"):
        photos_in([empty])
    # Among others it is a failure like any other.
    results = list(caption_files(captioner, photos_in([empty, mixed / "b.png"]).photos))
    assert [(result.file, result.caption is None) for result in results] == [
        (empty, True),
        (mixed / "b.png", False),
    ]


def test_a_name_that_is_no_text(captioner: Captioner, photos: list[Path]) -> None:
    odd = photos[0].with_name(os.fsdecode(b"\xff\n.png"))
    photos[0].rename(odd)
    [result] = caption_files(captioner, [odd])
    assert result.to_dict()["file"] == str(odd) and result.caption is not None
