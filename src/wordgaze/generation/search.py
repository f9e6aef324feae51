"""Greedy search, seeded sampling and beam search over one cached step at a time.

The beams or samples of a photo share its keys and values; a photo whose captions have all ended leaves the batch.
Letters: B photos still searched, K beams or captions each, R = B·K rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from wordgaze.generation.constraints import NEVER, Constraints, truncate
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.model.cache import DecoderCache


class Captions(Protocol):
    """What a search needs of a model."""

    def start(self, encoder_hidden_states: Tensor) -> DecoderCache: ...

    def decode(self, input_ids: Tensor, cache: DecoderCache) -> Tensor: ...


@torch.no_grad()
def generate(
    model: Captions,
    encoder_hidden_states: Tensor,
    options: GenerationOptions,
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int | None = None,
    photo_seeds: Sequence[int] | None = None,
) -> list[list[GeneratedCaption]]:
    """``num_captions`` captions for each photo of ``encoder_hidden_states`` (B, N, D), best first.

    A photo's captions do not depend on its batch: when sampling, each draws from its own stream, seeded by
    ``options.seed`` or its entry in ``photo_seeds``.
    """
    if len(encoder_hidden_states) == 0:
        return []
    constraints = Constraints(options, bos_id, eos_id, pad_id)
    if options.sample or options.num_beams == 1:
        seeds = [options.seed] * len(encoder_hidden_states) if photo_seeds is None else list(photo_seeds)
        return _step_by_step(model, encoder_hidden_states, options, constraints, bos_id, seeds)
    return _beam_search(model, encoder_hidden_states, options, constraints, bos_id)


def _step_by_step(
    model: Captions,
    encoder_hidden_states: Tensor,
    options: GenerationOptions,
    constraints: Constraints,
    bos_id: int,
    seeds: Sequence[int],
) -> list[list[GeneratedCaption]]:
    """Greedy, or samples by inverting each row's cumulative distribution at a number drawn beforehand."""
    device, eos_id = encoder_hidden_states.device, constraints.eos_id
    per_photo = options.num_captions if options.sample else 1
    draws = torch.stack([_uniform(seed, options.max_length, per_photo) for seed in seeds]).to(
        device
    )  # (B, T, K)
    photos = torch.arange(len(encoder_hidden_states), device=device)
    ids = torch.full((len(photos) * per_photo, 1), bos_id, device=device)
    chances = torch.zeros(len(ids), 0, device=device)
    ended = torch.zeros(len(ids), dtype=torch.bool, device=device)
    results: list[list[GeneratedCaption]] = [[] for _ in seeds]
    cache = model.start(encoder_hidden_states)
    for step in range(options.max_length):
        log_probabilities = model.decode(ids[:, -1:], cache).float().log_softmax(dim=-1)
        allowed = constraints.apply(log_probabilities, ids)
        if options.sample:
            mass = (
                truncate(allowed / options.temperature, options.top_k, options.top_p)
                .double()
                .softmax(dim=-1)
                .cumsum(-1)
            )
            aim = draws[photos, step].reshape(-1, 1) * mass[:, -1:]
            chosen = torch.searchsorted(mass, aim, right=True).squeeze(1).clamp(max=mass.shape[1] - 1)
        else:
            chosen = allowed.argmax(dim=-1)
        chance = log_probabilities.gather(1, chosen[:, None])
        ids = torch.cat((ids, chosen[:, None]), dim=1)
        chances = torch.cat((chances, chance), dim=1)
        ended = ended | (chosen == eos_id)
        done = ended.view(-1, per_photo).all(dim=1) | (step + 1 == options.max_length)
        if done.any():
            for place in done.nonzero().flatten().tolist():
                rows = range(place * per_photo, (place + 1) * per_photo)
                found = [_caption(ids[row], chances[row], eos_id, options.length_penalty) for row in rows]
                results[int(photos[place])] = sorted(found, key=lambda caption: -caption.score)
            keep = (~done).nonzero().flatten()
            rows_kept = _rows(keep, per_photo)
            photos, ids, chances, ended = photos[keep], ids[rows_kept], chances[rows_kept], ended[rows_kept]
            if len(keep) == 0:
                break
            cache.keep_photos(keep, rows_kept)
    return results


def _beam_search(
    model: Captions,
    encoder_hidden_states: Tensor,
    options: GenerationOptions,
    constraints: Constraints,
    bos_id: int,
) -> list[list[GeneratedCaption]]:
    """Keeps the K likeliest unfinished rows of each photo; stops when none can beat the K best finished ones."""
    device, eos_id, beams = encoder_hidden_states.device, constraints.eos_id, options.num_beams
    photos = torch.arange(len(encoder_hidden_states), device=device)
    ids = torch.full((len(photos) * beams, 1), bos_id, device=device)
    chances = torch.zeros(len(ids), 0, device=device)
    totals = torch.full((len(photos), beams), NEVER, device=device)
    totals[:, 0] = 0.0  # all beams start alike: only one may propose
    pools = [_Pool(beams) for _ in photos]
    cache = model.start(encoder_hidden_states)
    for step in range(options.max_length):
        log_probabilities = model.decode(ids[:, -1:], cache).float().log_softmax(dim=-1)
        vocabulary = log_probabilities.shape[1]
        sums = totals[:, :, None] + constraints.apply(log_probabilities, ids).view(-1, beams, vocabulary)
        # Twice the beams, since at most one continuation of each beam is its end.
        best, places = sums.flatten(1).topk(min(2 * beams, beams * vocabulary), dim=1)
        parents = places // vocabulary + torch.arange(len(photos), device=device)[:, None] * beams
        words = places % vocabulary
        last = step + 1 == options.max_length
        ends = ((words == eos_id) | last) & (best > NEVER)
        for place, rank in ends.nonzero().tolist():
            if rank < beams or last:
                parent = parents[place, rank]
                word = words[place, rank : rank + 1]
                chance = log_probabilities[parent, word]
                finished = torch.cat((ids[parent], word)), torch.cat((chances[parent], chance))
                pools[int(photos[place])].add(_caption(*finished, eos_id, options.length_penalty))
        if last:
            break
        # Unfinished first, likeliest first.
        order = (words == eos_id).int().argsort(dim=1, stable=True)[:, :beams]
        totals, parents, words = (values.gather(1, order) for values in (best, parents, words))
        totals = totals.masked_fill(words == eos_id, NEVER)
        rows, words = parents.flatten(), words.flatten()
        ids = torch.cat((ids[rows], words[:, None]), dim=1)
        chances = torch.cat((chances[rows], log_probabilities[rows, words][:, None]), dim=1)
        leaders = totals[:, 0].tolist()
        kept = [
            i
            for i, photo in enumerate(photos.tolist())
            if not pools[photo].closed(leaders[i], step + 1, options.length_penalty)
        ]
        if not kept:
            break
        if len(kept) < len(photos):
            keep = torch.tensor(kept, device=device)
            rows_kept = _rows(keep, beams)
            photos, totals, ids, chances = photos[keep], totals[keep], ids[rows_kept], chances[rows_kept]
            cache.keep_photos(keep, rows[rows_kept])
        else:
            cache.reorder(rows)
    return [pool.best(options.num_captions) for pool in pools]


class _Pool:
    """The K best finished captions of a photo."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.captions: list[GeneratedCaption] = []

    def add(self, caption: GeneratedCaption) -> None:
        self.captions = sorted([*self.captions, caption], key=lambda one: -one.score)[: self.size]

    def closed(self, leader: float, length: int, length_penalty: float) -> bool:
        """Whether the best unfinished total, ``leader`` after ``length`` ids, would not enter if it ended now.

        A later end may still lift its mean; waiting for that doubles the steps and seldom changes a caption.
        """
        if leader == NEVER:
            return True
        return len(self.captions) == self.size and leader / length**length_penalty <= self.captions[-1].score

    def best(self, count: int) -> list[GeneratedCaption]:
        return self.captions[:count]


def _caption(ids: Tensor, chances: Tensor, eos_id: int, length_penalty: float) -> GeneratedCaption:
    """Cuts a row (1 + T,) behind its first end token."""
    words = ids.tolist()
    end = words.index(eos_id, 1) + 1 if eos_id in words[1:] else len(words)
    log_probabilities = chances[: end - 1].tolist()
    score = sum(log_probabilities) / (end - 1) ** length_penalty
    return GeneratedCaption(tuple(words[:end]), tuple(log_probabilities), score)


def _rows(photos: Tensor, per_photo: int) -> Tensor:
    """The rows of ``photos``: neighbours, ``per_photo`` each."""
    return (photos[:, None] * per_photo + torch.arange(per_photo, device=photos.device)).flatten()


def _uniform(seed: int, steps: int, count: int) -> Tensor:
    return torch.rand(steps, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
