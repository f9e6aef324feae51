"""What a benchmark runs on: published shapes with random weights, and photos that ship."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models

from wordgaze.data.listing import photos_in
from wordgaze.data.photos import open_photo
from wordgaze.data.transform import Preprocessing
from wordgaze.folder import ModelParts
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig, VitShape
from wordgaze.text.tokenizer import BOS, EOS, PAD, CaptionTokenizer

_PHOTO = "demo/kingfisher.jpg"
_PHOTO_SIZE = (640, 480)  # of COCO's photos, most of them
_NOISE = 0.02  # added to new weights, so that captions are not one word again and again

SHAPES = {
    # A 12-layer GPT-2 over the 196 patches of ViT-B/16, as in nlpconnect/vit-gpt2-image-captioning.
    "gpt2-shape": CaptionModelConfig(
        EncoderConfig("vit_base_patch16_224"),
        DecoderConfig(vocab_size=50257, width=768, layers=12, heads=12, positions=1024),
    ),
    # Salesforce/blip-image-captioning-base: 24 x 24 patches and the class token.
    "blip-shape": CaptionModelConfig(
        EncoderConfig("BLIP's ViT", image_size=(384, 384), prefix_tokens=True, norm_eps=1e-5, vit=VitShape()),
        DecoderConfig(
            vocab_size=30524,
            width=768,
            layers=12,
            heads=12,
            positions=512,
            norm="post",
            norm_eps=1e-12,
            activation="gelu",
            embedding_norm=True,
            head="bert",
        ),
    ),
}
"""Models of published sizes, by the name that ``--model`` takes; their weights are random."""


def random_parts(config: CaptionModelConfig, seed: int = 0) -> ModelParts:
    """Return a model with random weights, and a tokenizer of invented words."""
    torch.manual_seed(seed)
    model = CaptionModel(config).eval()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(_NOISE * torch.randn_like(parameter))
    names = [PAD, BOS, EOS, *(f"word{number}" for number in range(3, config.decoder.vocab_size))]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.add_special_tokens([PAD, BOS, EOS])
    preprocessing = Preprocessing(**model.preprocessing_defaults())
    return ModelParts(model, CaptionTokenizer(tokenizer), preprocessing, GenerationOptions())


def photos_to_bench(folder: str | None, count: int, temporary: Path) -> Sequence[Path]:
    """Return ``count`` photos: those in ``folder``, again and again, or cut-outs of one that ships.

    These are written into ``temporary``. Raises ConfigError where the folder has no photos.
    """
    if folder is None:
        return _cut_outs(count, temporary)
    return [Path(path) for path in islice(cycle(photos_in([folder]).photos), count)]


def _cut_outs(count: int, folder: Path) -> list[Path]:
    """Write ``count`` JPEGs of COCO's size, each another part of the kingfisher, so that captions differ."""
    with files("wordgaze").joinpath(_PHOTO).open("rb") as file:
        whole = open_photo(file.read())
    paths = []
    for number in range(count):
        rng = np.random.default_rng(number)
        share = rng.uniform(0.4, 1.0)
        width, height = (round(share * side) for side in whole.size)
        left, top = int(rng.integers(whole.width - width + 1)), int(rng.integers(whole.height - height + 1))
        part = whole.resize(_PHOTO_SIZE, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        paths.append(folder / f"{number:03}.jpg")
        part.save(paths[-1], quality=90)
    return paths
