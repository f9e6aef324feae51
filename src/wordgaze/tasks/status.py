"""How far a run over shards is, as ``wordgaze status`` prints it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wordgaze.captioning.shards.claims import Claims
from wordgaze.captioning.shards.marker import Marker, most_frequent
from wordgaze.captioning.shards.out_folder import OutFolder, Plan
from wordgaze.captioning.shards.rows import STATUSES
from wordgaze.errors import ConfigError
from wordgaze.files import AnyPath, one_line

# The rate is that of the last hour of work.
_WINDOW_SECONDS = 3600.0


@dataclass(frozen=True)
class Status:
    """What is done. ``running``: shards that somebody captions now; ``reasons``: why photos have no caption.

    ``photos_per_second``: of all machines together, in the last hour in which shards ended; ``seconds_left``: at that
    rate, if the other shards are as large. None where too little is known.
    """

    shards: int
    done: int
    running: int
    photos: int
    counts: dict[str, int]
    reasons: dict[str, int]
    photos_per_second: float | None
    seconds_left: float | None

    @property
    def is_done(self) -> bool:
        return self.done == self.shards

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class SystemClock:
    """The machine's clock, to judge claims without writing anything."""

    def now(self) -> float:
        return time.time()


def planned(out: OutFolder, plans: Sequence[Plan]) -> list[str]:
    """Return the names of the shards that were to be captioned into a folder, sorted; raise ConfigError for none."""
    names = sorted({shard for plan in plans for shard in plan.shards})
    if not names:
        raise ConfigError(
            f"{one_line(out.path)} holds no shards of captions; name the --out-dir of a `wordgaze caption`."
        )
    return names


def status(folder: AnyPath) -> Status:
    """Return how far the run in a folder is, by its markers and claims alone; raise ConfigError for other folders."""
    out = OutFolder(folder)
    contents = out.contents()
    names = planned(out, out.plans(contents))
    markers = [marker for name in names if name in contents.done and (marker := out.read_marker(name)) is not None]
    claims = Claims(out.path, SystemClock())
    held = (shard for shard in names if shard in contents.claims and shard not in contents.done)
    counts: dict[str, int] = {state: sum(marker.counts[state] for marker in markers) for state in STATUSES}
    photos, rate = sum(marker.rows for marker in markers), _rate(markers)
    left = (len(names) - len(markers)) * photos / len(markers) / rate if rate and markers else None
    return Status(
        shards=len(names),
        done=len(markers),
        running=sum(claims.is_live(shard, max(contents.claims[shard])) for shard in held),
        photos=photos,
        counts=counts,
        reasons=most_frequent(marker.reasons for marker in markers),
        photos_per_second=rate,
        seconds_left=left,
    )


def _rate(markers: Sequence[Marker]) -> float | None:
    """Return the photos a second of the last hour; what was captioned before a pause does not count."""
    if not markers:
        return None
    last = max(marker.ended for marker in markers)
    recent = [marker for marker in markers if marker.ended > last - _WINDOW_SECONDS]
    # A shard that began before the hour counts from its own begin.
    seconds = last - min(marker.ended - marker.seconds for marker in recent)
    return sum(marker.captioned for marker in recent) / seconds if seconds > 0 else None
