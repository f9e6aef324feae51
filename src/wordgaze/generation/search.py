"""Greedy search, seeded sampling and beam search over one cached step at a time. Imports no torch.

The beams or samples of a photo share its keys and values; a photo whose captions have all ended leaves the batch.
Letters: B photos still searched, K beams or captions each, R = B·K rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wordgaze.generation.constraints import Constraints
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.stepper import NEVER, Stepper


def search(
    stepper: Stepper,
    options: GenerationOptions,
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int | None = None,
    prompt_ids: Sequence[int] = (),
    photo_seeds: Sequence[int] | None = None,
) -> list[list[GeneratedCaption]]:
    """Return ``num_captions`` captions for each photo of ``stepper``, best first.

    All begin with ``prompt_ids``, which no length counts and no score judges; repeats of them are repeats.
    A photo's captions do not depend on its batch: when sampling, each draws from its own stream, seeded by
    ``options.seed`` or its entry in ``photo_seeds``.
    """
    photos = stepper.num_photos
    if photos == 0:
        return []
    constraints = Constraints(options, bos_id, eos_id, pad_id, len(prompt_ids))
    rows = _Rows(np.tile(np.array([bos_id, *prompt_ids], np.int64), (photos, 1)))
    if options.sample or options.num_beams == 1:
        seeds = [options.seed] * photos if photo_seeds is None else list(photo_seeds)
        return _step_by_step(stepper, rows, options, constraints, seeds)
    return _beam_search(stepper, rows, options, constraints)


class _Rows:
    """The captions so far, a row each: ``ids`` (R, T), and ``log_probs`` of those that follow the first ones."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids
        self.log_probs = np.empty((len(ids), 0), np.float32)

    @property
    def unread(self) -> np.ndarray:
        """Return the ids that the decoder has not seen, (R, T) at first and (R, 1) from then on."""
        return self.ids[:, -1:] if self.log_probs.shape[1] else self.ids

    def append(self, ids: np.ndarray, log_probs: np.ndarray) -> None:
        self.ids = np.concatenate((self.ids, ids[:, None]), axis=1)
        self.log_probs = np.concatenate((self.log_probs, log_probs[:, None]), axis=1)

    def keep(self, rows: np.ndarray) -> None:
        """Let row i be what row ``rows[i]`` was."""
        self.ids, self.log_probs = self.ids[rows], self.log_probs[rows]

    def caption(self, row: int, eos_id: int, length_penalty: float) -> GeneratedCaption:
        """Return the caption of ``row``, cut after its first end."""
        token_ids, log_probs = self.ids[row].tolist(), self.log_probs[row].tolist()
        first = len(token_ids) - len(log_probs)
        end = token_ids.index(eos_id, first) + 1 if eos_id in token_ids[first:] else len(token_ids)
        log_probs = log_probs[: end - first]
        score = sum(log_probs) / len(log_probs) ** length_penalty
        return GeneratedCaption(tuple(token_ids[:end]), tuple(log_probs), score, first - 1)


def _step_by_step(
    stepper: Stepper, rows: _Rows, options: GenerationOptions, constraints: Constraints, seeds: Sequence[int]
) -> list[list[GeneratedCaption]]:
    """Return each photo's greedy caption or its samples: rows that grow by one id a step, independent of each other."""
    eos_id, per_photo, photos = constraints.eos_id, 1, np.arange(len(seeds))
    if options.sample:
        per_photo = options.num_captions
        # (B, T, K), drawn beforehand, so that a photo's samples do not depend on when others end.
        draws = np.stack([uniform(seed, options.max_length, per_photo) for seed in seeds])
        rows.keep(photos.repeat(per_photo))
    results: list[list[GeneratedCaption]] = [[] for _ in seeds]
    ended = np.zeros(len(rows.ids), bool)
    for step in range(options.max_length):
        log_probs = stepper.step(rows.unread)
        constraints.apply(log_probs, rows.ids)
        chosen = log_probs.sample(draws[photos, step].ravel(), options) if options.sample else log_probs.likeliest()
        rows.append(*chosen)
        ended |= rows.ids[:, -1] == eos_id
        if step + 1 == options.max_length:
            ended[:] = True
        done = np.asarray(ended.reshape(-1, per_photo).all(axis=1))
        if not done.any():
            continue
        for index in done.nonzero()[0].tolist():
            own = range(index * per_photo, (index + 1) * per_photo)
            captions = [rows.caption(row, eos_id, options.length_penalty) for row in own]
            results[photos[index]] = sorted(captions, key=lambda caption: -caption.score)
        if done.all():
            break
        keep = (~done).nonzero()[0]
        keep_rows = _rows_of(keep, per_photo)
        photos, ended = photos[keep], ended[keep_rows]
        rows.keep(keep_rows)
        stepper.keep_photos(keep, keep_rows)
    return results


def _beam_search(
    stepper: Stepper, rows: _Rows, options: GenerationOptions, constraints: Constraints
) -> list[list[GeneratedCaption]]:
    """Keep the K likeliest unfinished rows of each photo; stop when none can beat the K best finished ones."""
    eos_id, beams = constraints.eos_id, options.num_beams
    photos = np.arange(len(rows.ids))
    totals = np.zeros((len(photos), 1), np.float32)  # all beams begin alike: as one row
    pools = [_Pool(options) for _ in photos]
    for step in range(options.max_length):
        log_probs = stepper.step(rows.unread)
        constraints.apply(log_probs, rows.ids)
        # Twice the beams, since at most one continuation of each beam is its end.
        best = log_probs.continuations(totals, 2 * beams)
        last = step + 1 == options.max_length
        ends, per_photo = best.ids == eos_id, best.ids.shape[1]
        rows.keep(best.parents.ravel())
        rows.append(best.ids.ravel(), best.log_probs.ravel())
        for index, rank in np.argwhere((ends | last) & (best.totals > NEVER)).tolist():
            if rank < beams or last:
                caption = rows.caption(index * per_photo + rank, eos_id, options.length_penalty)
                pools[photos[index]].add(caption)
        if last:
            break
        # Unfinished first, likeliest first.
        order = ends.argsort(axis=1, kind="stable")[:, :beams]
        totals = np.take_along_axis(np.where(ends, np.float32(NEVER), best.totals), order, axis=1)
        parents = np.take_along_axis(best.parents, order, axis=1).ravel()
        rows.keep((np.arange(len(photos))[:, None] * per_photo + order).ravel())
        is_open = np.array(
            [
                not pools[photo].is_closed(leader, step + 1)
                for photo, leader in zip(photos, totals[:, 0].tolist(), strict=True)
            ]
        )
        if not is_open.any():
            break
        if is_open.all():
            stepper.reorder(parents)
            continue
        keep = is_open.nonzero()[0]
        keep_rows = _rows_of(keep, totals.shape[1])
        photos, totals = photos[keep], totals[keep]
        rows.keep(keep_rows)
        stepper.keep_photos(keep, parents[keep_rows])
    return [pool.best(options.num_captions) for pool in pools]


class _Pool:
    """The K best finished captions of a photo."""

    def __init__(self, options: GenerationOptions) -> None:
        self.options = options
        self.captions: list[GeneratedCaption] = []

    def add(self, caption: GeneratedCaption) -> None:
        ranked = sorted([*self.captions, caption], key=lambda caption: -caption.score)
        self.captions = ranked[: self.options.num_beams]

    def is_closed(self, leader: float, length: int) -> bool:
        """Return whether the search stops here: ``leader`` is the best unfinished total, after ``length`` ids.

        With ``early_stopping`` False it stops when the leader would not enter if it ended now. A later end may still
        lift its mean; to wait for that ("never") doubles the steps and seldom changes a caption.
        """
        if leader == NEVER:
            return True
        if len(self.captions) < self.options.num_beams:
            return False
        if self.options.early_stopping is True:
            return True
        penalty = self.options.length_penalty
        if self.options.early_stopping == "never" and penalty > 0:
            length = self.options.max_length
        return leader / length**penalty <= self.captions[-1].score

    def best(self, count: int) -> list[GeneratedCaption]:
        return self.captions[:count]


def _rows_of(photos: np.ndarray, per_photo: int) -> np.ndarray:
    """Return the rows of ``photos``: neighbors, ``per_photo`` each."""
    return (photos[:, None] * per_photo + np.arange(per_photo)).ravel()


def uniform(seed: int, steps: int, count: int) -> np.ndarray:
    """Return numbers (steps, count) from 0 to 1, float64: those of ``torch.rand`` with a generator of this seed."""
    halves = np.random.RandomState(seed % 2**32).randint(0, 2**32, (steps * count, 2), np.uint32).astype(np.uint64)
    bits = (halves[:, 0] << np.uint64(32) | halves[:, 1]) & np.uint64(2**53 - 1)
    return (bits * 2.0**-53).reshape(steps, count)
