"""The configurations of published checkpoints, as far as they say anything of the model: facts, not files."""

from __future__ import annotations

from typing import Any


def blip(width: int = 768, layers: int = 12, heads: int = 12, mlp: int = 3072) -> dict[str, Any]:
    """Return that of Salesforce/blip-image-captioning-base; BLIP-large differs in the sizes of its vision part."""
    return {
        "architectures": ["BlipForConditionalGeneration"],
        "model_type": "blip",
        "image_text_hidden_size": 256,
        "projection_dim": 512,
        "text_config": {
            **{
                "model_type": "blip_text_model",
                "vocab_size": 30524,
                "hidden_size": 768,
                "hidden_act": "gelu",
            },
            **{"num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
            **{"max_position_embeddings": 512, "layer_norm_eps": 1e-12, "is_decoder": True},
            **{"bos_token_id": 30522, "eos_token_id": 2, "sep_token_id": 102, "pad_token_id": 0},
            **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        },
        "vision_config": {
            **{"model_type": "blip_vision_model", "hidden_size": width, "num_hidden_layers": layers},
            **{"num_attention_heads": heads, "intermediate_size": mlp, "hidden_act": "gelu"},
            **{"image_size": 384, "patch_size": 16, "num_channels": 3, "layer_norm_eps": 1e-05},
        },
    }


def vit_gpt2() -> dict[str, Any]:
    """Return that of nlpconnect/vit-gpt2-image-captioning."""
    return {
        "architectures": ["VisionEncoderDecoderModel"],
        "model_type": "vision-encoder-decoder",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 50256,
        "eos_token_id": 50256,
        "pad_token_id": 50256,
        "encoder": {
            **{"model_type": "vit", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
            **{"intermediate_size": 3072, "hidden_act": "gelu", "image_size": 224, "patch_size": 16},
            **{"num_channels": 3, "layer_norm_eps": 1e-12, "qkv_bias": True},
        },
        "decoder": {
            **{"model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12},
            **{"n_positions": 1024, "n_inner": None, "activation_function": "gelu_new"},
            **{"layer_norm_epsilon": 1e-05, "scale_attn_weights": True, "reorder_and_upcast_attn": False},
            **{"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": True, "is_decoder": True},
        },
    }
