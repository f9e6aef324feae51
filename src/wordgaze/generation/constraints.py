"""Which ids may not come next."""

from __future__ import annotations

import torch
from torch import Tensor

from wordgaze.generation.options import GenerationOptions

NEVER = float("-inf")


class Constraints:
    """Applies a search's limits to log-probabilities."""

    def __init__(
        self, options: GenerationOptions, bos_id: int, eos_id: int, pad_id: int | None = None
    ) -> None:
        self.options = options
        self.eos_id = eos_id
        self.forbidden = sorted({bos_id, eos_id if pad_id is None else pad_id} - {eos_id})

    def apply(self, log_probabilities: Tensor, ids: Tensor) -> Tensor:
        """``log_probabilities`` (R, V) of the id after ``ids`` (R, T) → a copy with -inf where it may not come."""
        allowed = log_probabilities.clone()
        allowed[:, self.forbidden] = NEVER
        if ids.shape[1] < self.options.min_length:  # the end itself counts, the start does not
            allowed[:, self.eos_id] = NEVER
        size = self.options.no_repeat_ngram_size
        if 0 < size < ids.shape[1]:
            self._forbid_repeats(allowed, ids[:, 1:], size)
        stuck = allowed.isneginf().all(dim=1)
        allowed[stuck, self.eos_id] = log_probabilities[
            stuck, self.eos_id
        ]  # nothing else may come: the caption ends
        return allowed

    @staticmethod
    def _forbid_repeats(allowed: Tensor, words: Tensor, size: int) -> None:
        """No n-gram of ``words`` (R, T) twice (Paulus et al. 2018, section 2.5)."""
        if words.shape[1] < size:
            return
        grams = words.unfold(1, size, 1)  # (R, T - size + 1, size)
        last = words[:, words.shape[1] - size + 1 :]
        seen = (grams[:, :, :-1] == last[:, None]).all(dim=2)
        row, place = seen.nonzero(as_tuple=True)
        allowed[row, grams[row, place, -1]] = NEVER


def truncate(log_probabilities: Tensor, top_k: int, top_p: float) -> Tensor:
    """Keeps the ``top_k`` likeliest ids, then the smallest set whose mass reaches ``top_p`` (Holtzman et al. 2020)."""
    kept = log_probabilities
    if top_k and top_k < kept.shape[-1]:
        smallest = kept.topk(top_k, dim=-1).values[..., -1:]
        kept = kept.masked_fill(kept < smallest, NEVER)
    if top_p < 1:
        ordered, order = kept.sort(dim=-1, descending=True)
        mass = ordered.softmax(dim=-1)
        beyond = mass.cumsum(dim=-1) - mass >= top_p
        beyond[..., 0] = False  # the likeliest stays, also where ``top_p`` is nothing in float32
        kept = kept.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), NEVER)
    return kept
