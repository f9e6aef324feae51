"""The scripts that measure `wordgaze data check`, on a few photos."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts.experiments import check_many, near_duplicates
from tests.faulty_set import draw


def test_found_shares_and_near_pairs(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        # The last is the first one again.
        draw(file, number % 3)
    lines = near_duplicates.found_table(files).splitlines()
    assert len(lines) == 1 + len(near_duplicates.CHANGES)
    [mirrored] = [line for line in lines if line.startswith("mirrored")]
    assert mirrored.split()[1:] == ["100.0%"] * 4
    pairs = near_duplicates.pairs_table(files)
    assert "4 photos, 6 pairs" in pairs and pairs.endswith(f"\n{files[0]} {files[3]}")
    assert re.search(r"≤ 11 bits +1 +1 +1 +1\n", pairs)


def test_a_set_of_many_photos_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, peak, last_line = check_many.run(check_many.make_set(tmp_path, 30))
    assert seconds > 0 and 10 < peak < 1000 and last_line == "nothing is wrong"
