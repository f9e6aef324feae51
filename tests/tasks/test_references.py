"""Files that references are read from, which no output may overwrite; and whether photos need a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.packed_sets import captions_flags

from wordgaze.errors import ConfigError, DataError
from wordgaze.files import check_outputs
from wordgaze.tasks.references import holds_photos, photos_to_caption, reference_files


def captions_of(kind: str, photos: list[Path], folder: Path) -> Path:
    """Write captions of the photos in a format; return what is named as the captions."""
    if kind in ("set.tar", "set.parquet"):
        captions_flags(Path(kind).suffix[1:], folder, {photo: ["a cat"] for photo in photos})
        return folder
    if kind == "metadata.jsonl":
        text = "".join(f'{{"file_name": "{photo.name}", "text": "a cat"}}\n' for photo in photos)
    else:
        text = "file_name,text\n" + "".join(f"{photo.name},a cat\n" for photo in photos)
    (folder / kind).write_text(text)
    return folder


@pytest.mark.parametrize(
    "kind",
    ["metadata.jsonl", "metadata.csv", "set.tar", "set.parquet"],
)
def test_no_output_overwrites_what_holds_the_captions_of_a_folder(
    kind: str, photos: list[Path], tmp_path: Path
) -> None:
    captions = captions_of(kind, photos, tmp_path)
    found = photos_to_caption(captions, photos[0].parent)
    assert len(found) == len(photos) and holds_photos(captions) == kind.startswith("set.")
    inputs = reference_files(captions, found)
    with pytest.raises(ConfigError, match="would be overwritten"):
        check_outputs([tmp_path / kind], inputs)
    check_outputs([tmp_path / "scores.json"], inputs)


def test_texts_in_another_folder_than_their_photos_are_not_overwritten(photos: list[Path], tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for photo in photos:
        (texts / f"{photo.stem}.txt").write_text("a cat")
    inputs = reference_files(texts, photos_to_caption(texts, photos[0].parent))
    for file in (texts / "b.txt", photos[0]):
        with pytest.raises(ConfigError, match="would be overwritten"):
            check_outputs([file], inputs)


def test_photos_that_are_neither_in_the_file_nor_beside_it(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("image,caption\na.png,a cat\n")
    with pytest.raises(DataError, match=r"1 of the 1 photos that .*set\.csv names is not beside it \(.*a\.png\)"):
        photos_to_caption(tmp_path / "set.csv")
