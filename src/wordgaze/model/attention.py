"""Multi-head attention: among words, and from words to patches.

``softmax(QKᵀ/√d)V`` (Vaswani et al. 2017, section 3.2). The softmax rows of the cross-attention are the word-to-region
maps. Letters: B photos, C captions (or beams) per photo, R = B·C rows, T tokens, N patches, D width, d = D / heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """One module for self- and cross-attention; they differ only in where keys and values come from.

    ``source_width``: of what keys and values are made of, by default ``width``. ``fused_attn``, as in timm: torch's
    fused kernel, unless weights are asked for.
    """

    def __init__(self, width: int, heads: int, source_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.fused_attn = True
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width or width, width)
        self.value = nn.Linear(source_width or width, width)
        self.output = nn.Linear(width, width)

    def key_value(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of ``source`` (rows, S, D), each (rows, heads, S, d)."""
        return self._split_heads(self.key(source)), self._split_heads(self.value(source))

    def forward(
        self,
        hidden: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        causal: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from ``hidden`` (R, T, D) to ``key`` and ``value``, each (R or B, heads, S, d).

        With B < R, the C = R / B rows of a photo share its keys and values: their queries are laid end to end, so
        nothing is copied. ``causal``: position t of the last T sees S - T + t + 1 keys. Return (R, T, D) and, when
        asked for, the weights (R, heads, T, S), whose rows sum to one.
        """
        rows, length, width = hidden.shape
        sources, _, source_length, head_width = key.shape
        shared = rows // sources
        query = self.query(hidden).reshape(sources, shared * length, self.heads, head_width).transpose(1, 2)
        mask = None
        if causal and length > 1:
            mask = torch.ones(length, source_length, dtype=torch.bool, device=hidden.device)
            mask = mask.tril(source_length - length)
        weights = None
        if self.fused_attn and not output_attentions:
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            scores = query @ key.transpose(-2, -1) / math.sqrt(head_width)
            if mask is not None:
                scores = scores.masked_fill(~mask, float("-inf"))
            joined = scores.softmax(dim=-1)
            if output_attentions:
                # What is returned lies on the way to the output, so that gradients reach it.
                weights = joined.reshape(sources, self.heads, shared, length, source_length)
                weights = weights.transpose(1, 2).reshape(rows, self.heads, length, source_length)
                separate = weights.reshape(sources, shared, self.heads, length, source_length)
                joined = separate.transpose(1, 2).reshape(sources, self.heads, -1, source_length)
            attended = joined @ value
        return self.output(attended.transpose(1, 2).reshape(rows, length, width)), weights

    def attend_unprojected(
        self, hidden: Tensor, source: Tensor, *, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return what :meth:`forward` does with ``key_value(source)``, which is never made; ``source`` (B, S, D).

        ``q·(W_K s) = (W_Kᵀ q)·s``, and likewise for the values (DeepSeek-AI 2024, DeepSeek-V2, section 2.1.2). A key's
        bias adds the same to all scores of a query; a value's, whose weights sum to one, is added as it is. This costs
        less than keys and values for a few queries a photo: see :meth:`queries_worth_projecting`.
        """
        rows, length, width = hidden.shape
        photos, _, source_width = source.shape
        head_width = width // self.heads
        query = self.query(hidden).view(-1, self.heads, head_width).transpose(0, 1)
        query = query @ self.key.weight.view(self.heads, head_width, source_width)  # (heads, R·T, D)
        query = query.unflatten(1, (photos, -1)).transpose(0, 1).flatten(1, 2)  # (B, heads·C·T, D)
        weights = (query @ source.transpose(1, 2) / math.sqrt(head_width)).softmax(dim=-1)
        attended = (weights @ source).unflatten(1, (self.heads, -1)).transpose(0, 1).flatten(1, 2)
        attended = attended @ self.value.weight.view(self.heads, head_width, source_width).transpose(1, 2)
        attended = attended.transpose(0, 1).reshape(rows, length, width) + self.value.bias
        if not output_attentions:
            return self.output(attended), None
        weights = weights.unflatten(1, (self.heads, rows // photos, length)).transpose(1, 2).flatten(0, 1)
        return self.output(attended), weights

    def _split_heads(self, projected: Tensor) -> Tensor:
        """Split the heads: (rows, S, D) → (rows, heads, S, d)."""
        rows, length, width = projected.shape
        return projected.view(rows, length, self.heads, width // self.heads).transpose(1, 2)
