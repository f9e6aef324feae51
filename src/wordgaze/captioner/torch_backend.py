"""A model run by torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from wordgaze.device import arithmetic, check_precision, choose_precision, find_device, keep_freed_memory
from wordgaze.explanation.forced_pass import TorchReader
from wordgaze.generation.stepper import Stepper
from wordgaze.generation.torch_stepper import fast_stepper
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.encoders.inference import InferenceEncoder


class TorchBackend:
    """``device`` and ``precision`` as of :class:`~wordgaze.captioner.captioner.Captioner`; both raise ConfigError."""

    name = "torch"

    def __init__(self, model: CaptionModel, device: str | torch.device | None, precision: str) -> None:
        self.device = torch.device(find_device(device))
        self.precision = choose_precision(check_precision(precision), str(self.device))
        self.model = model.eval().to(self.device)
        # Here and not on import: it holds for all of the process.
        keep_freed_memory()
        self._encoder = InferenceEncoder(self.model.encoder)
        self.reader = TorchReader(self.model)

    def pixels(self, pixel_values: Any) -> Tensor:
        return torch.as_tensor(pixel_values).to(self.device)

    def encode(self, pixel_values: Any, hflip: bool) -> Tensor:
        pixel_values = self.pixels(pixel_values)
        with arithmetic(str(self.device), self.precision):
            if hflip:
                states = self.model.encode_with_hflip(pixel_values, self._encoder)
            else:
                states = self.model.encode(pixel_values, encoder=self._encoder)
        return states.float() if self.device.type == "cpu" else states

    def stepper(self, states: Tensor) -> Stepper:
        return fast_stepper(self.model, states)

    @contextmanager
    def inference(self) -> Iterator[None]:
        with torch.inference_mode(), self.arithmetic():
            yield

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return the context of all but :meth:`encode`: on a CPU float32, in which words are written faster."""
        return arithmetic(str(self.device), "float32" if self.device.type == "cpu" else self.precision)
