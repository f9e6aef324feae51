"""A small model that has learned nothing but looks at its photos: captions differ from photo to photo.

The fixtures ``model_folder``, ``photos`` and ``mixed`` (conftest.py) are made of it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw

from wordgaze.data.transform import Preprocessing
from wordgaze.folder import ModelParts
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.text.tokenizer import CaptionTokenizer

CAPTIONS = ["a red dog runs on the grass", "two men sit on a bench", "the cat's tail is black", "a t-shirt"]
CARD = "# A model of the tests\n"
IMAGE_SIZE = (64, 96)  # (H, W): 4 patches down, 6 across


def make_parts(seed: int = 0, **generation: object) -> ModelParts:
    """Return parts with weights larger than a new model's, so that its attention and its choice of words are sharp."""
    tokenizer = CaptionTokenizer.train(CAPTIONS, vocab_size=320, min_frequency=1)
    torch.manual_seed(seed)
    config = CaptionModelConfig(
        EncoderConfig("test_vit", image_size=IMAGE_SIZE),
        DecoderConfig(vocab_size=tokenizer.vocab_size, width=32, layers=2, heads=2, positions=24),
    )
    model = CaptionModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(20 if "cross_attention" in name else 10)
        bytes_ = slice(3, 3 + 256)  # behind the special tokens; captions should be words
        model.decoder.token_embedding.weight[bytes_] = 0
    options = {"num_beams": 2, "max_length": 8, "no_repeat_ngram_size": 0, **generation}
    return ModelParts(
        model,
        tokenizer,
        Preprocessing(**model.preprocessing_defaults()),
        GenerationOptions(**options),  # type: ignore[arg-type]
        CARD,
    )


def draw_photo(path: Path, number: int, size: tuple[int, int] = (120, 90)) -> Path:
    """Draw a photo that differs from those of other numbers."""
    photo = Image.new("RGB", size, (40 * number % 256, 255 - 90 * number % 256, 150 * number % 256))
    left = 7 * number % (size[0] // 2)
    ImageDraw.Draw(photo).ellipse((left, 5, left + size[0] // 3, size[1] - 9), (255 - 60 * number % 256, 30, 200))
    photo.save(path)
    return path
