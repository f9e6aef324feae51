"""What is timed of many photos, and what of large photos is counted; no test looks at a clock."""

import json
import sys

import pytest
from PIL import Image
from scripts.experiments import draft_captions, many_photos
from tests.model_folder import draw_photo, make_parts

from wordgaze.folder import save_folder


def test_a_large_jpeg_keeps_its_shape_and_has_twelve_megapixels(tmp_path):
    photo = Image.open(draw_photo(tmp_path / "photo.png", 1, (160, 120)))
    good, better = draft_captions.large_jpegs(photo, draft_captions.make_grain(), (50, 60))
    (tmp_path / "large.jpg").write_bytes(good)
    large = Image.open(tmp_path / "large.jpg")
    assert large.format == "JPEG" and large.size == (4000, 3000) and len(better) > len(good)


def test_the_interval_of_a_share():
    assert draft_captions.wilson(0, 100) == pytest.approx((0, 0.037), abs=1e-3)  # Newcombe 1998
    assert draft_captions.wilson(50, 100) == pytest.approx((0.404, 0.596), abs=1e-3)


def test_each_way_gives_the_same_captions_and_ratios_are_of_one_round(tmp_path, monkeypatch, capsys):
    folder, photos, out = tmp_path / "model", tmp_path / "photos", tmp_path / "out.json"
    save_folder(make_parts(), folder, card="# small\n")
    photos.mkdir()
    for number in range(5):
        draw_photo(photos / f"{number}.jpg", number)
    monkeypatch.setattr(many_photos.torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(many_photos, "set_threads", lambda count: None)
    flags = ["--model", str(folder), "--photos", str(photos), "--rounds", "2", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["many_photos", *flags])
    many_photos.main()
    found = json.loads(out.read_text())
    seconds = found["seconds"]
    assert found["photos"] == 5 and {len(rounds) for rounds in seconds.values()} == {2}
    assert all(first < whole for first, whole in zip(seconds["first caption"], seconds["pipeline"], strict=True))
    assert 0 < found["pipeline_over_sum"] < found["pipeline_over_larger"]
    assert "times the larger of model and decoding" in capsys.readouterr().out
