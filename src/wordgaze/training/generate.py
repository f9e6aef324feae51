"""Captions of a model that is being trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import search
from wordgaze.generation.torch_stepper import TorchStepper
from wordgaze.model.caption_model import CaptionModel
from wordgaze.text.tokenizer import CaptionTokenizer


def generate_captions(
    model: CaptionModel,
    tokenizer: CaptionTokenizer,
    encoder_hidden_states: Tensor,
    options: GenerationOptions,
    photo_seeds: Sequence[int] | None = None,
) -> list[list[GeneratedCaption]]:
    """Return each photo's captions; no gradient flows back from here."""
    captions = search(
        TorchStepper(model, encoder_hidden_states),
        options,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        photo_seeds=photo_seeds,
        prompt_ids=tokenizer.encode_prompt(options.prompt),
    )
    # What autocast has cast without gradients must not serve the pass that needs them.
    torch.clear_autocast_cache()
    return captions
