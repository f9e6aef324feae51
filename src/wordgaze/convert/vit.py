"""Vision Transformers: BLIP's, and transformers' ViT and DeiT, as timm's."""

from __future__ import annotations

import torch

from wordgaze.convert.fields import Fields
from wordgaze.convert.recipe import Recipes
from wordgaze.model.config import EncoderConfig, VitShape


def vit_config(
    fields: Fields, name: str, *, image_size: int, norm_eps: float, num_prefix_tokens: int = 1
) -> EncoderConfig:
    """Return the encoder of a ViT's configuration; the keywords are what its class has by default, or always."""
    fields.must_be("num_channels", 3, 3, "photos have 3 channels")
    patch = fields.side("patch_size", 16)
    if patch[0] != patch[1]:
        raise fields.refused("patch_size", "patches that are not square can't be expressed here")
    size = fields.side("image_size", image_size)
    if size[0] % patch[0] or size[1] % patch[0]:
        raise fields.refused("image_size", f"it does not divide into patches of {patch[0]} pixels")
    width, heads = fields.whole("hidden_size", 768), fields.whole("num_attention_heads", 12)
    if width % heads:
        raise fields.refused("hidden_size", f"it does not divide into {heads} heads")
    fields.must_be("head_dim", width // heads, width // heads, "heads of another width can't be expressed here")
    return EncoderConfig(
        name=name,
        image_size=size,
        prefix_tokens=True,
        norm_eps=fields.number("layer_norm_eps", norm_eps),
        vit=VitShape(
            patch_size=patch[0],
            width=width,
            layers=fields.whole("num_hidden_layers", 12),
            heads=heads,
            mlp_width=fields.whole("intermediate_size", 3072),
            qkv_bias=fields.flag("qkv_bias", True),
            num_prefix_tokens=num_prefix_tokens,
            activation=fields.activation("hidden_act", "gelu"),
        ),
    )


def blip_vit(shape: VitShape) -> Recipes:
    """Return the recipes of BLIP's vision model."""
    recipes = Recipes(unused=[r"embeddings\.position_ids"])
    recipes.add("cls_token", "embeddings.class_embedding")
    recipes.add("pos_embed", "embeddings.position_embedding")
    recipes.add_layer("patch_embed.proj", "embeddings.patch_embedding")
    recipes.add_layer("norm", "post_layernorm")
    for index in range(shape.layers):
        block, layer = f"blocks.{index}", f"encoder.layers.{index}"
        recipes.add_layer(f"{block}.norm1", f"{layer}.layer_norm1")
        recipes.add_layer(f"{block}.norm2", f"{layer}.layer_norm2")
        recipes.add_layer(f"{block}.attn.qkv", f"{layer}.self_attn.qkv")
        recipes.add_layer(f"{block}.attn.proj", f"{layer}.self_attn.projection")
        recipes.add_layer(f"{block}.mlp.fc1", f"{layer}.mlp.fc1")
        recipes.add_layer(f"{block}.mlp.fc2", f"{layer}.mlp.fc2")
    return recipes


def transformers_vit(shape: VitShape) -> Recipes:
    """Return the recipes of a ViTModel or DeiTModel; its pooler is not used by a decoder."""
    recipes = Recipes(unused=[r"pooler\..*", r"embeddings\.mask_token"])
    recipes.add("cls_token", "embeddings.cls_token")
    if shape.num_prefix_tokens > 1:
        recipes.add("reg_token", "embeddings.distillation_token")
    recipes.add("pos_embed", "embeddings.position_embeddings")
    recipes.add_layer("patch_embed.proj", "embeddings.patch_embeddings.projection")
    recipes.add_layer("norm", "layernorm")
    for index in range(shape.layers):
        block, layer = f"blocks.{index}", f"encoder.layer.{index}"
        recipes.add_layer(f"{block}.norm1", f"{layer}.layernorm_before")
        recipes.add_layer(f"{block}.norm2", f"{layer}.layernorm_after")
        for kind in ("weight", "bias") if shape.qkv_bias else ("weight",):
            parts = [f"{layer}.attention.attention.{part}.{kind}" for part in ("query", "key", "value")]
            recipes.add(f"{block}.attn.qkv.{kind}", *parts, combine=lambda *given: torch.cat(given))
        recipes.add_layer(f"{block}.attn.proj", f"{layer}.attention.output.dense")
        recipes.add_layer(f"{block}.mlp.fc1", f"{layer}.intermediate.dense")
        recipes.add_layer(f"{block}.mlp.fc2", f"{layer}.output.dense")
    return recipes
