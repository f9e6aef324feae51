"""Log-probabilities in NumPy, as a search sees them: what ``generation/torch_stepper.py`` does, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.stepper import NEVER, Continuations

_CHUNK = 64


class NumpyLogProbs:
    """Log-probabilities (R, V) float32, which are changed in place."""

    def __init__(self, log_probs: np.ndarray) -> None:
        self._log_probs = log_probs

    def forbid(self, ids: Sequence[int], rows: np.ndarray, row_ids: np.ndarray, end_id: int) -> None:
        log_probs = self._log_probs
        ends = log_probs[:, end_id].copy()
        log_probs[:, list(ids)] = NEVER
        log_probs[rows, row_ids] = NEVER
        # A row that can still end is not stuck.
        endless = (log_probs[:, end_id] == NEVER).nonzero()[0]
        stuck = endless[log_probs[endless].max(axis=1) == NEVER]
        log_probs[stuck, end_id] = ends[stuck]

    def likeliest(self) -> tuple[np.ndarray, np.ndarray]:
        ids = self._log_probs.argmax(axis=1)
        return ids, _at(self._log_probs, ids)

    def sample(self, draws: np.ndarray, options: GenerationOptions) -> tuple[np.ndarray, np.ndarray]:
        cut = truncate(self._log_probs / np.float32(options.temperature), options.top_k, options.top_p)
        mass = _softmax(cut.astype(np.float64)).cumsum(axis=1)
        # The cumulative distribution, inverted.
        ids = (mass <= draws[:, None] * mass[:, -1:]).sum(axis=1).clip(max=mass.shape[1] - 1)
        return ids, _at(self._log_probs, ids)

    def continuations(self, totals: np.ndarray, count: int) -> Continuations:
        photos, beams = totals.shape
        vocab_size = self._log_probs.shape[1]
        sums = (self._log_probs + totals.reshape(-1, 1)).reshape(photos, -1)
        best, indices = top(sums, min(count, sums.shape[1]))
        parents = indices // vocab_size + np.arange(photos)[:, None] * beams
        ids = indices % vocab_size
        return Continuations(best, parents, ids, self._log_probs[parents, ids])


def top(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` largest of each row of ``values`` (B, M), largest first, and where they are.

    Only those of chunks that can hold one are looked at: a chunk's largest is found by vector instructions. A chunk's
    values lie side by side in memory with those of all other chunks, not with one another.
    """
    rows, length = values.shape
    chunks = length // _CHUNK
    if chunks <= count:
        return _top(values, np.broadcast_to(np.arange(length), values.shape), count)
    largest = values[:, : chunks * _CHUNK].reshape(rows, _CHUNK, chunks).max(axis=1)
    best_chunks = np.argpartition(largest, chunks - count, axis=1)[:, chunks - count :]
    positions = best_chunks[:, :, None] + np.arange(0, chunks * _CHUNK, chunks)
    # The rest, less than a chunk, is always looked at.
    rest = np.broadcast_to(np.arange(chunks * _CHUNK, length), (rows, length - chunks * _CHUNK))
    positions = np.sort(np.concatenate((positions.reshape(rows, -1), rest), axis=1), axis=1)
    return _top(np.take_along_axis(values, positions, axis=1), positions, count)


def _top(values: np.ndarray, positions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` largest of each row, of equal ones the first."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(positions, order, axis=1)


def truncate(log_probs: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    """Return ``log_probs`` (R, V) with -inf outside the ``top_k`` likeliest ids, and then outside the nucleus.

    The nucleus is the smallest set whose mass reaches ``top_p`` (Holtzman et al. 2020).
    """
    never = np.float32(NEVER)
    truncated = log_probs
    if top_k and top_k < truncated.shape[1]:
        smallest = -np.partition(-truncated, top_k - 1, axis=1)[:, top_k - 1, None]
        truncated = np.where(truncated < smallest, never, truncated)
    if top_p < 1:
        order = np.argsort(-truncated, axis=1, kind="stable")
        mass = _softmax(np.take_along_axis(truncated, order, axis=1))
        beyond = mass.cumsum(axis=1) - mass >= top_p
        beyond[:, 0] = False  # the likeliest stays, also where ``top_p`` is nothing in float32
        outside = np.empty_like(beyond)
        np.put_along_axis(outside, order, beyond, axis=1)
        truncated = np.where(outside, never, truncated)
    return truncated


def _softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _at(log_probs: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return np.take_along_axis(log_probs, ids[:, None], axis=1)[:, 0]
