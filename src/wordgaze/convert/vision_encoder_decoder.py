"""transformers' ``VisionEncoderDecoderModel``: a ViT or DeiT, and a GPT-2, BERT or RoBERTa that looks at its states."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from wordgaze.convert.bert import bert_body, bert_config, bert_head
from wordgaze.convert.fields import Fields
from wordgaze.convert.gpt2 import gpt2_decoder
from wordgaze.convert.recipe import Recipes
from wordgaze.convert.vit import transformers_vit, vit_config
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig

# Encoders by their model_type: how many tokens stand before the patches.
_ENCODERS = {"vit": 1, "deit": 2}


def vision_encoder_decoder(fields: Fields, start_id: int) -> tuple[CaptionModelConfig, Recipes]:
    """Return the model of a VisionEncoderDecoderModel's configuration, and its recipes."""
    encoder, vit = _encoder(fields.part("encoder"))
    decoder, text = _decoder(fields.part("decoder"), start_id)
    recipes = Recipes()
    recipes.include(vit, "encoder.network.", "encoder.")
    recipes.include(text, "decoder.", "decoder.")
    assert encoder.vit is not None
    if encoder.vit.width != decoder.width:
        recipes.add_layer("bridge", "enc_to_dec_proj")
    return CaptionModelConfig(encoder, decoder), recipes


def _encoder(fields: Fields) -> tuple[EncoderConfig, Recipes]:
    kind = fields.get("model_type", None)
    if kind not in _ENCODERS:
        raise fields.refused("model_type", f"encoders that can be converted are {' and '.join(_ENCODERS)}")
    config = vit_config(fields, kind, image_size=224, norm_eps=1e-12, num_prefix_tokens=_ENCODERS[kind])
    assert config.vit is not None
    return config, transformers_vit(config.vit)


def _decoder(fields: Fields, start_id: int) -> tuple[DecoderConfig, Recipes]:
    kinds: dict[str, Callable[[Fields], tuple[DecoderConfig, Recipes]]] = {
        "gpt2": gpt2_decoder,
        "bert": _bert,
        "roberta": partial(_roberta, start_id=start_id),
    }
    kind = fields.get("model_type", None)
    if kind not in kinds:
        raise fields.refused("model_type", f"decoders that can be converted are {', '.join(kinds)}")
    fields.must_be("cross_attention_hidden_size", None, None, "states of another width can't be expressed here")
    return kinds[kind](fields)


def _bert(fields: Fields) -> tuple[DecoderConfig, Recipes]:
    fields.must_be("add_cross_attention", True, True, "a decoder that looks at no photo writes no captions")
    config = bert_config(fields, vocab_size=30522)
    recipes = Recipes()
    recipes.include(bert_body(config.layers, token_types=True), "", "bert.")
    transform = "cls.predictions.transform"
    head = bert_head(f"{transform}.dense", f"{transform}.LayerNorm", "cls.predictions.decoder", "cls.predictions.bias")
    recipes.include(head)
    # A BERT's second task, of which some checkpoints still carry the layer.
    recipes.unused.append(r"cls\.seq_relationship\..*")
    return config, _tied(recipes, fields, "cls.predictions.decoder", "bert")


def _roberta(fields: Fields, start_id: int) -> tuple[DecoderConfig, Recipes]:
    fields.must_be("add_cross_attention", True, True, "a decoder that looks at no photo writes no captions")
    # Its positions count the tokens that are no padding, from the row after the padding's own.
    pad = fields.whole("pad_token_id", 1, least=0)
    first = pad if start_id == pad else pad + 1
    config = bert_config(fields, vocab_size=50265, first_position=first, head_activation="gelu")
    recipes = Recipes()
    recipes.include(bert_body(config.layers, token_types=True, first_position=first), "", "roberta.")
    recipes.include(bert_head("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"))
    return config, _tied(recipes, fields, "lm_head.decoder", "roberta")


def _tied(recipes: Recipes, fields: Fields, output: str, body: str) -> Recipes:
    recipes.tied[f"{output}.weight"] = f"{body}.embeddings.word_embeddings.weight"
    if not fields.flag("tie_word_embeddings", True):
        recipes.needed.add(f"{output}.weight")
    return recipes
