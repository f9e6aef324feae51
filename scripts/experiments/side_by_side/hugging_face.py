"""A ``VisionEncoderDecoderModel`` of our sizes, trained as transformers' guide to image captioning does.

One caption a row, AdamW with transformers' defaults (no weight decay, gradients clipped at a norm of 1), one rate for
encoder and decoder, the model's own loss, and ``generate``. Theirs falls linearly, here along the cosine of all arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

from wordgaze.errors import ConfigError
from wordgaze.training.config import DecoderShape
from wordgaze.training.dataset import TrainingBatch

from .budget import Learner, Plan, learn
from .budget import measure as measure_learner
from .common import Task, Trained

LEARNING_RATE = 1e-4
"""Transformers' default, 5e-5, is meant for a pretrained decoder; this one begins from random weights."""
NORM = 1.0


def build(task: Task) -> VisionEncoderDecoderModel:
    """Build the pretrained ViT, class token included, with a random GPT-2 that has cross-attention and our sizes."""
    network: Any = task.encoder().network
    tokenizer, sizes = task.tokenizer, task.config.decoder.shape
    ids = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        vit_config(network),
        gpt2_config(sizes, tokenizer.vocab_size, ids),
        decoder_start_token_id=tokenizer.bos_id,
        **ids,
    )
    model = VisionEncoderDecoderModel(config)
    model.encoder.pooler = None  # of no use to a decoder
    model.encoder.load_state_dict(vit_weights(network.state_dict()))
    return model


def gpt2_config(sizes: DecoderShape, vocab_size: int, ids: Mapping[str, int]) -> GPT2Config:
    return GPT2Config(
        vocab_size=vocab_size,
        n_positions=sizes.positions,
        n_embd=sizes.width,
        n_layer=sizes.layers,
        n_head=sizes.heads,
        n_inner=int(sizes.width * sizes.mlp_ratio),
        add_cross_attention=True,
        is_decoder=True,
        **ids,
    )


def vit_config(network: Any) -> ViTConfig:
    """Return the config of one of timm's plain ViTs."""
    block = network.blocks[0]
    return ViTConfig(
        hidden_size=network.embed_dim,
        num_hidden_layers=len(network.blocks),
        num_attention_heads=block.attn.num_heads,
        intermediate_size=block.mlp.fc1.out_features,
        layer_norm_eps=block.norm1.eps,
        image_size=tuple(network.patch_embed.img_size),
        patch_size=tuple(network.patch_embed.patch_size),
        qkv_bias=block.attn.qkv.bias is not None,
    )


_NAMES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_QKV = ("q_proj", "k_proj", "v_proj")


def vit_weights(timm: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a plain timm ViT's weights under transformers' names; timm keeps query, key and value in one matrix.

    Raises ConfigError for weights that transformers' ViT has no place for.
    """
    weights = {}
    for name, tensor in timm.items():
        prefix, layer = "", name
        if name.startswith("blocks."):
            _, number, layer = name.split(".", 2)
            prefix = f"layers.{number}."
        part, _, kind = layer.rpartition(".")
        if part not in _NAMES and layer not in _NAMES and part != "attn.qkv":
            raise ConfigError(f"Transformers' ViT has no place for {name}; set encoder.name to a plain ViT of timm.")
        if part == "attn.qkv":
            for theirs, rows in zip(_QKV, tensor.chunk(3), strict=True):
                weights[f"{prefix}attention.{theirs}.{kind}"] = rows
        elif part:
            weights[f"{prefix}{_NAMES[part]}.{kind}"] = tensor
        else:
            weights[_NAMES[kind]] = tensor
    return weights


def settings(task: Task, learning_rate: float) -> dict[str, Any]:
    return {"learning_rate": learning_rate, "optimizer": "AdamW", "weight_decay": 0.0, "gradient_norm": NORM}


def measure(task: Task, learning_rate: float) -> float:
    return measure_learner(task, lambda: _learner(task, learning_rate), task.one_caption_a_row())


def run(task: Task, plan: Plan, learning_rate: float) -> Trained:
    learner = _learner(task, learning_rate)
    progress = learn(task, learner, task.one_caption_a_row(), plan, task.folder / "last.ckpt")
    model: Any = learner.model.eval()  # mypy can't know what it finds in a Module
    options = task.config.generation
    model.set_attn_implementation("sdpa")

    def caption(pixel_values: Tensor) -> list[str]:
        output_ids = model.generate(
            pixel_values.to(task.device),
            num_beams=options.num_beams,
            max_new_tokens=options.max_length,
            length_penalty=options.length_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
        )
        return [task.tokenizer.decode(ids) for ids in output_ids.tolist()]

    return Trained.of(model, caption, 1, progress)


def _learner(task: Task, learning_rate: float) -> Learner:
    torch.manual_seed(task.config.train.seed)
    model = build(task).to(task.device)
    if task.device.type == "cpu":
        # As for our own arm: there the backward pass of torch's fused attention takes several times as long.
        model.set_attn_implementation("eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)

    def loss(batch: TrainingBatch) -> Tensor:
        labels = batch.labels.to(task.device)
        return model(pixel_values=batch.inputs.to(task.device), labels=labels).loss

    return Learner(model, loss, optimizer, lambda: torch.nn.utils.clip_grad_norm_(model.parameters(), NORM))
