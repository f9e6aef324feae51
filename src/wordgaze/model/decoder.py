"""The decoder: blocks of self-attention, cross-attention to the patches, and an MLP.

Its norms stand before each part, as in GPT-2 (Radford et al. 2019, section 2.3), or after it, as in BERT and BLIP. Its
numbers equal those of transformers' decoders of these families for the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from wordgaze.model.attention import Attention
from wordgaze.model.cache import DecoderCache
from wordgaze.model.config import DecoderConfig

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass
class DecoderOutput:
    """``logits`` (R, T, V), or (n, V) at n positions; when asked for, the weights of each layer.

    Weights over patches are (R, heads, T, N), over words (R, heads, T, S).
    """

    logits: Tensor
    cross_attentions: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention, MLP; each is added to the stream, with its norm before it or after the sum."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_first = config.norm == "pre"
        self.self_norm = nn.LayerNorm(width, config.norm_eps)
        self.self_attention = Attention(width, config.heads)
        self.cross_norm = nn.LayerNorm(width, config.norm_eps)
        self.cross_attention = Attention(width, config.heads, config.source_width)
        self.mlp_norm = nn.LayerNorm(width, config.norm_eps)
        hidden = config.mlp_width or int(width * config.mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), _ACTIVATIONS[config.activation](), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, cache: DecoderCache, layer: int, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return ``hidden`` (R, T, D) after the block and, when asked for, the weights over words and over patches."""
        read = self._before(self.self_norm, hidden)
        words = cache.append(layer, *self.self_attention.key_value(read))
        mixed, self_weights = self.self_attention(read, *words, causal=True, output_attentions=output_attentions)
        hidden = self._add(self.self_norm, hidden, mixed)
        mixed, cross_weights = self.cross_attention(
            self._before(self.cross_norm, hidden), *cache.patches[layer], output_attentions=output_attentions
        )
        hidden = self._add(self.cross_norm, hidden, mixed)
        hidden = self._add(self.mlp_norm, hidden, self.mlp(self._before(self.mlp_norm, hidden)))
        return hidden, self_weights, cross_weights

    def _before(self, norm: nn.Module, hidden: Tensor) -> Tensor:
        return norm(hidden) if self.norm_first else hidden

    def _add(self, norm: nn.Module, hidden: Tensor, added: Tensor) -> Tensor:
        hidden = hidden + self.dropout(added)
        return hidden if self.norm_first else norm(hidden)


class Decoder(nn.Module):
    """Turn ids and patches into logits; input and output embeddings are tied (Press and Wolf 2017)."""

    blocks: Sequence[DecoderBlock]

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.positions, config.width)
        self.embedding_norm = _norm_if(config.embedding_norm, config)
        self.dropout = nn.Dropout(config.dropout)
        blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.blocks = cast(Sequence[DecoderBlock], blocks)
        self.final_norm = _norm_if(config.norm == "pre", config)
        self.head = _bert_head(config) if config.head == "bert" else nn.Sequential()
        self.logits_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.head == "bert" else None
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
        hidden = self.token_embedding(input_ids) + self.position_embedding(positions)
        hidden = self.dropout(self.embedding_norm(hidden))
        self_weights, cross_weights = [], []
        for layer, block in enumerate(self.blocks):
            hidden, over_words, over_patches = block(hidden, cache, layer, output_attentions)
            self_weights.append(over_words)
            cross_weights.append(over_patches)
        if logits_to_keep is not None:
            hidden = hidden[logits_to_keep]
        hidden = self.head(self.final_norm(hidden))
        logits = nn.functional.linear(hidden, self.token_embedding.weight, self.logits_bias)
        if not output_attentions:
            return DecoderOutput(logits)
        return DecoderOutput(logits, tuple(cross_weights), tuple(self_weights))


def _norm_if(there: bool, config: DecoderConfig) -> nn.Module:
    return nn.LayerNorm(config.width, config.norm_eps) if there else nn.Identity()


def _bert_head(config: DecoderConfig) -> nn.Sequential:
    """Return what BERT's head does before the tied weights: a layer, an activation, a norm."""
    return nn.Sequential(
        nn.Linear(config.width, config.width),
        _ACTIVATIONS[config.head_activation or config.activation](),
        nn.LayerNorm(config.width, config.norm_eps),
    )
