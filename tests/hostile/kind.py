"""What a kind of hostile photo is: how it is made, and what wordgaze promises for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.data.odd_photos import PHOTO

CAPTIONED, WARNED, REFUSED, LEFT_OUT = "captioned", "captioned, with a warning", "refused", "left out of folders"
SUBJECT = np.asarray(PHOTO)
"""The pixels of the photo that most kinds show."""


@dataclass(frozen=True)
class Kind:
    """One kind of file, and its promised outcome.

    ``make`` writes it at a path; ``name``: the file's, where it matters. ``outcome``: one of the constants above.
    ``how``: as what it is captioned. ``words``: of the warning or the refusal; N stands for a number and … for what
    depends on the decoder. ``shows``: the pixels, and how far from them the photo may be on average. ``is_large``:
    whether it takes seconds. ``for_root``: whether root may read it. ``during``: what happens to the file while it is
    being read.
    """

    what: str
    make: Callable[[Path], object]
    outcome: str
    how: str = ""
    words: str = ""
    name: str | bytes = "photo.jpg"
    shows: np.ndarray | None = field(default=None, repr=False)
    tolerance: float = 0
    is_large: bool = False
    for_root: bool = False
    during: Callable[[Path], object] | None = None

    @property
    def is_captioned(self) -> bool:
        return self.outcome in (CAPTIONED, WARNED)

    def matches(self, message: str) -> bool:
        """Return whether a warning or a refusal is in the promised words."""
        pattern = re.escape(self.words).replace("…", ".*")
        return re.fullmatch(re.sub(r"\bN\b", "[0-9,]+", pattern), message) is not None


def captioned(what: str, data: bytes, how: str, *, tolerance: float = 9, **more: object) -> Kind:
    """Return a kind that is captioned; it shows ``SUBJECT`` unless ``shows`` says otherwise."""
    more.setdefault("shows", SUBJECT)
    outcome = WARNED if more.get("words") else CAPTIONED
    return Kind(what, writer(data), outcome, how, tolerance=tolerance, **more)  # type: ignore[arg-type]


def refused(what: str, data: bytes, words: str, **more: object) -> Kind:
    return Kind(what, writer(data), REFUSED, words=words, **more)  # type: ignore[arg-type]


def writer(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)
