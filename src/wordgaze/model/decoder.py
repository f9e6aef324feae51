"""The decoder: GPT-2's pre-norm blocks (Radford et al. 2019, section 2.3) with cross-attention to the patches.

Its numbers equal transformers' ``GPT2LMHeadModel(add_cross_attention=True)`` for the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from wordgaze.model.attention import Attention
from wordgaze.model.cache import DecoderCache
from wordgaze.model.config import DecoderConfig


@dataclass
class DecoderOutput:
    """``logits`` (R, T, V), or (n, V) at n positions; when asked for, the weights of each layer.

    Weights over patches are (R, heads, T, N), over words (R, heads, T, S).
    """

    logits: Tensor
    cross_attentions: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention, MLP; each on the normalized stream, each added to it."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width, config.heads)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width, config.heads)
        self.mlp_norm = nn.LayerNorm(width)
        hidden = int(width * config.mlp_ratio)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, cache: DecoderCache, layer: int, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return ``hidden`` (R, T, D) after the block and, when asked for, the weights over words and over patches."""
        normed = self.self_norm(hidden)
        words = cache.append(layer, *self.self_attention.key_value(normed))
        mixed, self_weights = self.self_attention(
            normed, *words, causal=True, output_attentions=output_attentions
        )
        hidden = hidden + self.dropout(mixed)
        mixed, cross_weights = self.cross_attention(
            self.cross_norm(hidden), *cache.patches[layer], output_attentions=output_attentions
        )
        hidden = hidden + self.dropout(mixed)
        hidden = hidden + self.dropout(self.mlp(self.mlp_norm(hidden)))
        return hidden, self_weights, cross_weights


class Decoder(nn.Module):
    """Turn ids and patches into logits; input and output embeddings are tied (Press and Wolf 2017)."""

    blocks: Sequence[DecoderBlock]

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.positions, config.width)
        self.dropout = nn.Dropout(config.dropout)
        blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.blocks = cast(Sequence[DecoderBlock], blocks)
        self.final_norm = nn.LayerNorm(config.width)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        # GPT-2's initialization: 0.02, and residual outputs scaled by the depth (Radford et al. 2019, section 2.3).
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, DecoderBlock):
            for last in (module.self_attention.output, module.cross_attention.output, module.mlp[-1]):
                nn.init.normal_(cast(nn.Linear, last).weight, std=0.02 / (3 * self.config.layers) ** 0.5)

    def start(self, encoder_hidden_states: Tensor) -> DecoderCache:
        """Return the cache of photos (B, N, D) before any word: their keys and values, computed once."""
        return DecoderCache([block.cross_attention.key_value(encoder_hidden_states) for block in self.blocks])

    def forward(
        self,
        input_ids: Tensor,
        cache: DecoderCache,
        output_attentions: bool = False,
        logits_to_keep: Tensor | None = None,
    ) -> DecoderOutput:
        """Read ``input_ids`` (R, T) after the words in ``cache``, and add them to it.

        ``logits_to_keep`` (R, T), booleans: compute logits at these positions alone.
        """
        start = len(cache)
        positions = torch.arange(start, start + input_ids.shape[1], device=input_ids.device)
        hidden = self.dropout(self.token_embedding(input_ids) + self.position_embedding(positions))
        self_weights, cross_weights = [], []
        for layer, block in enumerate(self.blocks):
            hidden, over_words, over_patches = block(hidden, cache, layer, output_attentions)
            self_weights.append(over_words)
            cross_weights.append(over_patches)
        if logits_to_keep is not None:
            hidden = hidden[logits_to_keep]
        logits = nn.functional.linear(self.final_norm(hidden), self.token_embedding.weight)
        if not output_attentions:
            return DecoderOutput(logits)
        return DecoderOutput(logits, tuple(cross_weights), tuple(self_weights))
