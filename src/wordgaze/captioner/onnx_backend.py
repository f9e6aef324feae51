"""An exported model run by ONNX Runtime. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from wordgaze.errors import ConfigError, ModelError, shown
from wordgaze.explanation.attentions import ForcedPass
from wordgaze.export.session import OnnxModel
from wordgaze.folder import PREPROCESSOR, FolderParts, read_parts
from wordgaze.generation.stepper import Stepper
from wordgaze.model.config import DecoderConfig


@dataclass(kw_only=True)
class ExportedParts(FolderParts):
    """All that an exported folder holds, ready to use."""

    model: OnnxModel


def load_exported(folder: str | os.PathLike[str]) -> ExportedParts:
    """Read a folder that ``wordgaze export`` has written.

    Raises ModelError where a file is missing, damaged or does not fit the others, and where ONNX Runtime is missing.
    """
    parts = read_parts(folder)
    model = OnnxModel.load(folder)
    if parts.preprocessing.size != model.manifest.image_size:
        raise ModelError(
            f"{folder}: {PREPROCESSOR} makes photos of size {parts.preprocessing.size} (height, width) but the model "
            f"takes {model.manifest.image_size}; export the model again."
        )
    return ExportedParts(**vars(parts), model=model)


class OnnxBackend:
    """Raises ConfigError for a ``device`` that is not the CPU, and for a ``precision`` but the default."""

    name, device = "onnx", "cpu"

    def __init__(self, parts: ExportedParts, device: object, precision: object) -> None:
        check_onnx_device(device)
        check_onnx_precision(precision)
        self.model = parts.model
        self.precision = parts.model.manifest.precision
        self.reader = OnnxReader(parts.model, parts.config.decoder)

    def pixels(self, pixel_values: Any) -> np.ndarray:
        return np.asarray(pixel_values, np.float32)

    def encode(self, pixel_values: Any, hflip: bool) -> np.ndarray:
        return self.model.encode(self.pixels(pixel_values), hflip)

    def stepper(self, states: np.ndarray) -> Stepper:
        return self.model.stepper(states)

    def inference(self) -> AbstractContextManager[None]:
        return nullcontext()

    arithmetic = inference


class OnnxReader:
    """Reads captions without gradients; :class:`~wordgaze.explanation.attentions.AttentionReader` says what it does."""

    has_gradients = False

    def __init__(self, model: OnnxModel, decoder: DecoderConfig) -> None:
        self._model, self.decoder = model, decoder
        self.grid, self.num_prefix = model.manifest.grid, model.manifest.num_prefix

    def forced_passes(self, states: np.ndarray, captions: Sequence[Sequence[int]]) -> list[ForcedPass]:
        return self._model.forced_passes(states, captions)

    def with_gradients(self, states: np.ndarray, ids: Sequence[int], forced: ForcedPass) -> NoReturn:
        raise AssertionError("checked by the explainer")

    def with_rollout(
        self, pixel_values: np.ndarray, ids: Sequence[int], forced: ForcedPass, hflip_tta: bool
    ) -> NoReturn:
        raise AssertionError("checked by the explainer")


def check_onnx_device(device: object) -> None:
    """Raise ConfigError unless ``device`` is the CPU, where alone an exported model runs."""
    if device is not None and str(device) not in ("auto", "cpu"):
        raise ConfigError(
            f"An exported model runs on the CPU alone, and device is {shown(str(device))}; leave the device out, or "
            "name the model folder that it was made of."
        )


def check_onnx_precision(precision: object) -> None:
    """Raise ConfigError unless ``precision`` is left to the exported model, which has its own."""
    if precision not in ("float32", "auto"):
        raise ConfigError(
            f"precision is {shown(precision)}, but an exported model has its own, which `wordgaze export --precision` "
            "sets; leave it out."
        )
