"""Opens photos one after another, and prints what memory each took at most: a JSON object of bytes by file.

python -m tests.hostile.measure FILE...
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

from wordgaze.data import streams
from wordgaze.data.photos import open_photo
from wordgaze.errors import PhotoError


def _status(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match is not None
    return int(match[1]) * 1024


def growth(file: str) -> int:
    """Return by how many bytes this process grew at most while it opened a photo."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is from now on
    before = _status("VmRSS")
    with contextlib.suppress(PhotoError):
        open_photo(file, on_warning=lambda _: None)
    return _status("VmHWM") - before


if __name__ == "__main__":
    streams.WRITER_TIMEOUT = 0.1
    json.dump({file: growth(file) for file in sys.argv[1:]}, sys.stdout)
