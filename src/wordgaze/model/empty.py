"""A model to load weights into: no random ones are drawn for nothing, and none lie in memory twice."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wordgaze.errors import ModelError, WordgazeError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig


def empty_model(config: CaptionModelConfig, most: int | None = None) -> CaptionModel:
    """Return a model whose tensors have shapes but no values, of torch's ``meta`` device; :func:`assign` gives them.

    A network of timm's that can't be built so, or that computes tensors which no file holds, is built with values.
    Raises what :class:`CaptionModel` does, and ModelError for a model of more than ``most`` numbers, before it is built
    with values.
    """
    try:
        with torch.device("meta"):
            model = CaptionModel(config)
    except (WordgazeError, RuntimeError, TypeError, ValueError):
        return CaptionModel(config)
    state = model.state_dict()
    if most is not None and (size := sum(tensor.numel() for tensor in state.values())) > most:
        raise ModelError(f"it says a model of {size:,} numbers, and its weights have only {most:,} bytes")
    tensors = [*model.parameters(), *(buffer for _, buffer in model.named_buffers(remove_duplicate=False))]
    return model if len(tensors) == len(state) else CaptionModel(config)


def assign(model: CaptionModel, tensors: Mapping[str, Tensor]) -> None:
    """Give a model its tensors, which have the shapes of its state; an empty one takes them as they are."""
    state = model.state_dict()
    if not any(tensor.is_meta for tensor in state.values()):
        model.load_state_dict(tensors)
        return
    # In the network's own order of dimensions in memory: timm's convolutions are faster with channels last.
    ordered = {
        name: tensor
        if tensor.stride() == state[name].stride()
        else torch.empty_like(state[name], dtype=tensor.dtype, device=tensor.device).copy_(tensor)
        for name, tensor in tensors.items()
    }
    model.load_state_dict(ordered, assign=True)
