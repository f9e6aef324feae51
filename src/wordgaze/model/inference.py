"""The decoder's arithmetic arranged for captions on a CPU: a step at a time, without gradients or maps.

It gives the logits of :class:`~wordgaze.model.decoder.Decoder`, the readable one, up to rounding; a step reads less
memory and starts fewer operations. Letters as in :mod:`wordgaze.model.attention`.
"""

from __future__ import annotations

import math
from threading import Lock
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from wordgaze.model.attention import Attention
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.decoder import Decoder, DecoderBlock
from wordgaze.model.packed_linear import PackedLinear
from wordgaze.model.sharing import versions

# As many captions of a photo read its states; for more, keys and values are cheaper.
_UNPROJECTED = 3

_packed: WeakKeyDictionary[Decoder, tuple[list[tuple[int, int]], InferenceDecoder]] = WeakKeyDictionary()
_packing = Lock()


def for_captions(model: CaptionModel) -> CaptionModel | InferenceDecoder:
    """Return what writes captions for ``model``: on a CPU in float32 its decoder packed, else ``model`` itself.

    A decoder is packed once, and anew when its weights have changed (not through ``.data``, which no one can see).
    """
    decoder = model.decoder
    plain = all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in decoder.parameters())
    if type(decoder) is not Decoder or decoder.training or not plain or torch.is_autocast_enabled("cpu"):
        return model
    now = versions(decoder)
    with _packing:
        known = _packed.get(decoder)
        if known is None or known[0] != now:
            _packed[decoder] = known = now, InferenceDecoder(decoder)
    return known[1]


class InferenceDecoder:
    """A ``Decoder`` on a CPU whose weights have been packed once; it does not see later changes of them."""

    @torch.no_grad()
    def __init__(self, decoder: Decoder) -> None:
        config = decoder.config
        self.config = config
        self._tokens = decoder.token_embedding.weight.detach()
        self._positions = decoder.position_embedding.weight.detach()
        self._embedding_norm, self._final_norm = decoder.embedding_norm, decoder.final_norm
        self._blocks = [_Block(block, config.activation) for block in decoder.blocks]
        self._bert_head = None
        if config.head == "bert":
            linear, norm = cast(nn.Linear, decoder.head[0]), decoder.head[2]
            self._bert_head = PackedLinear.of([linear], config.head_activation or config.activation), norm
        self._head = PackedLinear(self._tokens, decoder.logits_bias)

    def start(self, encoder_hidden_states: Tensor) -> InferenceCache:
        """Return a cache for :meth:`decode`: photos (B, N, D) before any word."""
        return InferenceCache(self._blocks, encoder_hidden_states)

    def decode(self, input_ids: Tensor, cache: InferenceCache) -> Tensor:
        """Return logits (R, V) of the word after ``input_ids`` (R, T), which follow what ``cache`` holds."""
        rows, length = input_ids.shape
        start = cache.length
        hidden = self._tokens[input_ids] + self._positions[start : start + length]
        hidden = self._embedding_norm(hidden.flatten(0, 1))
        words = cache.add_words(rows, length)
        mask = None
        if length > 1:
            mask = torch.ones(length, start + length, dtype=torch.bool).tril(start)
        for layer, block in enumerate(self._blocks):
            hidden = block(hidden, words[:, :, layer], mask, cache.patches(layer, rows), rows)
        hidden = self._final_norm(hidden.unflatten(0, (rows, length))[:, -1])
        if self._bert_head is not None:
            linear, norm = self._bert_head
            hidden = norm(linear(hidden))
        return self._head(hidden)


class InferenceCache:
    """The words so far and the photos, as :class:`~wordgaze.model.cache.DecoderCache` has them.

    Photos are read as they are while each has few captions; then their keys and values are made, once.
    """

    def __init__(self, blocks: list[_Block], states: Tensor) -> None:
        self.length = 0
        self._blocks = blocks
        self._states = states.contiguous()
        self._key_values: list[Tensor] = []  # a layer's: (B, N, 2, heads, d)
        self._words = self._spare = states.new_empty(0)  # (S or more, R, layers, 2, D)

    def add_words(self, rows: int, count: int) -> Tensor:
        """Return room for the keys and values of all words so far and ``count`` more, (S, R, layers, 2, D)."""
        start, self.length = self.length, self.length + count
        if len(self._words) < self.length:
            longer = self._states.new_empty(2 * self.length + 8, rows, len(self._blocks), 2, self._blocks[0].width)
            if start:
                longer[:start] = self._words[:start]
            self._words = longer
        return self._words[: self.length]

    def patches(self, layer: int, rows: int) -> Tensor:
        """Return what words look at: the states (B, N, D), or keys and values of a layer (B, N, 2, heads, d)."""
        if rows > _UNPROJECTED * len(self._states) and not self._key_values:
            self._key_values = [block.cross.key_value(self._states) for block in self._blocks]
        return self._key_values[layer] if self._key_values else self._states

    def reorder(self, rows: Tensor) -> None:
        """Let row i be what row ``rows[i]`` was."""
        words, spare = self._words, self._spare
        if len(rows) == words.shape[1] and torch.equal(rows, torch.arange(len(rows))):
            return
        shape = len(words), len(rows), *words.shape[2:]
        if spare.shape != shape:  # memory that was never touched is slow
            spare = words.new_empty(shape)
        torch.index_select(words[: self.length], 1, rows, out=spare[: self.length])
        self._words, self._spare = spare, words

    def keep_photos(self, photos: Tensor, rows: Tensor) -> None:
        """Drop finished photos: those at ``photos`` and their captions at ``rows`` stay, in that order."""
        self._states = self._states[photos]
        self._key_values = [key_value[photos] for key_value in self._key_values]
        self.reorder(rows)


class _Block:
    """The arithmetic of a ``DecoderBlock``."""

    def __init__(self, block: DecoderBlock, activation: str) -> None:
        self.norm_first = block.norm_first
        self.width = block.self_attention.query.in_features
        self.heads = block.self_attention.heads
        self.self_norm, self.cross_norm, self.mlp_norm = block.self_norm, block.cross_norm, block.mlp_norm
        attention = block.self_attention
        self.query_key_value = PackedLinear.of([attention.query, attention.key, attention.value])
        self.self_output = PackedLinear.of([attention.output])
        self.cross = _CrossAttention(block.cross_attention)
        self.mlp_in = PackedLinear.of([cast(nn.Linear, block.mlp[0])], activation)
        self.mlp_out = PackedLinear.of([cast(nn.Linear, block.mlp[2])])

    def __call__(self, hidden: Tensor, words: Tensor, mask: Tensor | None, patches: Tensor, rows: int) -> Tensor:
        """Return ``hidden`` (R·T, D) after the block; its keys and values are put into ``words`` (S, R, 2, D)."""
        mixed = self._over_words(self._before(self.self_norm, hidden), words, mask, rows)
        hidden = self._add(self.self_norm, hidden, mixed)
        mixed = self.cross(self._before(self.cross_norm, hidden), patches)
        hidden = self._add(self.cross_norm, hidden, mixed)
        mixed = self.mlp_out(self.mlp_in(self._before(self.mlp_norm, hidden)))
        return self._add(self.mlp_norm, hidden, mixed)

    def _over_words(self, hidden: Tensor, words: Tensor, mask: Tensor | None, rows: int) -> Tensor:
        read = self.query_key_value(hidden).view(rows, -1, 3, self.width)
        length = read.shape[1]
        words[-length:] = read[:, :, 1:].transpose(0, 1)
        query = read[:, :, 0].unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = words.unflatten(3, (self.heads, -1)).permute(2, 1, 3, 0, 4)  # each (R, heads, S, d)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.self_output(attended.transpose(1, 2).reshape(rows * length, self.width))

    def _before(self, norm: nn.Module, hidden: Tensor) -> Tensor:
        return norm(hidden) if self.norm_first else hidden

    def _add(self, norm: nn.Module, hidden: Tensor, added: Tensor) -> Tensor:
        hidden = added.add_(hidden)
        return hidden if self.norm_first else norm(hidden)


class _CrossAttention:
    """Attention from words to patches; its keys and values may stay unmade."""

    def __init__(self, attention: Attention) -> None:
        self.heads = attention.heads
        self.query = PackedLinear.of([attention.query])
        self.keys_and_values = PackedLinear.of([attention.key, attention.value])
        self.output = PackedLinear.of([attention.output])
        by_head = (self.heads, -1)
        self.key_weight = attention.key.weight.detach().unflatten(0, by_head)  # (heads, d, D)
        self.value_weight = attention.value.weight.detach().unflatten(0, by_head).transpose(1, 2)  # (heads, D, d)
        self.value_bias = attention.value.bias.detach()

    def key_value(self, states: Tensor) -> Tensor:
        """Return keys and values (B, N, 2, heads, d) of photos (B, N, D)."""
        made = self.keys_and_values(states.flatten(0, 1))
        return made.view(*states.shape[:2], 2, self.heads, -1)

    def __call__(self, hidden: Tensor, patches: Tensor) -> Tensor:
        """Attend from ``hidden`` (R·T, D) to ``patches``: states (B, N, D), or keys and values."""
        query = self.query(hidden).view(len(hidden), self.heads, -1)
        attend = self._attend_states if patches.ndim == 3 else self._attend
        return self.output(attend(query, patches))

    def _attend(self, query: Tensor, key_value: Tensor) -> Tensor:
        key, value = key_value.permute(2, 0, 3, 1, 4)  # each (B, heads, N, d)
        # The rows of a photo, end to end: they share its keys and values.
        query = query.unflatten(0, (len(key), -1)).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return attended.transpose(1, 2).flatten(0, 1).flatten(1, 2)

    def _attend_states(self, query: Tensor, states: Tensor) -> Tensor:
        """Attend to ``W_K s + b_K`` and ``W_V s + b_V``, which are never made (DeepSeek-V2 2024, section 2.1.2).

        ``q·(W_K s) = (W_Kᵀ q)·s``, and likewise for the values. A key's bias adds the same to all scores of a query; a
        value's is added as it is, since the weights sum to one.
        """
        photos, head_width = len(states), query.shape[2]
        query = query.transpose(0, 1) @ self.key_weight  # (heads, R·T, D)
        query = query.unflatten(1, (photos, -1)).transpose(0, 1).flatten(1, 2)  # (B, heads·C·T, D)
        scores = query @ states.transpose(1, 2)
        weights = scores.mul_(1 / math.sqrt(head_width)).softmax(dim=-1)
        attended = (weights @ states).unflatten(1, (self.heads, -1)).transpose(0, 1).flatten(1, 2)
        attended = (attended @ self.value_weight).transpose(0, 1).flatten(1, 2)
        return attended + self.value_bias
