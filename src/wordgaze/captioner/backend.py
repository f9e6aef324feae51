"""What a captioner asks of the library that runs its model. Imports no torch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from wordgaze.errors import ConfigError, shown
from wordgaze.explanation.attentions import AttentionReader
from wordgaze.generation.stepper import Stepper

if TYPE_CHECKING:
    import torch

BACKENDS = ("auto", "torch", "onnx")
"""Of ``auto``, an exported folder is run by ONNX Runtime, and any other by torch."""


class Backend(Protocol):
    """A model that one library runs.

    Pixels (B, 3, H, W) and states (B, N, D) are this library's: tensors of torch, or arrays of NumPy for ONNX Runtime.
    """

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str | torch.device: ...
    @property
    def precision(self) -> str: ...
    @property
    def reader(self) -> AttentionReader:
        """Return what reads the attention of finished captions."""

    def pixels(self, pixel_values: Any) -> Any:
        """Return a tensor or an array of pixels as this library's, where it computes."""

    def encode(self, pixel_values: Any, hflip: bool) -> Any:
        """Return the states of pixels; ``hflip``: the mean of those of the photos and of their mirror images."""

    def stepper(self, states: Any) -> Stepper:
        """Return the decoder before its captions of photos with these states."""

    def inference(self) -> AbstractContextManager[None]:
        """Return a context in which no gradient is kept, and the arithmetic is that of the precision."""

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return a context in which the arithmetic is that of the precision."""


def check_backend(backend: object) -> str:
    """Return ``backend``; raise ConfigError unless it is one of ``BACKENDS``."""
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise ConfigError(f"backend is {shown(backend)}; choose {', '.join(BACKENDS)}.")
    return backend
