"""What a model is taught to minimise."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean over n words, in nats; ``logits`` (n, V), ``labels`` (n,) (smoothing: Szegedy et al. 2016, section 7)."""
    return functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
