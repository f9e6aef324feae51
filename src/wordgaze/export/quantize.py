"""ONNX files with the matrices of ViT and decoder as 8-bit integers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wordgaze.export.manifest import GRAPHS


def quantize_files(folder: Path) -> None:
    """Replace the ONNX files in ``folder`` by those with int8 weights; activations are quantized as they come.

    Only products with a matrix of weights, since 8-bit convolutions are slower than those of float32, and only where
    it does not narrow: what an MLP's second matrix reads has a few values far from all others, which 8 bits can't tell
    apart from the rest (Bondarenko et al. 2021). In the bundled encoder these matrices alone made nearly all the error.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in GRAPHS:
        path, new = folder / name, folder / f"{name}.int8"
        with _quiet():
            quantize_dynamic(
                path,
                new,
                op_types_to_quantize=["MatMul"],
                nodes_to_exclude=_narrowing(path),
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
        new.replace(path)


def _narrowing(path: Path) -> list[str]:
    """Return the names of the products with a matrix that has more rows than columns."""
    import onnx

    graph = onnx.load(path).graph
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    matrices = ((node.name, shapes.get(node.input[1])) for node in graph.node if node.op_type == "MatMul")
    return [name for name, shape in matrices if shape is not None and len(shape) == 2 and shape[0] > shape[1]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the advice that quantizing gives through the root logger."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
