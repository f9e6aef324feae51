"""Names of parametrized cases that are the same in every process, as pytest-xdist needs them."""

from __future__ import annotations

import re


def stable(value: object) -> str:
    """Return ``repr(value)`` without the addresses of objects in it."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
