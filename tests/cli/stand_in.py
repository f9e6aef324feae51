"""A captioner that knows no model: a photo's caption tells its color. Imports no torch.

    python -m tests.cli.stand_in SECONDS PATH... [FLAGS]

runs ``wordgaze caption`` with it, each batch in so many seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from wordgaze.captioner import Captioner
from wordgaze.captioning.batches import BatchSize
from wordgaze.cli.main import main
from wordgaze.generation.caption import Caption, CaptionWord
from wordgaze.generation.options import GenerationOptions


def color(number: int) -> tuple[int, int, int]:
    return number % 256, number // 256 % 256, 7


def caption_of(number: int) -> str:
    return "a photo of {:02x}{:02x}{:02x}".format(*color(number))


def draw(path: Path, number: int) -> Path:
    """Draw the photo that gets ``caption_of(number)``."""
    Image.new("RGB", (3, 2), color(number)).save(path)
    return path


class StandIn:
    """What ``wordgaze caption`` asks of a captioner."""

    precision, on_cpu = "float32", False

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.parts = SimpleNamespace(
            generation=GenerationOptions(), preprocessing=SimpleNamespace(hflip_tta=False), confidence=None
        )
        self.model = SimpleNamespace(manifest=SimpleNamespace(fingerprint="57a4d1400000"))
        self.transform = SimpleNamespace(array=self._array, preprocessing=SimpleNamespace(max_reduction=None))

    def generation_options(self, **options: Any) -> GenerationOptions:
        return self.parts.generation.override(**options)

    def batches(self, batch_size: int | str, *_: Any) -> BatchSize:
        return BatchSize(4 if isinstance(batch_size, str) else batch_size)

    def caption_pixels(self, pixel_values: np.ndarray, options: GenerationOptions) -> list[Caption]:
        time.sleep(self._seconds)
        texts = ["a photo of {:02x}{:02x}{:02x}".format(*photo.flatten()) for photo in pixel_values]
        return [Caption(text, -1.5, tuple(CaptionWord(word, 0.5) for word in text.split())) for text in texts]

    @staticmethod
    def _array(photo: Any) -> tuple[np.ndarray, None]:
        image = photo if isinstance(photo, Image.Image) else photo.image
        return np.asarray(image.resize((1, 1)), np.uint8).transpose(2, 0, 1), None


def run(seconds: float, *arguments: str) -> None:
    """Run ``wordgaze caption`` as a shell does, and end the process."""
    stand_in = StandIn(seconds)
    Captioner.from_pretrained = lambda *_, **__: stand_in  # type: ignore[method-assign]
    sys.argv = ["wordgaze", "caption", *arguments]
    main(prog_name="wordgaze")


if __name__ == "__main__":
    run(float(sys.argv[1]), *sys.argv[2:])
