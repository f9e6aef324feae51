"""A model's three ONNX files, by ``torch.onnx.export``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wordgaze.errors import ModelError, first_line
from wordgaze.export.graphs import EncoderGraph, PatchesGraph, StepGraph
from wordgaze.export.manifest import DECODER, ENCODER, PATCHES
from wordgaze.model.caption_model import CaptionModel

# Sizes of the examples that graphs are traced with: all differ, and none is 0 or 1, which torch would take as fixed.
_B, _C, _S, _T = 2, 3, 4, 5
_Dims = dict[int, Any]
_ANY: Any = torch.export.Dim.DYNAMIC


@torch.no_grad()
def write_onnx_files(model: CaptionModel, size: tuple[int, int], folder: Path) -> None:
    """Write the ONNX files of a model in evaluation mode on the CPU, for photos of ``size`` (H, W).

    Raises ModelError where torch can't export it.
    """
    pixel_values = torch.rand(_B, 3, *size)
    _write(
        EncoderGraph(model), [pixel_values], [{0: _ANY}], ["pixel_values"], ["encoder_hidden_states"], folder / ENCODER
    )

    config = model.config.decoder
    states = model.bridge(model.encoder(pixel_values))
    names = [f"{part}_{layer}" for layer in range(config.layers) for part in ("key", "value")]
    patches_names = [f"patch_{name}" for name in names]
    _write(
        PatchesGraph(model.decoder), [states], [{0: _ANY}], ["encoder_hidden_states"], patches_names, folder / PATCHES
    )

    width = config.width // config.heads
    patches = [torch.rand(_B, config.heads, states.shape[1], width) for _ in names]
    tokens = [torch.rand(_B, _C, config.heads, _S, width) for _ in names]
    ids = torch.zeros(_B, _C, _T, dtype=torch.int64)
    dims: list[_Dims] = [
        {0: _ANY, 1: _ANY, 2: _ANY},
        *[{0: _ANY}] * len(names),
        *[{0: _ANY, 1: _ANY, 3: _ANY}] * len(names),
    ]
    inputs = ["input_ids", *patches_names, *(f"past_{name}" for name in names)]
    weights = [f"over_{source}_{layer}" for source in ("patches", "tokens") for layer in range(config.layers)]
    outputs = ["log_probs", *(f"grown_{name}" for name in names), *weights]
    _write(StepGraph(model.decoder), [ids, *patches, *tokens], dims, inputs, outputs, folder / DECODER)


def _write(
    module: nn.Module,
    example: Sequence[Tensor],
    dims: Sequence[_Dims],
    inputs: list[str],
    outputs: list[str],
    path: Path,
) -> None:
    """Write ``module`` as a file; ``dims`` of the ``inputs`` may have any size, the others are those of ``example``."""
    first, *rest = dims
    shapes = (first, tuple(rest)) if rest else (first,)
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                tuple(example),
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=shapes,
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            program.save(path, external_data=False)
    except Exception as error:  # whatever a network of timm's makes of it; they have no common parent
        raise ModelError(f"torch can't export this model's {path.stem} as ONNX ({first_line(error)}).") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch says to itself while it exports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
