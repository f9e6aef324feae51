"""What maps are made of: the attention of a finished caption, whichever library computed it. Imports no torch.

Letters: T ids of a caption (start and end included), P = T - 1 predictions, N patches, S = N and the prefix tokens
before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from wordgaze.model.config import DecoderConfig


@dataclass(frozen=True)
class ForcedPass:
    """What the model computed while it read a caption; entry p of each predicts token p + 1. All float32.

    ``cross_attentions``, ``attentions``: per layer (heads, P, S), prefix tokens first, and (heads, P, P) over the
    words read so far; ``log_probabilities`` (P,), natural logarithm, of the ids that the caption has.
    ``relevances``: per layer (P, S), if asked for: the cross-attention times its gradient
    (:func:`wordgaze.explanation.forced_pass.with_gradients`).
    """

    cross_attentions: tuple[np.ndarray, ...]
    attentions: tuple[np.ndarray, ...]
    log_probabilities: np.ndarray
    relevances: tuple[np.ndarray, ...] | None = None


class AttentionReader(Protocol):
    """A model that reads finished captions; states (1, S, D) are of its own library.

    ``decoder``: its sizes. ``grid``: patches (H_p, W_p), which come after ``num_prefix`` other tokens.
    ``has_gradients``: whether it can do more than :meth:`forced_passes`.
    """

    @property
    def decoder(self) -> DecoderConfig: ...
    @property
    def grid(self) -> tuple[int, int]: ...
    @property
    def num_prefix(self) -> int: ...
    @property
    def has_gradients(self) -> bool: ...

    def forced_passes(self, states: Any, captions: Sequence[Sequence[int]]) -> list[ForcedPass]:
        """Read the ids of each caption, except the last id, over one photo's states."""

    def with_gradients(self, states: Any, ids: Sequence[int], forced: ForcedPass) -> ForcedPass:
        """Add relevances by gradients of the decoder."""

    def with_rollout(self, pixel_values: Any, ids: Sequence[int], forced: ForcedPass, hflip_tta: bool) -> ForcedPass:
        """Add relevances by gradients that reach through the encoder, of a photo's ``pixel_values`` (1, 3, H, W)."""
