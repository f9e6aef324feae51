"""Which models fit, of which sizes, and what is said of those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.convert import published

from wordgaze.convert.blip import blip
from wordgaze.convert.convert import convert
from wordgaze.convert.fields import Fields
from wordgaze.convert.vision_encoder_decoder import vision_encoder_decoder
from wordgaze.errors import ModelError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig

ONE_LAYER = {"text_config.num_hidden_layers": 1, "vision_config.num_hidden_layers": 1}
MATRIX = 768 * 768 + 768  # a layer from width to width, with its bias


def edited(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with some fields, named with dots, replaced; or removed, by None."""
    config = json.loads(json.dumps(config))
    for name, value in json.loads(json.dumps(changes)).items():
        *parts, last = name.split(".")
        place = config
        for part in parts:
            place = place[part]
        place[last] = value
    return config


def count(config: CaptionModelConfig) -> dict[str, int]:
    """Return the parameters of the encoder, of the bridge, and of the parts of the decoder."""
    with torch.device("meta"):
        model = CaptionModel(config)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        part = name.split(".")[1] if name.startswith("decoder.") else name.split(".")[0]
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def test_the_published_blip_has_its_223_971_644_parameters() -> None:
    config, recipes = blip(Fields(published.blip()))
    counts = count(config)
    assert counts == {
        # patches, class token, 577 positions, 12 blocks, the norm after them
        "encoder": (3 * 16 * 16 * 768 + 768) + 768 + 577 * 768 + 12 * 7_087_872 + 2 * 768,
        "token_embedding": 30524 * 768,
        "position_embedding": 512 * 768,
        "embedding_norm": 2 * 768,
        # self- and cross-attention, their norms, the MLP and its norm
        "blocks": 12 * (8 * MATRIX + 2 * 768 * 3072 + 3072 + 768 + 3 * 2 * 768),
        "head": MATRIX + 2 * 768,
        "logits_bias": 30524,
    }
    assert sum(counts.values()) == 223_971_644
    # The published file counts the tied embeddings twice.
    assert sum(counts.values()) + 30524 * 768 == 247_414_076
    assert config.decoder.source_width is None and config.encoder.norm_eps == 1e-5
    assert (config.decoder.norm_eps, config.decoder.heads) == (1e-12, 12)
    assert recipes.tied["text_decoder.cls.predictions.decoder.weight"] in (
        name for recipe in recipes.recipes.values() for name in recipe.sources
    )


def test_blip_large_makes_keys_and_values_of_width_1024() -> None:
    config, recipes = blip(Fields(edited(published.blip(width=1024, heads=16, mlp=4096), ONE_LAYER)))
    assert config.decoder.source_width == 1024 and "bridge.weight" not in recipes.recipes
    assert count(config)["blocks"] == (8 * MATRIX + 2 * (1024 - 768) * 768 + 2 * 768 * 3072 + 3072 + 768 + 3 * 2 * 768)


def test_the_published_vit_gpt2_has_its_238_605_312_parameters() -> None:
    config, _ = vision_encoder_decoder(Fields(published.vit_gpt2()), 50256)
    counts = count(config)
    assert counts == {
        "encoder": (3 * 16 * 16 * 768 + 768) + 768 + 197 * 768 + 12 * 7_087_872 + 2 * 768,
        "token_embedding": 50257 * 768,
        "position_embedding": 1024 * 768,
        "blocks": 12 * (8 * MATRIX + 2 * 768 * 3072 + 3072 + 768 + 3 * 2 * 768),
        "final_norm": 2 * 768,
    }
    assert sum(counts.values()) == 238_605_312
    # The published file holds the ViT's pooler, too.
    assert sum(counts.values()) + MATRIX == 239_195_904
    assert config.encoder.norm_eps == 1e-12 and config.decoder.activation == "gelu_tanh"


BERT = {"decoder": {"model_type": "bert", "is_decoder": True, "add_cross_attention": True}}
ROBERTA = {"decoder": {**BERT["decoder"], "model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": 514}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"norm": "pre", "norm_eps": 1e-5, "mlp_width": 3072, "positions": 1024, "head": "tied"}),
        ({"decoder.n_inner": 100, "decoder.resid_pdrop": 0.25}, {"mlp_width": 100, "dropout": 0.25}),
        ({"decoder.activation_function": "relu"}, {"activation": "relu"}),
        ({"decoder.layer_norm_epsilon": 1e-4}, {"norm_eps": 1e-4}),
        (BERT, {"vocab_size": 30522, "norm": "post", "norm_eps": 1e-12, "positions": 512, "head": "bert"}),
        (BERT, {"activation": "gelu", "head_activation": None, "embedding_norm": True, "heads": 12}),
        ({**BERT, "decoder.hidden_act": "gelu_new"}, {"activation": "gelu_tanh", "head_activation": None}),
        (ROBERTA, {"vocab_size": 50265, "positions": 512, "head_activation": "gelu"}),
        ({**ROBERTA, "decoder.hidden_act": "relu"}, {"activation": "relu", "head_activation": "gelu"}),
        ({**ROBERTA, "decoder.pad_token_id": 5}, {"positions": 508}),
    ],
)
def test_what_a_decoders_configuration_says_or_its_class(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    config, _ = vision_encoder_decoder(Fields(edited(published.vit_gpt2(), changes)), 0)
    assert {name: getattr(config.decoder, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (577, 1, 1e-5, 8)),
        ({"text_config.num_attention_heads": 12, "vision_config.image_size": 224}, (197, 1, 1e-5, 12)),
        ({"vision_config.layer_norm_eps": 1e-6}, (577, 1, 1e-6, 8)),
    ],
)
def test_blips_class_has_8_heads_where_its_configuration_is_silent(
    changes: dict[str, Any], expected: tuple[int, int, float, int]
) -> None:
    config = edited(published.blip(), {"text_config.num_attention_heads": None, **ONE_LAYER, **changes})
    model, _ = blip(Fields(config))
    with torch.device("meta"):
        built = CaptionModel(model)
    states = built.num_prefix + built.grid[0] * built.grid[1]
    assert (states, built.num_prefix, model.encoder.norm_eps, model.decoder.heads) == expected


def test_a_deit_has_two_tokens_before_its_patches() -> None:
    config, _ = vision_encoder_decoder(
        Fields(edited(published.vit_gpt2(), {"encoder.model_type": "deit", "encoder.num_hidden_layers": 1})),
        0,
    )
    with torch.device("meta"):
        model = CaptionModel(config)
    assert (model.num_prefix, model.grid) == (2, (14, 14))


def test_robertas_positions_begin_at_the_padding_where_it_is_the_start() -> None:
    config = edited(published.vit_gpt2(), ROBERTA)
    rows = torch.arange(514.0)[:, None].expand(-1, 768)
    for start, first in ((0, 2), (1, 1)):
        model, recipes = vision_encoder_decoder(Fields(config), start)
        recipe = recipes.recipes["decoder.position_embedding.weight"]
        made = recipe({recipe.sources[0]: rows, recipe.sources[1]: torch.tensor([[0.5], [9.0]]).expand(-1, 768)})
        assert made[0, 0] == first + 0.5 and len(made) == model.decoder.positions == 514 - first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder.model_type": "swin"}, "encoder.model_type is 'swin'"),
        ({"encoder.model_type": "donut-swin"}, "encoder.model_type is 'donut-swin'"),
        ({"encoder": None}, "has no object encoder"),
        ({"encoder.num_channels": 1}, "encoder.num_channels is 1"),
        ({"encoder.patch_size": [16, 8]}, "encoder.patch_size is [16, 8]"),
        ({"encoder.image_size": 230}, "encoder.image_size is 230"),
        ({"encoder.hidden_size": 100}, "encoder.hidden_size is 100"),
        ({"encoder.hidden_act": "quick_gelu"}, "encoder.hidden_act is 'quick_gelu'"),
        ({"encoder.num_hidden_layers": 0}, "encoder.num_hidden_layers is 0"),
        ({"encoder.layer_norm_eps": "small"}, "encoder.layer_norm_eps is 'small'"),
        ({"decoder.model_type": "mbart"}, "decoder.model_type is 'mbart'"),
        (
            {"decoder.scale_attn_by_inverse_layer_idx": True},
            "decoder.scale_attn_by_inverse_layer_idx is True",
        ),
        ({"decoder.reorder_and_upcast_attn": True}, "decoder.reorder_and_upcast_attn is True"),
        ({"decoder.add_cross_attention": False}, "decoder.add_cross_attention is False"),
        ({"decoder.activation_function": "xielu"}, "decoder.activation_function is 'xielu'"),
        ({"decoder.cross_attention_hidden_size": 512}, "decoder.cross_attention_hidden_size is 512"),
        ({"decoder.n_head": 7}, "decoder.n_embd is 768: it does not divide into 7 heads"),
        ({"decoder_start_token_id": None}, "no decoder_start_token_id"),
        ({"eos_token_id": None}, "no eos_token_id"),
        ({"eos_token_id": [1, 2]}, "eos_token_id is [1, 2]"),
        ({"decoder_start_token_id": "<s>"}, "decoder_start_token_id is '<s>'"),
        ({**BERT, "decoder.is_decoder": False}, "decoder.is_decoder is False"),
        (
            {**BERT, "decoder.position_embedding_type": "relative_key"},
            "position_embedding_type is 'relative_key'",
        ),
        ({**ROBERTA, "decoder.max_position_embeddings": 3}, "decoder.max_position_embeddings is 3"),
        ({"model_type": "florence2"}, "a BART encoder that mixes photo and prompt"),
        ({"model_type": "git"}, "has no cross-attention"),
        ({"model_type": "kosmos-2"}, "has no cross-attention"),
        ({"model_type": "coca"}, "pools the photo into queries"),
        ({"model_type": "clip"}, "has no decoder"),
        ({"model_type": "vit"}, "has no decoder"),
        ({"model_type": "gpt2"}, "looks at no photo"),
        ({"model_type": "some-new-thing"}, "is of no family that can be converted"),
        (
            {"model_type": "blip", "architectures": ["BlipForQuestionAnswering"]},
            "architectures 'BlipForQuestionAnswering'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(edited(published.vit_gpt2(), changes)))
    with pytest.raises(ModelError) as caught:
        convert(tmp_path, "owner/name")
    message = str(caught.value)
    assert message.startswith("owner/name can't be converted: ") and words in message
    assert "\n" not in message and "; " in message
