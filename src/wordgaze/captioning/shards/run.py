"""Shards captioned one after another: each claimed, its rows collected, its file renamed, its marker written last."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from wordgaze.captioning.batches import BatchSize
from wordgaze.captioning.pipeline import ReadPhoto, caption_photos, read_photos
from wordgaze.captioning.shards.claims import BEAT_SECONDS, EXPIRY_SECONDS, Claim, Claims, FileClock
from wordgaze.captioning.shards.inputs import Shard
from wordgaze.captioning.shards.marker import Marker, Tally
from wordgaze.captioning.shards.out_folder import Contents, OutFolder, Plan
from wordgaze.captioning.shards.partial import ClaimLost, PartialFile
from wordgaze.captioning.shards.photo import ShardPhoto, SourcedPhotos
from wordgaze.captioning.shards.rows import Row, read_rows, row_of
from wordgaze.captioning.shards.tars import is_of_tar
from wordgaze.data.draft import MaxReduction, Photo
from wordgaze.errors import ConfigError
from wordgaze.files import one_line
from wordgaze.generation.caption import Caption

_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Engine:
    """What captions photos. ``pixel_values``: of a photo (3, H, W); ``caption``: of those of a batch (B, 3, H, W)."""

    pixel_values: Callable[[Photo], np.ndarray]
    caption: Callable[[np.ndarray], list[Caption]]
    batches: BatchSize
    max_reduction: MaxReduction | None = None
    strict: bool = False
    on_cpu: bool = True

    def rows(self, photos: SourcedPhotos) -> Generator[Row]:
        """Yield a row for each photo, in order."""

        def content(photo: Photo) -> tuple[np.ndarray, tuple[int, int]]:
            return self.pixel_values(photo), photo.size

        reading: dict[str, Any] = {"max_reduction": self.max_reduction, "shares_cpu": self.on_cpu}
        opened = read_photos(photos, content, strict=self.strict, ahead=self.batches.photos, **reading)
        with closing(opened):
            yield from map(row_of, caption_photos(map(_with_size, opened), self.caption, self.batches))


def _with_size(read: ReadPhoto[ShardPhoto, tuple[np.ndarray, tuple[int, int]]]) -> ReadPhoto[ShardPhoto, np.ndarray]:
    if read.content is None:
        return ReadPhoto(read.label, None, read.error, read.warnings)
    pixel_values, read.label.size = read.content
    return ReadPhoto(read.label, pixel_values, None, read.warnings)


@dataclass(frozen=True)
class ShardDone:
    """A shard that is done, by this process (``is_ours``) or, perhaps long ago, by another."""

    name: str
    marker: Marker
    is_ours: bool = False


@dataclass(frozen=True)
class Rules:
    """How a run treats what is there.

    ``retry``: caption rows without a caption again. ``shared``: other workers take the same shards, so begin at any of
    them. ``difference``: says how another identity differs from the run's, or None. ``stopping``: whether to end after
    what has been read. The times are for tests.
    """

    difference: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    retry: bool = False
    shared: bool = False
    stopping: Callable[[], bool] = bool
    on_message: Callable[[str], None] = lambda _: None
    beat: float = BEAT_SECONDS
    expiry: float = EXPIRY_SECONDS
    poll: float = _POLL_SECONDS


class ShardRun:
    """A run over ``shards``, a part of the ``plan``'s or all of them."""

    def __init__(self, out: OutFolder, plan: Plan, shards: Sequence[Shard], engine: Engine, rules: Rules) -> None:
        self.out, self.plan, self.shards, self.engine, self.rules = out, plan, shards, engine, rules
        self.stopped = False
        """Whether the run ended before its last shard, since it was asked to."""

    def run(self) -> Iterator[ShardDone]:
        """Yield each shard once it is done, first those that were done before.

        Raises ConfigError before anything is captioned where the folder is not ours, or shards in it are of another
        model, other options or another input.
        """
        contents, plan_file = self.out.begin(self.plan, self.rules.difference)
        claims = Claims(self.out.path, FileClock(plan_file), self.rules.beat, self.rules.expiry)
        done, pending = self._look(contents)
        self._clean(contents, claims, {shard.name for shard, _ in pending})
        yield from done
        yield from self._work(pending, claims)

    def _look(self, contents: Contents) -> tuple[list[ShardDone], list[tuple[Shard, Marker | None]]]:
        """Return the shards that are done, and the others, of which a retry knows the marker."""
        done: list[ShardDone] = []
        pending: list[tuple[Shard, Marker | None]] = []
        for shard in self.shards:
            marker = self._marker(shard) if shard.name in contents.done else None
            if marker is None or (self.rules.retry and marker.unsuccessful):
                pending.append((shard, marker))
            else:
                done.append(ShardDone(shard.name, marker))
        if self.rules.shared and pending:
            start = secrets.randbelow(len(pending))
            pending = pending[start:] + pending[:start]
        return done, pending

    def _marker(self, shard: Shard) -> Marker | None:
        """Return a shard's marker; raise ConfigError where it is of another model or input."""
        marker = self.out.read_marker(shard.name)
        if marker is None:
            return None
        name = one_line(self.out.marker(shard.name))
        if difference := self.rules.difference(marker.identity):
            raise ConfigError(f"{name}: {difference}. Rows of both are not mixed; name another folder.")
        # With a retry, a tar that was damaged may have been replaced.
        if marker.input != shard.identity() and not (self.rules.retry and marker.unsuccessful):
            raise self._other_input(shard, marker)
        return marker

    def _clean(self, contents: Contents, claims: Claims, pending: set[str]) -> None:
        """Remove what killed runs have left of shards that are done, and their plans' temporary files."""
        self.out.remove(contents.temporary.pop("wordgaze", ()))
        for shard in contents.done - pending:
            numbers = sorted(contents.claims.get(shard, ()))
            if not any(claims.is_live(shard, number) for number in numbers):
                self.out.remove(contents.temporary.get(shard, ()))
                self.out.remove(claims.path(shard, number).name for number in numbers)

    def _work(self, pending: list[tuple[Shard, Marker | None]], claims: Claims) -> Iterator[ShardDone]:
        told: set[str] = set()
        while pending and not self.stopped:
            held: list[tuple[Shard, Marker | None]] = []
            for position, (shard, before) in enumerate(pending):
                result = self._take(shard, before, claims)
                if self.stopped:
                    return
                if result is None:
                    held.append(pending[position])
                else:
                    yield result
            if len(held) == len(pending):
                self._wait([shard.name for shard, _ in held], claims, told)
            pending = held

    def _wait(self, names: Sequence[str], claims: Claims, told: set[str]) -> None:
        holder = claims.holder(names[0])
        sentence = f"waiting for {holder}, which captions shard {one_line(names[0])}"
        if holder is not None and sentence not in told:
            told.add(sentence)
            self.rules.on_message(sentence)
        end = time.monotonic() + self.rules.poll
        while time.monotonic() < end and not self.stopped:
            time.sleep(min(0.1, self.rules.poll))
            self.stopped = self.rules.stopping()

    def _take(self, shard: Shard, before: Marker | None, claims: Claims) -> ShardDone | None:
        """Return a shard once it is done, by us or by others; None where another worker has it, or we are to stop."""
        if result := self._done_meanwhile(shard, before):
            return result
        self.stopped = self.stopped or self.rules.stopping()
        work = self._digest(shard, before)
        claim = None if self.stopped else claims.take(shard.name, work)
        if claim is None:
            return None
        try:
            # Between the look and the claim another worker may have ended.
            result = self._done_meanwhile(shard, before)
            if result is None and (marker := self._caption(shard, before, claim)) is not None:
                result = ShardDone(shard.name, marker, is_ours=True)
            if result is not None:
                claim.done()
            return result
        except ClaimLost:
            self.rules.on_message(f"shard {one_line(shard.name)} was taken over by another worker")
            return None
        finally:
            claim.release()

    def _done_meanwhile(self, shard: Shard, before: Marker | None) -> ShardDone | None:
        marker = self._marker(shard)
        return None if marker is None or marker == before else ShardDone(shard.name, marker)

    def _digest(self, shard: Shard, before: Marker | None) -> str:
        """Return what tells the work on a shard from other work, whose rows are of no use for it."""
        work = [dict(self.plan.identity), shard.identity(), None if before is None else before.ended]
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:16]

    def _caption(self, shard: Shard, before: Marker | None, claim: Claim) -> Marker | None:
        """Return the marker of a shard that is captioned now; None where we are to stop."""
        started, tally, begun = time.time(), Tally(), time.monotonic()
        data = self.out.data(shard.name, self.plan.rows)
        with PartialFile(self.out, claim) as file:
            for row in file.adopt():
                tally.add(row)
            adopted = tally.rows
            rows = self._rows(shard, adopted) if before is None else self._retried(shard, before, adopted)
            with closing(rows):
                for row in rows:
                    file.append(row)
                    tally.add(row)
            if self.stopped:
                return None
            file.become(data)
            marker = Marker(
                rows=tally.rows,
                counts=tally.counts,
                reasons=dict(tally.reasons),
                captioned=tally.rows - adopted,
                seconds=round(time.monotonic() - begun, 3),
                started=started,
                ended=time.time(),
                identity=dict(self.plan.identity),
                input=shard.identity(),
            )
            self.out.write(shard.name, claim.info.token, "stats", marker.to_json(), self.out.marker(shard.name))
            file.remove()
        return marker

    def _rows(self, shard: Shard, start: int, wanted: Callable[[int], bool] | None = None) -> Generator[Row]:
        yield from self.engine.rows(self._until_stop(shard.photos(start, wanted)))

    def _until_stop(self, photos: SourcedPhotos) -> SourcedPhotos:
        with closing(photos):
            for photo in photos:
                yield photo
                self.stopped = self.stopped or self.rules.stopping()
                if self.stopped:
                    return

    def _retried(self, shard: Shard, before: Marker, start: int) -> Generator[Row]:
        """Yield the rows that are there, those without a caption anew; all anew where the tar itself was damaged."""
        data = self.out.data(shard.name, self.plan.rows)
        wanted = set()
        for index, row in enumerate(read_rows(data)):
            if row.status != "success":
                wanted.add(index)
                if not self.plan.names and is_of_tar(row.path):
                    yield from self._rows(shard, start)
                    return
        if before.input != shard.identity():
            raise self._other_input(shard, before)
        with closing(self._rows(shard, start, wanted.__contains__)) as again:
            for index, row in enumerate(read_rows(data)):
                if index < start:
                    continue
                new = next(again, None) if index in wanted else row
                if new is None and self.stopped:
                    return
                if new is None or (new.key, new.path) != (row.key, row.path):
                    raise self._other_input(shard, before)
                yield new

    def _other_input(self, shard: Shard, marker: Marker) -> ConfigError:
        return ConfigError(
            f"{one_line(self.out.marker(shard.name))} is of another input ({_short(marker.input)}; now "
            f"{_short(shard.identity())}); remove it to caption the shard again, or name another folder."
        )


def _short(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {one_line(str(value))}" for name, value in values.items())
