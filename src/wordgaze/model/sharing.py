"""Copies that share a network's weights, and whether those have changed since something was made of them."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def copy_modules(network: Network) -> Network:
    """Return a copy of ``network`` whose modules are its own, and whose parameters and buffers are the same."""
    return copy.deepcopy(network, {id(tensor): tensor for tensor in _tensors(network)})


def versions(network: nn.Module) -> list[tuple[int, int]]:
    """Return what changes with the parameters and buffers of ``network``: places in memory, counts of changes.

    What is written through ``.data`` torch does not count. Tensors made in inference mode have no count.
    """
    return [_version(tensor) for tensor in _tensors(network)]


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _version(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
