"""A torch decoder as a search sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.stepper import NEVER, Continuations
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.inference import for_captions

_CHUNK = 64


class Cache(Protocol):
    """What a decoder remembers of its rows and photos."""

    def reorder(self, rows: Tensor) -> None: ...

    def keep_photos(self, photos: Tensor, rows: Tensor) -> None: ...


class DecoderModel(Protocol):
    """What a search needs of a model."""

    def start(self, encoder_hidden_states: Tensor) -> Any: ...

    def decode(self, input_ids: Tensor, cache: Any) -> Tensor: ...


class TorchStepper:
    """A decoder over photos (B, N, D), which no gradient goes through."""

    @torch.no_grad()
    def __init__(self, model: DecoderModel, encoder_hidden_states: Tensor) -> None:
        self.num_photos = len(encoder_hidden_states)
        self._model = model
        self._device = encoder_hidden_states.device
        self._cache: Cache = model.start(encoder_hidden_states)

    @torch.no_grad()
    def step(self, ids: np.ndarray) -> TorchLogProbs:
        logits = self._model.decode(_tensor(ids, self._device), self._cache)
        return TorchLogProbs(logits.float().log_softmax(dim=-1))

    def reorder(self, rows: np.ndarray) -> None:
        self._cache.reorder(_tensor(rows, self._device))

    def keep_photos(self, photos: np.ndarray, rows: np.ndarray) -> None:
        self._cache.keep_photos(_tensor(photos, self._device), _tensor(rows, self._device))


def fast_stepper(model: CaptionModel, encoder_hidden_states: Tensor) -> TorchStepper:
    """Return ``model``'s stepper over photos (B, N, D), with what computes its decoder fastest here."""
    return TorchStepper(for_captions(model), encoder_hidden_states)


class TorchLogProbs:
    """Log-probabilities (R, V), which are changed in place."""

    def __init__(self, log_probs: Tensor) -> None:
        self._log_probs = log_probs
        self._device = log_probs.device

    def forbid(self, ids: Sequence[int], rows: np.ndarray, row_ids: np.ndarray, end_id: int) -> None:
        log_probs = self._log_probs
        ends = log_probs[:, end_id].clone()
        log_probs[:, list(ids)] = NEVER
        if len(rows):
            log_probs[_tensor(rows, self._device), _tensor(row_ids, self._device)] = NEVER
        stuck = log_probs.amax(dim=1) == NEVER
        log_probs[:, end_id] = torch.where(stuck, ends, log_probs[:, end_id])

    def likeliest(self) -> tuple[np.ndarray, np.ndarray]:
        log_probs, ids = self._log_probs.max(dim=1)
        return ids.cpu().numpy(), log_probs.cpu().numpy()

    def sample(self, draws: np.ndarray, options: GenerationOptions) -> tuple[np.ndarray, np.ndarray]:
        cut = truncate(self._log_probs / options.temperature, options.top_k, options.top_p)
        mass = cut.double().softmax(dim=-1).cumsum(-1)
        # The cumulative distribution, inverted.
        ids = torch.searchsorted(mass, _tensor(draws, self._device)[:, None] * mass[:, -1:], right=True)
        ids = ids.clamp(max=mass.shape[1] - 1)
        return ids[:, 0].cpu().numpy(), self._log_probs.gather(1, ids)[:, 0].cpu().numpy()

    def continuations(self, totals: np.ndarray, count: int) -> Continuations:
        photos, beams = totals.shape
        vocab_size = self._log_probs.shape[1]
        sums = (self._log_probs + _tensor(totals, self._device).view(-1, 1)).view(photos, -1)
        best, indices = top(sums, min(count, sums.shape[1]))
        parents = indices // vocab_size + torch.arange(photos, device=self._device)[:, None] * beams
        ids = indices % vocab_size
        values = (best, parents, ids, self._log_probs[parents, ids])
        return Continuations(*(value.cpu().numpy() for value in values))


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values).to(device)


def top(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the ``count`` largest of each row of ``values`` (B, M), largest first, and where they are.

    As ``values.topk(count)``, which looks at each value by itself; here only those of chunks that can hold one are
    looked at, and a chunk's largest is found by vector instructions.
    """
    rows, length = values.shape
    chunks = length // _CHUNK
    if chunks <= count:
        return values.topk(count, dim=1)
    chunked = values[:, : chunks * _CHUNK].view(rows, chunks, _CHUNK)
    # The rest, less than a chunk, is always looked at.
    rest = torch.arange(chunks * _CHUNK, length, device=values.device).expand(rows, -1)
    best_chunks = chunked.amax(dim=2).topk(count, dim=1).indices
    positions = best_chunks[:, :, None] * _CHUNK + torch.arange(_CHUNK, device=values.device)
    positions = torch.cat((positions.flatten(1), rest), dim=1)
    best, order = values.gather(1, positions).topk(count, dim=1)
    return best, positions.gather(1, order)


def truncate(log_probs: Tensor, top_k: int, top_p: float) -> Tensor:
    """Return ``log_probs`` (R, V) with -inf outside the ``top_k`` likeliest ids, and then outside the nucleus.

    The nucleus is the smallest set whose mass reaches ``top_p`` (Holtzman et al. 2020).
    """
    truncated = log_probs
    if top_k and top_k < truncated.shape[-1]:
        smallest = truncated.topk(top_k, dim=-1).values[..., -1:]
        truncated = truncated.masked_fill(truncated < smallest, NEVER)
    if top_p < 1:
        ordered, order = truncated.sort(dim=-1, descending=True)
        mass = ordered.softmax(dim=-1)
        beyond = mass.cumsum(dim=-1) - mass >= top_p
        beyond[..., 0] = False  # the likeliest stays, also where ``top_p`` is nothing in float32
        truncated = truncated.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), NEVER)
    return truncated
