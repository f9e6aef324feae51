"""``SHARD_stats.json``: written last, it says that a shard is done, and of what and by whom."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wordgaze.captioning.shards.rows import STATUSES, Row
from wordgaze.errors import ConfigError
from wordgaze.files import one_line

FORMAT = "wordgaze-shard-1"
SUFFIX = "_stats.json"
# So many different reasons are kept.
_MAX_REASONS = 50


@dataclass(frozen=True)
class Marker:
    """What ``SHARD_stats.json`` holds.

    ``counts``: rows by status. ``reasons``: rows without a caption by what was wrong, numbers replaced by #.
    ``captioned``, ``seconds``: what the process that ended the shard did of it, and in what time. ``started``,
    ``ended``: seconds of the system's clock. ``input``: as of ``Shard.identity``.
    """

    rows: int
    counts: dict[str, int]
    reasons: dict[str, int]
    captioned: int
    seconds: float
    started: float
    ended: float
    identity: dict[str, Any]
    input: dict[str, Any]
    format: str = field(default=FORMAT)

    @property
    def unsuccessful(self) -> int:
        """Return how many rows have no caption."""
        return self.rows - self.counts["success"]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


class Tally:
    """Counts rows as they come."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(STATUSES, 0)
        self.reasons: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        self.counts[row.status] += 1
        if row.error is not None:
            reason = general(row.error)
            # A hostile tar may make each a reason of its own.
            self.reasons[reason if reason in self.reasons or len(self.reasons) < _MAX_REASONS else "others"] += 1

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def general(error: str) -> str:
    """Return a sentence with its numbers replaced by #, so that photos with the same fault count as one reason."""
    # The 2000 of JPEG 2000 is a name.
    return re.sub(r"(?<!JPEG )(?<!\d)\d(?:[\d,.]*\d)?", "#", error)[:200]


def most_frequent(reasons: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of several counts of reasons, the most frequent first."""
    total: Counter[str] = Counter()
    for counts in reasons:
        total.update(counts)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def read_marker(path: Path | str) -> Marker | None:
    """Return a shard's marker, None where there is none; raise ConfigError for a file that is none of ours.

    ``path`` is used as it is, since a run reads as many as there are shards.
    """
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read())
        if values["format"] != FORMAT:
            raise ValueError
        marker = Marker(**values)
        if set(marker.counts) != set(STATUSES) or sum(marker.counts.values()) != marker.rows:
            raise ValueError
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError(
            f"{one_line(os.fspath(path))} is not a file of this version of wordgaze's shards; name another folder."
        ) from None
    return marker
