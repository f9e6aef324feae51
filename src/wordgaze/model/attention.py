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

    def _split_heads(self, projected: Tensor) -> Tensor:
        """Split the heads: (rows, S, D) → (rows, heads, S, d)."""
        rows, length, width = projected.shape
        return projected.view(rows, length, self.heads, width // self.heads).transpose(1, 2)
