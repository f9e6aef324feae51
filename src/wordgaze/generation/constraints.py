"""Which ids may not come next."""

from __future__ import annotations

import torch
from torch import Tensor

from wordgaze.generation.options import GenerationOptions

NEVER = float("-inf")


class Constraints:
    """Apply a search's limits to log-probabilities.

    ``num_given``: how many ids after the start are a prompt's, which no length counts.
    """

    def __init__(
        self,
        options: GenerationOptions,
        bos_id: int,
        eos_id: int,
        pad_id: int | None = None,
        num_given: int = 0,
    ) -> None:
        self.options = options
        self.eos_id = eos_id
        self.num_given = num_given
        self.forbidden = sorted({bos_id, eos_id if pad_id is None else pad_id} - {eos_id})

    def apply(self, log_probs: Tensor, ids: Tensor) -> Tensor:
        """Return a copy of ``log_probs`` (R, V), of the id after ``ids`` (R, T), with -inf where it may not come."""
        allowed = log_probs.clone()
        allowed[:, self.forbidden] = NEVER
        # The end itself counts, the start and a prompt do not.
        if ids.shape[1] - self.num_given < self.options.min_length:
            allowed[:, self.eos_id] = NEVER
        size = self.options.no_repeat_ngram_size
        if 0 < size < ids.shape[1]:
            self._forbid_repeats(allowed, ids[:, 1:], size)
        # Where nothing else may come, the caption ends.
        stuck = allowed.isneginf().all(dim=1)
        allowed[stuck, self.eos_id] = log_probs[stuck, self.eos_id]
        return allowed

    @staticmethod
    def _forbid_repeats(allowed: Tensor, ids: Tensor, size: int) -> None:
        """Forbid in ``allowed`` what would repeat an n-gram of ``ids`` (R, T) (Paulus et al. 2018, section 2.5)."""
        if ids.shape[1] < size:
            return
        ngrams = ids.unfold(1, size, 1)  # (R, T - size + 1, size)
        last = ids[:, ids.shape[1] - size + 1 :]
        seen = (ngrams[:, :, :-1] == last[:, None]).all(dim=2)
        rows, positions = seen.nonzero(as_tuple=True)
        allowed[rows, ngrams[rows, positions, -1]] = NEVER


def truncate(log_probs: Tensor, top_k: int, top_p: float) -> Tensor:
    """Return ``log_probs`` (R, V) with -inf outside the ``top_k`` likeliest ids, and then outside the nucleus.

    The nucleus is the smallest set whose mass reaches ``top_p`` (Holtzman et al. 2020).
    """
    truncated = log_probs
    if top_k and top_k < truncated.shape[-1]:
        smallest = truncated.topk(top_k, dim=-1).values[..., -1:]
        truncated = truncated.masked_fill(truncated < smallest, NEVER)
    if top_p < 1:
        ordered, order = truncated.sort(dim=-1, descending=True)
        mass = ordered.softmax(dim=-1)
        beyond = mass.cumsum(dim=-1) - mass >= top_p
        beyond[..., 0] = False  # the likeliest stays, also where ``top_p`` is nothing in float32
        truncated = truncated.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), NEVER)
    return truncated
