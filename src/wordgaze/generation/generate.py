"""Captions from a torch model's encoder states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import search
from wordgaze.generation.torch_stepper import DecoderModel, TorchStepper


@torch.no_grad()
def generate(
    model: DecoderModel,
    encoder_hidden_states: Tensor,
    options: GenerationOptions,
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int | None = None,
    prompt_ids: Sequence[int] = (),
    photo_seeds: Sequence[int] | None = None,
) -> list[list[GeneratedCaption]]:
    """Return the captions of each photo of ``encoder_hidden_states`` (B, N, D), as :func:`search` does."""
    if len(encoder_hidden_states) == 0:
        return []
    return search(
        TorchStepper(model, encoder_hidden_states),
        len(encoder_hidden_states),
        options,
        bos_id=bos_id,
        eos_id=eos_id,
        pad_id=pad_id,
        prompt_ids=prompt_ids,
        photo_seeds=photo_seeds,
    )
