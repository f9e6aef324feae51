"""What a search asks of a decoder, whichever library computes it. Imports no torch.

Letters: B photos still searched, K beams or captions each, R = B·K rows, photo by photo, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wordgaze.generation.options import GenerationOptions

NEVER = float("-inf")


@dataclass(frozen=True)
class Continuations:
    """The best continuations of each photo, best first; each array is (B, count).

    ``totals``: the log-probabilities of whole rows, float32. ``parents``: the rows that go on. ``ids``: their next id.
    ``log_probs``: the model's own log-probability of that id.
    """

    totals: np.ndarray
    parents: np.ndarray
    ids: np.ndarray
    log_probs: np.ndarray


class LogProbs(Protocol):
    """The log-probabilities (natural logarithms) of the next id of R rows, where they were computed."""

    def forbid(self, ids: Sequence[int], rows: np.ndarray, row_ids: np.ndarray, end_id: int) -> None:
        """Let no row go on with ``ids``, nor row ``rows[i]`` with ``row_ids[i]``; with nothing left, a row ends."""

    def likeliest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the likeliest id of each row (R,), and its log-probability."""

    def sample(self, draws: np.ndarray, options: GenerationOptions) -> tuple[np.ndarray, np.ndarray]:
        """Return for each row the id at its draw (R,), from 0 to 1, and the model's own log-probability of it."""

    def continuations(self, totals: np.ndarray, count: int) -> Continuations:
        """Return the ``count`` best continuations of each photo, or all there are; ``totals`` (B, K): of the rows."""


class Stepper(Protocol):
    """A decoder in the middle of its captions: R rows, at first one a photo, or as many as are sampled.

    ``num_photos``: how many photos it began with.
    """

    num_photos: int

    def step(self, ids: np.ndarray) -> LogProbs:
        """Read ``ids`` (R, T), which follow those read before; return the log-probabilities of the next."""

    def reorder(self, rows: np.ndarray) -> None:
        """Let row i be what row ``rows[i]`` was, of the same photo; there may be more of them than before."""

    def keep_photos(self, photos: np.ndarray, rows: np.ndarray) -> None:
        """Drop all photos but ``photos``, whose rows become what ``rows`` were."""
