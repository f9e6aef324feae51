"""ONNX files with the matrices of ViT and decoder as 8-bit integers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wordgaze.export.manifest import GRAPHS


def quantize_files(folder: Path) -> None:
    """Replace the ONNX files in ``folder`` by those with int8 weights; activations are quantized as they come.

    Only products with a matrix of weights: 8-bit convolutions were slower than those of float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in GRAPHS:
        path, new = folder / name, folder / f"{name}.int8"
        with _quiet():
            quantize_dynamic(
                path,
                new,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
        new.replace(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the advice that quantizing gives through the root logger."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
