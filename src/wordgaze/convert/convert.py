"""A checkpoint's folder → the parts of a model of ours, with a card that says where they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordgaze.convert import generation, image_processor, tokenizer
from wordgaze.convert.blip import blip
from wordgaze.convert.card import card
from wordgaze.convert.checkpoint import CONFIG, Checkpoint, read_json
from wordgaze.convert.fields import Fields
from wordgaze.convert.recipe import Recipes, fill
from wordgaze.convert.vision_encoder_decoder import vision_encoder_decoder
from wordgaze.errors import ConfigError, ModelError, first_line, shown
from wordgaze.folder import ModelParts
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig
from wordgaze.model.empty import empty_model
from wordgaze.text.tokenizer import SpecialIds

CARD = "README.md"
FILES = (CONFIG, *tokenizer.FILES, *image_processor.FILES, generation.GENERATION, CARD)
"""What is read of a checkpoint besides its weights."""

_FAMILIES = {"blip": "BlipForConditionalGeneration", "vision-encoder-decoder": "VisionEncoderDecoderModel"}
_NAMES = {"vit": "ViT", "deit": "DeiT", "gpt2": "GPT-2", "bert": "BERT", "roberta": "RoBERTa"}

_PREFIX = "has no cross-attention: its words read the photo as a prefix, with no map of their own"
_NO_DECODER = "has no decoder, so it writes no captions"
_NO_PHOTO = "reads text alone, and looks at no photo"
_REASONS = {
    "florence2": "has a BART encoder that mixes photo and prompt before the words look",
    "coca": "pools the photo into queries, which have no places in it",
    **dict.fromkeys(["git", "kosmos-2", "kosmos-2.5", "blip-2", "instructblip", "llava", "paligemma"], _PREFIX),
    **dict.fromkeys(["clip", "siglip", "vit", "deit", "swin", "beit", "dinov2", "convnext"], _NO_DECODER),
    **dict.fromkeys(["gpt2", "bert", "roberta", "t5", "bart"], _NO_PHOTO),
}


@dataclass(frozen=True)
class Conversion:
    """A converted model, what it was, and those of its generation settings that we don't have."""

    parts: ModelParts
    family: str
    architecture: str
    left_out: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        millions = sum(parameter.numel() for parameter in self.parts.model.parameters()) / 1e6
        return f"{self.family}, {millions:.1f} M parameters, trained as {self.architecture}"


def check_family(name: str, config: Mapping[str, Any]) -> str:
    """Return the model_type of a ``config.json``; raises ModelError, with the reason, for one that does not fit."""
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        reason = _REASONS.get(str(kind), "is of no family that can be converted")
        raise _refused(name, f"its config.json has model_type {shown(kind)}, which {reason}")
    for architecture in config.get("architectures") or []:
        if architecture != _FAMILIES[kind]:
            raise _refused(name, f"its config.json has architectures {shown(architecture)}, which writes no captions")
    return str(kind)


def convert(folder: Path, name: str) -> Conversion:
    """Return the model of a checkpoint's folder, with float32 weights and in evaluation mode; raises ModelError.

    ``name``: what the user called it, for sentences and the card.
    """
    checkpoint = Checkpoint(folder, name, read_json(folder / CONFIG))
    kind = check_family(name, checkpoint.config)
    try:
        config, recipes, ids, processor, inner = _FAMILY[kind](checkpoint)
        size = config.encoder.image_size
        assert size is not None
        search = generation.search_defaults(checkpoint, inner, config.decoder.positions)
        pixels = image_processor.preprocessing(checkpoint, processor, size)
        words = tokenizer.caption_tokenizer(checkpoint, ids, config.decoder.vocab_size)
    except (ModelError, ConfigError) as error:
        raise ModelError(f"{name} can't be converted: {error}") from error
    model = _build(config)
    fill(model, recipes, checkpoint.weights())
    parts = ModelParts(model.eval(), words, pixels, search.options)
    family, architecture = _family(checkpoint.config), _FAMILIES[kind]
    parts.card = card(checkpoint, parts, family, architecture, search.left_out)
    return Conversion(parts, family, architecture, search.left_out)


_Family = tuple[CaptionModelConfig, Recipes, SpecialIds, str, str]


def _blip(checkpoint: Checkpoint) -> _Family:
    fields = Fields(checkpoint.config)
    text = fields.part("text_config")
    # Whatever the eos_token_id of its configuration says: transformers ends captions at sep_token_id, too.
    start, end, pad = (
        text.whole(name, default, 0)
        for name, default in (("bos_token_id", 30522), ("sep_token_id", 102), ("pad_token_id", 0))
    )
    return *blip(fields), SpecialIds(start, end, pad), "Blip", "text_config"


def _vision_encoder_decoder(checkpoint: Checkpoint) -> _Family:
    fields = Fields(checkpoint.config)
    encoder = fields.part("encoder").get("model_type", None)
    fields.part("decoder")
    ids = generation.start_end_pad(checkpoint, "decoder")
    processor = "DeiT" if encoder == "deit" else "ViT"
    return *vision_encoder_decoder(fields, ids.bos_id), ids, processor, "decoder"


_FAMILY: dict[str, Callable[[Checkpoint], _Family]] = {
    "blip": _blip,
    "vision-encoder-decoder": _vision_encoder_decoder,
}


def _family(config: Mapping[str, Any]) -> str:
    if config["model_type"] == "blip":
        return "BLIP"
    return " and ".join(_NAMES[config[part]["model_type"]] for part in ("encoder", "decoder"))


def _build(config: CaptionModelConfig) -> CaptionModel:
    try:
        return empty_model(config)
    except (ConfigError, MemoryError, OverflowError, RuntimeError) as error:
        raise ModelError(f"No model of the sizes in config.json can be built ({first_line(error)}).") from error


def _refused(name: str, reason: str) -> ModelError:
    known = " and ".join(f"{kind} ({architecture})" for kind, architecture in _FAMILIES.items())
    return ModelError(f"{name} can't be converted: {reason}; choose a checkpoint of {known}.")
