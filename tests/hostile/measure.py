"""Opens photos, and prints what memory they took at most.

python -m tests.hostile.measure FILE...             one after another: the bytes, and those kept for it, by file
python -m tests.hostile.measure --together FILE...  the bytes as a folder is read, in four threads
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

from wordgaze.captioning import pipeline
from wordgaze.captioning.pipeline import read_photos
from wordgaze.data import memory, streams
from wordgaze.data.photos import open_photo
from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.device import give_back_freed_memory, keep_freed_memory
from wordgaze.errors import PhotoError


def _status(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match is not None
    return int(match[1]) * 1024


def growth(file: str) -> tuple[int, int]:
    """Return by how many bytes this process grew at most while it opened a photo, and how many were kept for that."""
    kept = [0]
    try_grow = memory.GATE.try_grow
    memory.GATE.try_grow = lambda *of: kept.append(of[1]) or try_grow(*of)  # type: ignore[method-assign,func-returns-value]
    give_back_freed_memory()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is from now on
    before = _status("VmRSS")
    with contextlib.suppress(PhotoError):
        open_photo(file, on_warning=lambda _: None)
    memory.GATE.try_grow = try_grow  # type: ignore[method-assign]
    return _status("VmHWM") - before, max(kept)


def growth_together(files: list[str]) -> int:
    """Return by how many bytes this process grew at most while it read the photos for a model of 224 pixels."""
    # As a captioner does: what threads have freed counts, too, as long as the process keeps it.
    keep_freed_memory()
    preprocessing = Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3)
    pixel_values = PhotoTransform(preprocessing).array
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    photos = [(file, file) for file in files]
    for result in read_photos(photos, pixel_values, ahead=16, max_reduction=preprocessing.max_reduction):
        assert result.content is not None or result.error is not None
    return _status("VmHWM") - before


if __name__ == "__main__":
    streams.WRITER_TIMEOUT = 0.1
    pipeline.THREADS = 4  # as on a machine of four cores or more
    if sys.argv[1] == "--together":
        json.dump(growth_together(sys.argv[2:]), sys.stdout)
    else:
        json.dump({file: growth(file) for file in sys.argv[1:]}, sys.stdout)
