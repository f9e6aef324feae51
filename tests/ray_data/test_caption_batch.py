"""Batches as Ray Data makes them, without Ray: a row for each photo, whatever the photo is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.captioning.shards.standin import make_run, rows_of

from wordgaze.captioner import Captioner
from wordgaze.captioning.shards.inputs import list_shards
from wordgaze.captioning.shards.rows import COLUMNS
from wordgaze.errors import ConfigError
from wordgaze.ray_data import CaptionBatch


@pytest.fixture(scope="module")
def caption_batch(model_folder: Path) -> CaptionBatch:
    return CaptionBatch(str(model_folder), "cpu", num_beams=2)


def column(values: list) -> np.ndarray:
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result


def test_files_give_the_rows_of_a_folders_shard(caption_batch: CaptionBatch, mixed: Path, tmp_path: Path) -> None:
    files = [*sorted(mixed.glob("*.*g")), mixed / "nowhere.png"]
    list(make_run(list_shards(files), tmp_path / "out", captioner=caption_batch.engine).run())
    expected = rows_of(tmp_path / "out", "00000")
    batch = {"path": column([str(file) for file in files]), "key": column([row.key for row in expected])}
    found = caption_batch(batch)
    assert list(found) == list(COLUMNS)
    assert [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)] == [
        row.__dict__ for row in expected
    ]
    assert found["status"].tolist() == ["refused", *["success"] * 3, "refused", *["success"] * 3, "failed"]


def test_bytes_and_samples_of_tars(caption_batch: CaptionBatch, photos: list[Path]) -> None:
    data = [photo.read_bytes() for photo in photos[:2]]
    by_path = caption_batch({"bytes": column([*data, b""]), "path": column(["a.png", "b.png", "c.png"])})
    assert by_path["key"].tolist() == ["a.png", "b.png", "c.png"]
    assert by_path["status"].tolist() == ["success", "success", "refused"]
    samples = caption_batch(
        {
            "__key__": column(["0", "1", "2", "3"]),
            "__url__": column(["t.tar"] * 4),
            "jpg": column([data[0], None, None, np.zeros((2, 2, 3))]),
            "txt": column([b"a text"] * 4),
            "png": column([None, data[1], None, None]),
        }
    )
    assert samples["path"].tolist() == [f"t.tar/{number}" for number in range(4)]
    assert samples["caption"].tolist() == [*by_path["caption"][:2], None, None]
    assert "has no photo beside" in samples["error"][2] and "decoder=None" in samples["error"][3]


def test_a_batch_without_photos(caption_batch: CaptionBatch) -> None:
    with pytest.raises(ConfigError, match="none of them a photo's"):
        caption_batch({"text": column(["a"])})


def test_captions_are_those_of_the_captioner(
    caption_batch: CaptionBatch, captioner: Captioner, photos: list[Path]
) -> None:
    found = caption_batch({"path": column([str(photo) for photo in photos])})
    assert found["caption"].tolist() == [str(caption) for caption in captioner.caption(photos)]
