"""A finished caption → one map per word, from one teacher-forced pass over its ids.

Letters: T ids of the caption (start and end included), P = T - 1 predictions, N patches (H_p × W_p), S = N
and the prefix tokens before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from wordgaze.errors import ConfigError

if TYPE_CHECKING:
    from wordgaze.model.caption_model import CaptionModel
    from wordgaze.text.tokenizer import WordSpan


@dataclass(frozen=True)
class ForcedPass:
    """What the model computed while it read a caption; entry p of each predicts token p + 1.

    ``cross_attentions``: per layer (heads, P, S) float32, prefix tokens first; ``log_probabilities`` (P,),
    natural logarithm, of the ids that the caption has.
    """

    cross_attentions: tuple[Tensor, ...]
    log_probabilities: Tensor


Method = Callable[[ForcedPass], Tensor]
"""Weights (P, S), at least 0, over prefix tokens and patches; their scale does not matter."""


def _mean(forced: ForcedPass) -> Tensor:
    """The mean of all layers and heads."""
    return torch.stack(forced.cross_attentions).mean(dim=(0, 1))


def _layer(forced: ForcedPass, index: int) -> Tensor:
    """The mean of one layer's heads."""
    return forced.cross_attentions[index].mean(dim=0)


def _contrast(forced: ForcedPass) -> Tensor:
    """What the last layer looks at for one word more than for the caption as a whole.

    Some patches draw every word's attention whatever they show (corners, say: "registers" of Darcet et al. 2024);
    subtracting the caption's mean row takes them out.
    """
    rows = _layer(forced, -1)
    more = (rows - rows.mean(dim=0)).clamp(min=0)
    return torch.where(more.sum(dim=-1, keepdim=True) > 1e-6, more, rows)  # alike for all words: as it is


METHODS: dict[str, Method] = {"contrast": _contrast, "last": partial(_layer, index=-1), "mean": _mean}
"""Methods that any model has; ``layer-0`` and so on come with its layers. Add a method here."""

DEFAULT_METHOD = "contrast"


def available_methods(layers: int) -> dict[str, Method]:
    """Every method by name, for a decoder of ``layers`` layers."""
    return METHODS | {f"layer-{index}": partial(_layer, index=index) for index in range(layers)}


@dataclass(frozen=True)
class WordMaps:
    """Per word of a caption: its map, its probability, and how widely the model looked.

    ``maps`` (words, H_p, W_p) float32, each summing to one; ``probabilities``: the product of those of the
    word's tokens; ``entropies`` in bits, from 0 (one patch) to ``max_entropy`` = log₂ N (all patches alike);
    ``log_probability``: natural logarithm, of the whole caption with its end.
    """

    words: tuple[str, ...]
    maps: np.ndarray
    probabilities: tuple[float, ...]
    entropies: tuple[float, ...]
    max_entropy: float
    log_probability: float


def word_maps(
    model: CaptionModel,
    encoder_hidden_states: Tensor,
    token_ids: Sequence[int],
    spans: Sequence[WordSpan],
    method: str = DEFAULT_METHOD,
) -> WordMaps:
    """The maps of the words at ``spans`` of ``token_ids`` (T), of one photo.

    The photo's states are (1, S, D). The ids are those of a finished caption, start token first; since they
    are read again, the maps belong to this caption whatever search found it. Leaves nothing behind on
    ``model``. Raises ConfigError for an unknown method.
    """
    assert all(1 <= span.start < span.stop <= len(token_ids) for span in spans)
    forced = forced_pass(model, encoder_hidden_states, token_ids)
    known = available_methods(len(forced.cross_attentions))
    if method not in known:
        raise ConfigError(f"There is no method called {method!r}; choose one of {', '.join(known)}.")
    rows = _over_patches(known[method](forced), model.num_prefix)

    height, width = model.grid
    maps = torch.zeros(len(spans), height * width)
    probabilities = []
    for index, span in enumerate(spans):
        predicting = slice(span.start - 1, span.stop - 1)  # a token is predicted one position before its own
        maps[index] = rows[predicting].mean(dim=0)
        probabilities.append(float(forced.log_probabilities[predicting].sum().exp()))
    entropies = torch.special.entr(maps).sum(dim=-1) / np.log(2)
    return WordMaps(
        words=tuple(span.text for span in spans),
        maps=maps.reshape(len(spans), height, width).numpy(),
        probabilities=tuple(probabilities),
        entropies=tuple(entropies.tolist()),
        max_entropy=float(np.log2(height * width)),
        log_probability=float(forced.log_probabilities.sum()),
    )


@torch.no_grad()
def forced_pass(model: CaptionModel, encoder_hidden_states: Tensor, token_ids: Sequence[int]) -> ForcedPass:
    """Reads all ``token_ids`` but the last, for the explicit weights; the result is float32 on the CPU."""
    ids = torch.tensor([list(token_ids)], device=encoder_hidden_states.device)
    with _evaluating(model):
        output = model(ids[:, :-1], encoder_hidden_states, output_attentions=True)
    log_probabilities = output.logits[0].float().log_softmax(dim=-1)
    return ForcedPass(
        cross_attentions=tuple(weights[0].float().cpu() for weights in output.cross_attentions),
        log_probabilities=log_probabilities.gather(1, ids[0, 1:, None])[:, 0].cpu(),
    )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout inside; every part as it was afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _over_patches(weights: Tensor, num_prefix: int) -> Tensor:
    """(P, S) → (P, N): without the prefix tokens, each row summing to one."""
    patches = weights[:, num_prefix:]
    total = patches.sum(dim=-1, keepdim=True)
    # A row that gave all to the prefix tokens says nothing about the patches.
    return torch.where(total > 0, patches / total, 1 / patches.shape[-1])
