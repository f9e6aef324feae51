"""Tells whether weights have changed since something was made of them."""

from __future__ import annotations

from torch import Tensor, nn


def versions(network: nn.Module) -> list[tuple[int, int]]:
    """Return what changes with the parameters and buffers of ``network``: places in memory, counts of changes.

    What is written through ``.data`` torch does not count. Tensors made in inference mode have no count.
    """
    return [_version(tensor) for tensor in (*network.parameters(), *network.buffers())]


def _version(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
