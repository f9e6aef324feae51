"""A finished caption read once more, for all that maps are made of: attention weights, and their gradients.

Teacher forcing gives the weights of exactly the ids that the caption has, whatever search found them. Letters:
T ids of a caption (start and end included), P = T - 1 predictions, N patches, S = N and the prefix tokens before them,
E tokens of the encoder's own attention.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wordgaze.errors import ConfigError
from wordgaze.model.caption_model import with_hflip

if TYPE_CHECKING:
    from wordgaze.model.caption_model import CaptionModel


_AT_ONCE = 16  # copies of a caption in one backward pass; bounds the memory


@dataclass(frozen=True)
class ForcedPass:
    """What the model computed while it read a caption; entry p of each predicts token p + 1. All float32, on the CPU.

    ``cross_attentions``, ``attentions``: per layer (heads, P, S), prefix tokens first, and (heads, P, P) over the
    words read so far; ``log_probabilities`` (P,), natural logarithm, of the ids that the caption has.
    ``relevances``: per layer (P, S), if asked for: the cross-attention times its gradient (:func:`with_gradients`).
    """

    cross_attentions: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...]
    log_probabilities: Tensor
    relevances: tuple[Tensor, ...] | None = None


@torch.no_grad()
def forced_passes(
    model: CaptionModel, encoder_hidden_states: Tensor, captions: Sequence[Sequence[int]]
) -> list[ForcedPass]:
    """Reads the ids of each caption, but the last id, over one photo's states (1, S, D).

    All captions go through the model at once, the shorter ones with their last id repeated behind their end, where it
    changes nothing before it.
    """
    longest = max(map(len, captions))
    padded = [[*ids, *[ids[-1]] * (longest - len(ids))] for ids in captions]
    input_ids = torch.tensor(padded, device=encoder_hidden_states.device)
    with _evaluating(model):
        output = model(input_ids[:, :-1], encoder_hidden_states, output_attentions=True)
    said = output.logits.float().log_softmax(dim=-1).gather(2, input_ids[:, 1:, None])[..., 0].cpu()
    passes = []
    for row, ids in enumerate(captions):
        length = len(ids) - 1
        passes.append(
            ForcedPass(
                tuple(weights[row, :, :length].float().cpu() for weights in output.cross_attentions),
                tuple(weights[row, :, :length, :length].float().cpu() for weights in output.attentions),
                said[row, :length],
            )
        )
    return passes


def with_gradients(
    model: CaptionModel, encoder_hidden_states: Tensor, ids: Sequence[int], forced: ForcedPass
) -> ForcedPass:
    """Adds ``relevances``: the weights of a prediction times the gradient of its log-probability, where positive.

    The mean over the heads (Chefer et al. 2021, equation 5), at the row of the prediction itself.
    """
    count = len(ids) - 1
    found = []
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(model):
        states = encoder_hidden_states.detach().clone().requires_grad_()
        for start in range(0, count, _AT_ONCE):
            # The caption once for each prediction, so that one backward pass gives each its own gradient.
            some = torch.arange(start, min(start + _AT_ONCE, count))
            said, weights = _said(model, states, ids, len(some))
            gradients = torch.autograd.grad(said[range(len(some)), some].sum(), weights)
            own = torch.arange(len(some))
            found.append(
                [
                    _positive(layer[own, :, some].transpose(0, 1), gradient[own, :, some].transpose(0, 1))
                    for layer, gradient in zip(weights, gradients, strict=True)
                ]
            )
    return replace(forced, relevances=tuple(torch.cat(layer) for layer in zip(*found, strict=True)))


def with_rollout(
    model: CaptionModel,
    pixel_values: Tensor,
    ids: Sequence[int],
    forced: ForcedPass,
    mirrored: bool = False,
) -> ForcedPass:
    """Adds ``relevances`` as :func:`with_gradients`, carried on through the encoder's own blocks to its input tokens.

    A patch's state holds what the blocks have mixed into it. Each block's share is I + Ā, Ā being its self-attention
    times the gradient of the prediction, positive part, mean over the heads (Chefer et al. 2021, equations 5 and 6);
    the product of all, its rows made to sum to one, leads from states back to patches. ``pixel_values`` (1, 3, H, W).
    ``mirrored``: the states are the mean of two views (``encode_with_hflip``), and so is what leads back.

    Raises ConfigError when the encoder's blocks are not timm's ViT blocks, whose weights can be read.
    """
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(model):
        encoder, blocks = open_encoder(model.encoder)
        pixel_values = pixel_values.detach().clone().requires_grad_()
        states = model.bridge(encoder(with_hflip(pixel_values) if mirrored else pixel_values))
        said, weights = _said(model, model.average_views(states) if mirrored else states, ids)
        rows = []
        for position in range(len(ids) - 1):
            gradients = torch.autograd.grad(said[0, position], (*weights, *blocks), retain_graph=True)
            row = [
                _positive(layer[0, :, position, None], gradient[0, :, position, None])
                for layer, gradient in zip(weights, gradients, strict=False)
            ]
            if blocks:
                # Each of two views has half a part in the states, and so half of the gradient.
                whole = [len(states) * each for each in gradients[len(weights) :]]
                within = [_mixed(blocks, whole, view) for view in range(len(states))]
                row = [_carried(model, layer, within) for layer in row]
            rows.append(row)
    return replace(forced, relevances=tuple(torch.cat(layer) for layer in zip(*rows, strict=True)))


def _carried(model: CaptionModel, row: Tensor, within: Sequence[Tensor]) -> Tensor:
    """A row (1, S) over states → over patches, by what the states of one or two views hold of their tokens (E, E)."""
    states = row.shape[-1]
    with torch.autocast("cpu", enabled=False):
        # The prefix tokens, which the decoder does not see, stand before the patches.
        seen, *mirrored = (each[-states:, -states:] for each in within)
        carried = row @ seen
        for view in mirrored:
            turned = model.unflip(row[..., None])[..., 0] @ view
            carried = (carried + model.unflip(turned[..., None])[..., 0]) / 2
    return carried


def _mixed(blocks: Sequence[Tensor], gradients: Sequence[Tensor], view: int) -> Tensor:
    """What the encoder's states of a view hold of its tokens (E, E), rows summing to one."""
    mixed = None
    for weights, gradient in zip(blocks, gradients, strict=True):
        step = torch.eye(weights.shape[-1]) + _positive(weights[view], gradient[view])
        with torch.autocast("cpu", enabled=False):
            # Blocks behind a ViT's own may go without its prefix tokens, which stand first.
            mixed = step if mixed is None else step @ mixed[-len(step) :]
    assert mixed is not None
    return mixed / mixed.sum(dim=-1, keepdim=True)


def _said(
    model: CaptionModel, states: Tensor, ids: Sequence[int], copies: int = 1
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Log-probabilities (copies, P) of ``ids``; per layer the cross-attention (copies, heads, P, S) they depend on."""
    input_ids = torch.tensor([list(ids)], device=states.device).expand(copies, -1)
    output = model(input_ids[:, :-1], states, output_attentions=True)
    said = output.logits.float().log_softmax(dim=-1).gather(2, input_ids[:, 1:, None])[..., 0]
    return said, output.cross_attentions


def _positive(weights: Tensor, gradient: Tensor) -> Tensor:
    """Ā of Chefer et al. 2021, equation 5: (heads, rows, columns) → (rows, columns)."""
    return (weights * gradient).float().clamp(min=0).mean(dim=0).detach().cpu()


def open_encoder(encoder: nn.Module) -> tuple[nn.Module, list[Tensor]]:
    """The encoder with the same parameters, and a list that its blocks' weights (1, heads, E, E) fill when it runs.

    A copy of the modules alone: the model keeps its fused kernel, and no hook stays on it.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*encoder.parameters(), *encoder.buffers())}
    opened = copy.deepcopy(encoder, shared)
    read: list[Tensor] = []
    for layer in (*opened.layers(), *opened.head_modules()):  # type: ignore[operator]
        attention = getattr(layer, "attn", None)
        if attention is None:
            continue
        if not isinstance(getattr(attention, "attn_drop", None), nn.Dropout):
            raise ConfigError(
                f"The attention of this encoder's {type(layer).__name__} can't be read; choose another method."
            )
        attention.fused_attn = False
        # timm's softmax goes through this dropout on its way to the output.
        attention.attn_drop.register_forward_hook(partial(_keep, read))
    return opened, read


def _keep(read: list[Tensor], _: nn.Module, __: Any, weights: Tensor) -> None:
    read.append(weights)


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
