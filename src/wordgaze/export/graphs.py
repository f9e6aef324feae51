"""What of a model becomes an ONNX file, as modules with tensors in and tensors out.

Three files: the encoder runs once per photo, and so does what turns its states into the decoder's keys and values; the
decoder runs once per step. Letters: B photos, C captions or beams of each, T new tokens, S tokens read before,
N patches, D width, d = D / heads, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wordgaze.model.attention import Attention
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.decoder import Decoder, DecoderBlock


class EncoderGraph(nn.Module):
    """Turn ``pixel_values`` (B, 3, H, W) into ``encoder_hidden_states`` (B, N, D)."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model.bridge(self.model.encoder(pixel_values))


class PatchesGraph(nn.Module):
    """Turn ``encoder_hidden_states`` (B, N, D) into keys and values of each layer, each (B, heads, N, d)."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, encoder_hidden_states: Tensor) -> tuple[Tensor, ...]:
        attentions = [block.cross_attention for block in self.decoder.blocks]
        return tuple(
            _split_heads(projection(encoder_hidden_states), attention.heads)
            for attention in attentions
            for projection in (attention.key, attention.value)
        )


class StepGraph(nn.Module):
    """Read ``input_ids`` (B, C, T) after S others: log-probabilities, the cache with the new tokens, and weights.

    ``caches``: of each layer keys and values of the patches, each (B, heads, N, d), then of each layer those of the
    tokens, each (B, C, heads, S, d). A photo's C captions share its patches: their queries are laid end to end.
    Outputs: ``log_probs`` (B, C, T, V) of what comes after each token; the tokens' keys and values
    (B, C, heads, S + T, d); of each layer the weights over patches, (B, heads, C, T, N), then over tokens,
    (B, C, heads, T, S + T).
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        layers = len(self.decoder.blocks)
        patches, tokens = caches[: 2 * layers], caches[2 * layers :]
        past, length = tokens[0].shape[3], input_ids.shape[2]
        positions = torch.arange(past, past + length)
        hidden = self.decoder.token_embedding(input_ids) + self.decoder.position_embedding(positions)
        hidden = self.decoder.embedding_norm(hidden)
        # Position t of the new ones sees the past, itself, and the new ones before it.
        hides = torch.arange(past + length) > positions[:, None]
        grown: list[Tensor] = []
        over_patches: list[Tensor] = []
        over_tokens: list[Tensor] = []
        for index, block in enumerate(self.decoder.blocks):
            own = slice(2 * index, 2 * index + 2)
            hidden, key_value, weights = _block(block, hidden, patches[own], tokens[own], hides)
            grown += key_value
            over_tokens.append(weights[0])
            over_patches.append(weights[1])
        hidden = self.decoder.head(self.decoder.final_norm(hidden))
        logits = nn.functional.linear(hidden, self.decoder.token_embedding.weight, self.decoder.logits_bias)
        return logits.log_softmax(dim=-1), *grown, *over_patches, *over_tokens


def _block(
    block: DecoderBlock, hidden: Tensor, patches: tuple[Tensor, ...], tokens: tuple[Tensor, ...], hides: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return ``hidden`` (B, C, T, D), the tokens' keys and values, and the weights over tokens and patches."""
    captions, length = hidden.shape[1:3]
    read = block._before(block.self_norm, hidden)
    attention = block.self_attention
    new = (_split_heads(projection(read), attention.heads) for projection in (attention.key, attention.value))
    key, value = (torch.cat(pair, dim=3) for pair in zip(tokens, new, strict=True))
    scores = _split_heads(attention.query(read), attention.heads) @ key.transpose(-2, -1) / _root(attention)
    over_tokens = scores.masked_fill(hides, float("-inf")).softmax(dim=-1)
    hidden = block._add(block.self_norm, hidden, attention.output(_join_heads(over_tokens @ value)))

    attention = block.cross_attention
    query = attention.query(block._before(block.cross_norm, hidden)).flatten(1, 2)
    scores = _split_heads(query, attention.heads) @ patches[0].transpose(-2, -1) / _root(attention)
    weights = scores.softmax(dim=-1)  # (B, heads, C·T, N)
    mixed = attention.output(_join_heads(weights @ patches[1]).unflatten(1, (captions, length)))
    hidden = block._add(block.cross_norm, hidden, mixed)
    hidden = block._add(block.mlp_norm, hidden, block.mlp(block._before(block.mlp_norm, hidden)))
    return hidden, (key, value), (over_tokens, weights.unflatten(2, (captions, length)))


def _root(attention: Attention) -> float:
    return math.sqrt(attention.query.out_features // attention.heads)


def _split_heads(projected: Tensor, heads: int) -> Tensor:
    """Split the heads: (..., S, D) → (..., heads, S, d)."""
    return projected.unflatten(-1, (heads, projected.shape[-1] // heads)).transpose(-3, -2)


def _join_heads(separate: Tensor) -> Tensor:
    """Join the heads: (..., heads, S, d) → (..., S, D)."""
    return separate.transpose(-3, -2).flatten(-2)
