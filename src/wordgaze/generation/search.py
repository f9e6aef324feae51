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


class DecoderModel(Protocol):
    """What a search needs of a model."""

    def start(self, encoder_hidden_states: Tensor) -> DecoderCache: ...

    def decode(self, input_ids: Tensor, cache: DecoderCache) -> Tensor: ...


@torch.no_grad()
def generate(
    model: DecoderModel,
    encoder_hidden_states: Tensor,
    options: GenerationOptions,
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int | None = None,
    prompt_ids: Sequence[int] = (),
    photo_seeds: Sequence[int] | None = None,
) -> list[list[GeneratedCaption]]:
    """Return ``num_captions`` captions for each photo of ``encoder_hidden_states`` (B, N, D), best first.

    All begin with ``prompt_ids``, which no length counts and no score judges; repeats of them are repeats.
    A photo's captions do not depend on its batch: when sampling, each draws from its own stream, seeded by
    ``options.seed`` or its entry in ``photo_seeds``.
    """
    if len(encoder_hidden_states) == 0:
        return []
    constraints = Constraints(options, bos_id, eos_id, pad_id, len(prompt_ids))
    prefix = torch.tensor([bos_id, *prompt_ids], device=encoder_hidden_states.device)
    if options.sample or options.num_beams == 1:
        seeds = [options.seed] * len(encoder_hidden_states) if photo_seeds is None else list(photo_seeds)
        return _step_by_step(model, encoder_hidden_states, options, constraints, prefix, seeds)
    return _beam_search(model, encoder_hidden_states, options, constraints, prefix)


def _step_by_step(
    model: DecoderModel,
    encoder_hidden_states: Tensor,
    options: GenerationOptions,
    constraints: Constraints,
    prefix: Tensor,
    seeds: Sequence[int],
) -> list[list[GeneratedCaption]]:
    """Return each photo's greedy caption or its samples: rows that grow by one id a step, independent of each other."""
    device, eos_id = encoder_hidden_states.device, constraints.eos_id
    per_photo = options.num_captions if options.sample else 1
    draws = torch.empty(0)
    if options.sample:
        # (B, T, K), drawn beforehand, so that a photo's samples do not depend on when others end
        draws = torch.stack([_uniform(seed, options.max_length, per_photo) for seed in seeds]).to(device)
    photos = torch.arange(len(encoder_hidden_states), device=device)
    ids = prefix.repeat(len(photos) * per_photo, 1)
    token_log_probs = torch.zeros(len(ids), 0, device=device)
    ended = torch.zeros(len(ids), dtype=torch.bool, device=device)
    results: list[list[GeneratedCaption]] = [[] for _ in seeds]
    cache = model.start(encoder_hidden_states)
    for step in range(options.max_length):
        log_probs = model.decode(ids[:, -1:] if step else ids, cache).float().log_softmax(dim=-1)
        allowed = constraints.apply(log_probs, ids)
        if options.sample:
            next_ids = _sample(allowed, draws[photos, step].flatten(), options)
        else:
            next_ids = allowed.argmax(dim=-1)
        ids = torch.cat((ids, next_ids[:, None]), dim=1)
        token_log_probs = torch.cat((token_log_probs, log_probs.gather(1, next_ids[:, None])), dim=1)
        ended = ended | (next_ids == eos_id)
        done = ended.view(-1, per_photo).all(dim=1) | (step + 1 == options.max_length)
        if not done.any():
            continue
        for index in done.nonzero().flatten().tolist():
            rows = range(index * per_photo, (index + 1) * per_photo)
            captions = [_caption(ids[row], token_log_probs[row], eos_id, options.length_penalty) for row in rows]
            results[int(photos[index])] = sorted(captions, key=lambda caption: -caption.score)
        keep = (~done).nonzero().flatten()
        if len(keep) == 0:
            break
        keep_rows = _rows(keep, per_photo)
        photos, ids, token_log_probs = photos[keep], ids[keep_rows], token_log_probs[keep_rows]
        ended = ended[keep_rows]
        cache.keep_photos(keep, keep_rows)
    return results


def _beam_search(
    model: DecoderModel,
    encoder_hidden_states: Tensor,
    options: GenerationOptions,
    constraints: Constraints,
    prefix: Tensor,
) -> list[list[GeneratedCaption]]:
    """Keep the K likeliest unfinished rows of each photo; stop when none can beat the K best finished ones."""
    device, eos_id, beams = encoder_hidden_states.device, constraints.eos_id, options.num_beams
    photos = torch.arange(len(encoder_hidden_states), device=device)
    ids = prefix.repeat(len(photos) * beams, 1)
    token_log_probs = torch.zeros(len(ids), 0, device=device)
    totals = torch.full((len(photos), beams), NEVER, device=device)
    totals[:, 0] = 0.0  # all beams start alike: only one may propose
    pools = [_Pool(options) for _ in photos]
    cache = model.start(encoder_hidden_states)
    for step in range(options.max_length):
        log_probs = model.decode(ids[:, -1:] if step else ids, cache).float().log_softmax(dim=-1)
        vocab_size = log_probs.shape[1]
        sums = totals[:, :, None] + constraints.apply(log_probs, ids).view(-1, beams, vocab_size)
        # Twice the beams, since at most one continuation of each beam is its end.
        candidates, indices = sums.flatten(1).topk(min(2 * beams, beams * vocab_size), dim=1)
        parents = indices // vocab_size + torch.arange(len(photos), device=device)[:, None] * beams
        next_ids = indices % vocab_size
        last = step + 1 == options.max_length
        ends = ((next_ids == eos_id) | last) & (candidates > NEVER)
        for index, rank in ends.nonzero().tolist():
            if rank < beams or last:
                parent, token_id = parents[index, rank], next_ids[index, rank : rank + 1]
                finished_ids = torch.cat((ids[parent], token_id))
                finished_log_probs = torch.cat((token_log_probs[parent], log_probs[parent, token_id]))
                caption = _caption(finished_ids, finished_log_probs, eos_id, options.length_penalty)
                pools[int(photos[index])].add(caption)
        if last:
            break
        # Unfinished first, likeliest first.
        order = (next_ids == eos_id).int().argsort(dim=1, stable=True)[:, :beams]
        totals, parents, next_ids = (values.gather(1, order) for values in (candidates, parents, next_ids))
        totals = totals.masked_fill(next_ids == eos_id, NEVER)
        rows, next_ids = parents.flatten(), next_ids.flatten()
        ids = torch.cat((ids[rows], next_ids[:, None]), dim=1)
        token_log_probs = torch.cat((token_log_probs[rows], log_probs[rows, next_ids][:, None]), dim=1)
        open_photos = [
            not pools[photo].is_closed(leader, step + 1)
            for photo, leader in zip(photos.tolist(), totals[:, 0].tolist(), strict=True)
        ]
        if not any(open_photos):
            break
        if all(open_photos):
            cache.reorder(rows)
            continue
        keep = torch.tensor(open_photos, device=device).nonzero().flatten()
        keep_rows = _rows(keep, beams)
        photos, totals = photos[keep], totals[keep]
        ids, token_log_probs = ids[keep_rows], token_log_probs[keep_rows]
        cache.keep_photos(keep, rows[keep_rows])
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


def _caption(ids: Tensor, token_log_probs: Tensor, eos_id: int, length_penalty: float) -> GeneratedCaption:
    """Return the caption of a row of ids, cut after the first end token among those with ``token_log_probs`` (T,)."""
    token_ids, log_probs = ids.tolist(), token_log_probs.tolist()
    first = len(token_ids) - len(log_probs)
    end = token_ids.index(eos_id, first) + 1 if eos_id in token_ids[first:] else len(token_ids)
    log_probs = log_probs[: end - first]
    score = sum(log_probs) / len(log_probs) ** length_penalty
    return GeneratedCaption(tuple(token_ids[:end]), tuple(log_probs), score, first - 1)


def _sample(log_probs: Tensor, draws: Tensor, options: GenerationOptions) -> Tensor:
    """Return an id for each row of ``log_probs`` (R, V): its cumulative distribution inverted at its draw (R,)."""
    cut = truncate(log_probs / options.temperature, options.top_k, options.top_p)
    mass = cut.double().softmax(dim=-1).cumsum(-1)
    ids = torch.searchsorted(mass, draws[:, None] * mass[:, -1:], right=True)
    return ids.squeeze(1).clamp(max=mass.shape[1] - 1)


def _rows(photos: Tensor, per_photo: int) -> Tensor:
    """Return the rows of ``photos``: neighbors, ``per_photo`` each."""
    return (photos[:, None] * per_photo + torch.arange(per_photo, device=photos.device)).flatten()


def _uniform(seed: int, steps: int, count: int) -> Tensor:
    return torch.rand(steps, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
