"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratedCaption:
    """Ids with the start token first, and the end token last if the caption ended by itself.

    ``token_log_probs`` holds the model's own log-probability (natural logarithm, before temperature and constraints)
    of each id after the start token; ``score`` is what the search ranked by.
    """

    token_ids: tuple[int, ...]
    token_log_probs: tuple[float, ...]
    score: float

    @property
    def log_probability(self) -> float:
        """Return the log-probability of the whole caption."""
        return sum(self.token_log_probs)
