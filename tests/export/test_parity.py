"""The bundled model's captions of 200 real photos, exported and not: the same, token for token, but for ties."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.experiments.onnx_parity import PYTORCH, parity

from wordgaze.data.captions import read_captions
from wordgaze.export.write import export_folder
from wordgaze.folder import load_folder
from wordgaze.hub import bundled_folder


@pytest.mark.slow
def test_200_photos(shared_data: Path, tmp_path: Path) -> None:
    parts = load_folder(bundled_folder())
    export_folder(parts, tmp_path)
    photos = [
        photo
        for name in ("flickr", "coco")
        for photo in list(read_captions(shared_data / "data" / name / "captions_val.json"))[:100]
    ]
    rows = parity(parts, [tmp_path], photos)
    row = rows[str(tmp_path)]
    assert row["photos"] == 200 and row["same"] >= 195
    assert row["same"] + row["ties"] == 200
    assert row["log_probability_moves"] < 1e-3
    assert abs(row["CIDEr"] - rows[PYTORCH]["CIDEr"]) < 0.01
