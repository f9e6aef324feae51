"""A model's tensors ⇄ a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from wordgaze.errors import ModelError, first_line
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.empty import assign

_MOST_HEADER = 2**24  # of names and shapes: 100 bytes a tensor


def weights_file(model: CaptionModel, dtype: str) -> bytes:
    """Return the file of a model's tensors, floats as ``float32`` or ``float16``; the state holds tied ones once.

    Raises ModelError for values that are not finite.
    """
    weights = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            if not tensor.isfinite().all():
                raise ModelError(f"The model's {name} holds values that are not finite; train it again.")
            tensor = tensor.to(getattr(torch, dtype))
            if not tensor.isfinite().all():
                raise ModelError(f"The model's {name} holds values too large for {dtype}; save it as float32.")
        weights[name] = tensor.contiguous()
    return save(weights, metadata={"format": "pt"})


def load_weights(model: CaptionModel, path: Path) -> None:
    """Give ``model`` the tensors of ``path``, converted to float32, one after the other; raise ModelError."""
    try:
        with path.open("rb") as beginning:
            if int.from_bytes(beginning.read(8), "little") > _MOST_HEADER:
                raise ValueError(f"its header is to have more than {_MOST_HEADER:,} bytes")
        # Not mapped into memory: pages of the file would stay there beside the model.
        file: Any = safe_open(path, framework="pt", backend="pread")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
        _check_names(model, shapes, path)
        weights = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged or not a safetensors file ({first_line(error)}); save or download the model again."
        ) from error
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = tensor.float()
            if not weights[name].isfinite().all():
                raise ModelError(
                    f"{path} is damaged: {name} holds values that are not finite; save or download the model again."
                )
    assign(model, weights)


def _check_names(model: CaptionModel, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    expected: dict[str, tuple[int, ...]] = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [f"no tensor {name}" for name in expected.keys() - shapes.keys()]
    problems += [f"an unknown tensor {name}" for name in shapes.keys() - expected.keys()]
    problems += [
        f"{name} of shape {shapes[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more differences" if len(problems) > 1 else ""
        raise ModelError(
            f"{path} does not fit config.json: it has {min(problems)}{more}; take both files from the same model."
        )
