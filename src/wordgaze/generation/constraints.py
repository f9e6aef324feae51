"""Which ids may not come next. Imports no torch."""

from __future__ import annotations

import numpy as np

from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.stepper import LogProbs


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

    def apply(self, log_probs: LogProbs, ids: np.ndarray) -> None:
        """Forbid what may not come after ``ids`` (R, T). Where nothing else may come, the caption ends."""
        forbidden = list(self.forbidden)
        # The end itself counts, the start and a prompt do not.
        if ids.shape[1] - self.num_given < self.options.min_length:
            forbidden.append(self.eos_id)
        log_probs.forbid(forbidden, *self._repeats(ids[:, 1:]), self.eos_id)

    def _repeats(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of ``ids`` (R, T) with ids that would repeat an n-gram (Paulus et al. 2018, section 2.5)."""
        size, length = self.options.no_repeat_ngram_size, ids.shape[1]
        if not 0 < size <= length:
            nothing = np.empty(0, np.int64)
            return nothing, nothing
        ngrams = np.lib.stride_tricks.sliding_window_view(ids, size, axis=1)  # (R, T - size + 1, size)
        last = ids[:, length - size + 1 :]
        rows, positions = (ngrams[:, :, :-1] == last[:, None]).all(axis=2).nonzero()
        return rows, ngrams[rows, positions, -1]
