"""What a model is taught to minimise."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from wordgaze.data.dataset import IGNORED


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean over words, in nats; ``logits`` (R, T, V), ``labels`` (R, T) (smoothing: Szegedy et al. 2016, section 7)."""
    return functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
    )
