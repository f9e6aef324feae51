"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratedCaption:
    """Ids with the start token and ``num_given`` ids of a prompt first, and the end token last if the caption ended.

    ``token_log_probs`` holds the model's own log-probability (natural logarithm, before temperature and constraints)
    of each id after these; ``score`` is what the search ranked by.
    """

    token_ids: tuple[int, ...]
    token_log_probs: tuple[float, ...]
    score: float
    num_given: int = 0

    @property
    def log_probability(self) -> float:
        """Return the log-probability of all that the model has added to the prompt."""
        return sum(self.token_log_probs)
