"""Decoders of BERT's shape: BERT, RoBERTa and BLIP's text part, with a norm after each part."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from wordgaze.convert.fields import Fields
from wordgaze.convert.recipe import Recipes
from wordgaze.model.config import DecoderConfig


def bert_config(
    fields: Fields,
    *,
    vocab_size: int,
    heads: int = 12,
    dropout: float = 0.1,
    first_position: int = 0,
    source_width: int | None = None,
    head_activation: str | None = None,
) -> DecoderConfig:
    """Return the decoder of a BERT's configuration; the keywords are what its class has by default, or always.

    ``first_position``: the row of the position embeddings that the start token gets.
    """
    if not fields.get("is_decoder", True):
        raise fields.refused("is_decoder", "a BERT that reads both ways writes no captions")
    fields.must_be("position_embedding_type", "absolute", "absolute", "other positions can't be expressed here")
    positions = fields.whole("max_position_embeddings", 512) - first_position
    if positions < 2:
        raise fields.refused("max_position_embeddings", f"{first_position} of them come before the first word")
    width, heads = fields.whole("hidden_size", 768), fields.whole("num_attention_heads", heads)
    if width % heads:
        raise fields.refused("hidden_size", f"it does not divide into {heads} heads")
    return DecoderConfig(
        vocab_size=fields.whole("vocab_size", vocab_size),
        width=width,
        layers=fields.whole("num_hidden_layers", 12),
        heads=heads,
        mlp_width=fields.whole("intermediate_size", 3072),
        positions=positions,
        dropout=fields.number("hidden_dropout_prob", dropout),
        norm="post",
        norm_eps=fields.number("layer_norm_eps", 1e-12),
        activation=fields.activation("hidden_act", "gelu"),
        embedding_norm=True,
        source_width=source_width,
        head="bert",
        head_activation=head_activation,
    )


def bert_body(layers: int, *, token_types: bool, first_position: int = 0) -> Recipes:
    """Return the recipes of embeddings and blocks. The first token type, of all words, goes into the positions."""
    recipes = Recipes(unused=[r"embeddings\.(position_ids|token_type_ids)", r"pooler\..*"])
    recipes.add("token_embedding.weight", "embeddings.word_embeddings.weight")
    sources = ["embeddings.position_embeddings.weight"]
    if token_types:
        sources.append("embeddings.token_type_embeddings.weight")
    recipes.add("position_embedding.weight", *sources, combine=partial(_positions, first_position))
    recipes.add_layer("embedding_norm", "embeddings.LayerNorm")
    for index in range(layers):
        block, layer = f"blocks.{index}", f"encoder.layer.{index}"
        for ours, theirs in (("self", "attention"), ("cross", "crossattention")):
            for part in ("query", "key", "value"):
                recipes.add_layer(f"{block}.{ours}_attention.{part}", f"{layer}.{theirs}.self.{part}")
            recipes.add_layer(f"{block}.{ours}_attention.output", f"{layer}.{theirs}.output.dense")
            recipes.add_layer(f"{block}.{ours}_norm", f"{layer}.{theirs}.output.LayerNorm")
        recipes.add_layer(f"{block}.mlp.0", f"{layer}.intermediate.dense")
        recipes.add_layer(f"{block}.mlp.2", f"{layer}.output.dense")
        recipes.add_layer(f"{block}.mlp_norm", f"{layer}.output.LayerNorm")
    return recipes


def bert_head(dense: str, norm: str, output: str, bias: str) -> Recipes:
    """Return the recipes of the head, given the names of its parts: linear, activation, norm, tied weights and bias."""
    recipes = Recipes(tied={f"{output}.bias": bias})
    recipes.add_layer("head.0", dense)
    recipes.add_layer("head.2", norm)
    recipes.add("logits_bias", bias)
    return recipes


def _positions(first: int, positions: Tensor, token_types: Tensor | None = None) -> Tensor:
    positions = positions[first:]
    return positions if token_types is None else positions + token_types[0]
