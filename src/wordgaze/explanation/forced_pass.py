"""A teacher-forced pass of torch over a finished caption: the attention, and its gradients, that maps are made of.

Teacher forcing gives the weights of exactly the ids that the caption has, whatever search found them. Letters:
T ids of a caption (start and end included), P = T - 1 predictions, N patches, S = N and the prefix tokens before them,
E tokens of the encoder's own attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wordgaze.errors import ConfigError
from wordgaze.explanation.attentions import ForcedPass
from wordgaze.model.caption_model import with_hflip
from wordgaze.model.config import DecoderConfig
from wordgaze.model.sharing import copy_modules

if TYPE_CHECKING:
    from wordgaze.model.caption_model import CaptionModel


_AT_ONCE = 16  # copies of a caption in one backward pass; bounds the memory


@torch.no_grad()
def forced_passes(
    model: CaptionModel, encoder_hidden_states: Tensor, captions: Sequence[Sequence[int]]
) -> list[ForcedPass]:
    """Read the ids of each caption, except the last id, over one photo's states (1, S, D).

    All captions go through the model at once. The shorter ones are padded with their last id after their end, where it
    changes nothing before it.
    """
    longest = max(map(len, captions))
    padded = [[*ids, *[ids[-1]] * (longest - len(ids))] for ids in captions]
    input_ids = torch.tensor(padded, device=encoder_hidden_states.device)
    with _evaluating(model):
        output = model(input_ids[:, :-1], encoder_hidden_states, output_attentions=True)
    log_probs = output.logits.float().log_softmax(dim=-1).gather(2, input_ids[:, 1:, None])[..., 0].cpu()
    passes = []
    for row, ids in enumerate(captions):
        length = len(ids) - 1
        passes.append(
            ForcedPass(
                tuple(weights[row, :, :length].float().cpu().numpy() for weights in output.cross_attentions),
                tuple(weights[row, :, :length, :length].float().cpu().numpy() for weights in output.attentions),
                log_probs[row, :length].numpy(),
            )
        )
    return passes


def with_gradients(
    model: CaptionModel, encoder_hidden_states: Tensor, ids: Sequence[int], forced: ForcedPass
) -> ForcedPass:
    """Add ``relevances``: the weights of a prediction times the gradient of its log-probability, where positive.

    The mean over the heads (Chefer et al. 2021, equation 5), at the row of the prediction itself.
    """
    count = len(ids) - 1
    relevances = []
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(model):
        states = encoder_hidden_states.detach().clone().requires_grad_()
        for start in range(0, count, _AT_ONCE):
            # The caption once for each prediction, so that one backward pass gives each its own gradient.
            positions = torch.arange(start, min(start + _AT_ONCE, count))
            log_probs, weights = _log_probs_and_weights(model, states, ids, len(positions))
            gradients = torch.autograd.grad(log_probs[range(len(positions)), positions].sum(), weights)
            rows = torch.arange(len(positions))
            relevances.append(
                [
                    _positive_relevance(
                        layer[rows, :, positions].transpose(0, 1),
                        gradient[rows, :, positions].transpose(0, 1),
                    )
                    for layer, gradient in zip(weights, gradients, strict=True)
                ]
            )
    return replace(forced, relevances=tuple(torch.cat(layer).numpy() for layer in zip(*relevances, strict=True)))


def with_rollout(
    model: CaptionModel,
    pixel_values: Tensor,
    ids: Sequence[int],
    forced: ForcedPass,
    hflip_tta: bool = False,
) -> ForcedPass:
    """Add ``relevances`` as :func:`with_gradients`, carried on through the encoder's own blocks to its input tokens.

    A patch's state holds what the blocks have mixed into it. Each block's share is I + Ā, Ā being its self-attention
    times the gradient of the prediction, positive part, mean over the heads (Chefer et al. 2021, equations 5 and 6);
    the product of all, its rows made to sum to one, leads from states back to patches. ``pixel_values`` (1, 3, H, W).
    ``hflip_tta``: the states are the mean of two views (``encode_with_hflip``), and so is what leads back.

    Raises ConfigError when the encoder's blocks are not timm's ViT blocks, whose weights can be read.
    """
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(model):
        encoder, blocks = open_encoder(model.encoder)
        pixel_values = pixel_values.detach().clone().requires_grad_()
        states = model.bridge(encoder(with_hflip(pixel_values) if hflip_tta else pixel_values))
        log_probs, weights = _log_probs_and_weights(model, model.average_views(states) if hflip_tta else states, ids)
        rows = []
        for position in range(len(ids) - 1):
            gradients = torch.autograd.grad(log_probs[0, position], (*weights, *blocks), retain_graph=True)
            row = [
                _positive_relevance(layer[0, :, position, None], gradient[0, :, position, None])
                for layer, gradient in zip(weights, gradients, strict=False)
            ]
            if blocks:
                # Each of two views has half a part in the states, and so half of the gradient.
                whole = [len(states) * gradient for gradient in gradients[len(weights) :]]
                rollouts = [_rollout(blocks, whole, view) for view in range(len(states))]
                row = [_over_tokens(model, layer, rollouts) for layer in row]
            rows.append(row)
    return replace(forced, relevances=tuple(torch.cat(layer).numpy() for layer in zip(*rows, strict=True)))


def _over_tokens(model: CaptionModel, row: Tensor, rollouts: Sequence[Tensor]) -> Tensor:
    """Return a row (1, S) over states as one over tokens, by what the states of each view hold of them (E, E)."""
    states = row.shape[-1]
    with torch.autocast("cpu", enabled=False):
        # The prefix tokens, which the decoder does not see, stand before the patches.
        upright, *flipped = (rollout[-states:, -states:] for rollout in rollouts)
        over_tokens = row @ upright
        for rollout in flipped:
            flipped_row = model.unflip(row[..., None])[..., 0] @ rollout
            over_tokens = (over_tokens + model.unflip(flipped_row[..., None])[..., 0]) / 2
    return over_tokens


def _rollout(blocks: Sequence[Tensor], gradients: Sequence[Tensor], view: int) -> Tensor:
    """Return what the encoder's states of a view hold of its tokens (E, E), rows summing to one."""
    rollout = None
    for weights, gradient in zip(blocks, gradients, strict=True):
        step = torch.eye(weights.shape[-1]) + _positive_relevance(weights[view], gradient[view])
        with torch.autocast("cpu", enabled=False):
            # Blocks after a ViT's own may leave out its prefix tokens, which stand first.
            rollout = step if rollout is None else step @ rollout[-len(step) :]
    assert rollout is not None
    return rollout / rollout.sum(dim=-1, keepdim=True)


def _log_probs_and_weights(
    model: CaptionModel, states: Tensor, ids: Sequence[int], copies: int = 1
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return log-probabilities (copies, P) of ``ids``, and the cross-attention (copies, heads, P, S) of each layer."""
    input_ids = torch.tensor([list(ids)], device=states.device).expand(copies, -1)
    output = model(input_ids[:, :-1], states, output_attentions=True)
    log_probs = output.logits.float().log_softmax(dim=-1).gather(2, input_ids[:, 1:, None])[..., 0]
    return log_probs, output.cross_attentions


def _positive_relevance(weights: Tensor, gradient: Tensor) -> Tensor:
    """Return Ā of Chefer et al. 2021, equation 5: (heads, rows, columns) → (rows, columns)."""
    return (weights * gradient).float().clamp(min=0).mean(dim=0).detach().cpu()


def open_encoder(encoder: nn.Module) -> tuple[nn.Module, list[Tensor]]:
    """Return a copy of the encoder with the same parameters, and a list that it fills, when it runs, with its weights.

    The weights are those of its blocks (1, heads, E, E). Only the modules are copied: the model keeps its fused kernel
    and gets no hook.
    """
    opened = copy_modules(encoder)
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
    """Turn dropout off inside, and leave every part as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class TorchReader:
    """A model as an :class:`~wordgaze.explanation.attentions.AttentionReader`."""

    has_gradients = True

    def __init__(self, model: CaptionModel) -> None:
        self._model = model

    @property
    def decoder(self) -> DecoderConfig:
        return self._model.config.decoder

    @property
    def grid(self) -> tuple[int, int]:
        return self._model.grid

    @property
    def num_prefix(self) -> int:
        return self._model.num_prefix

    def forced_passes(self, states: Tensor, captions: Sequence[Sequence[int]]) -> list[ForcedPass]:
        return forced_passes(self._model, states, captions)

    def with_gradients(self, states: Tensor, ids: Sequence[int], forced: ForcedPass) -> ForcedPass:
        return with_gradients(self._model, states, ids, forced)

    def with_rollout(self, pixel_values: Tensor, ids: Sequence[int], forced: ForcedPass, hflip_tta: bool) -> ForcedPass:
        return with_rollout(self._model, pixel_values, ids, forced, hflip_tta)
