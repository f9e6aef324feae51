"""BLIP (Li et al. 2022): a ViT, and a BERT that makes keys and values of its states in each layer."""

from __future__ import annotations

from wordgaze.convert.bert import bert_body, bert_config, bert_head
from wordgaze.convert.fields import Fields
from wordgaze.convert.recipe import Recipes
from wordgaze.convert.vit import blip_vit, vit_config
from wordgaze.model.config import CaptionModelConfig


def blip(fields: Fields) -> tuple[CaptionModelConfig, Recipes]:
    """Return the model of a BlipForConditionalGeneration's configuration, and its recipes."""
    vision, text = fields.part("vision_config"), fields.part("text_config")
    encoder = vit_config(vision, "BLIP's ViT", image_size=384, norm_eps=1e-5)
    assert encoder.vit is not None
    width = encoder.vit.width
    same = width == text.whole("hidden_size", 768)
    # 8 heads are the class's default; the published checkpoints say 12.
    decoder = bert_config(text, vocab_size=30524, heads=8, dropout=0.0, source_width=None if same else width)
    recipes = Recipes()
    recipes.include(blip_vit(encoder.vit), "encoder.network.", "vision_model.")
    body = bert_body(decoder.layers, token_types=False)
    recipes.include(body, "decoder.", "text_decoder.bert.")
    transform = "cls.predictions.transform"
    head = bert_head(f"{transform}.dense", f"{transform}.LayerNorm", "cls.predictions.decoder", "cls.predictions.bias")
    head.tied["cls.predictions.decoder.weight"] = "bert.embeddings.word_embeddings.weight"
    if not text.flag("tie_word_embeddings", True):
        head.needed.add("cls.predictions.decoder.weight")
    recipes.include(head, "decoder.", "text_decoder.")
    return CaptionModelConfig(encoder, decoder), recipes
