"""Does an exported model compute what the model does?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wordgaze.explanation.forced_pass import forced_passes
from wordgaze.export.session import OnnxModel
from wordgaze.model.caption_model import CaptionModel

_PHOTOS, _CAPTIONS, _TOKENS = 3, 4, 6  # other sizes than those that the graphs were traced with


@dataclass(frozen=True)
class Difference:
    """The largest differences: of the encoder's states, in their standard deviations, and of log-probabilities."""

    states: float
    log_probabilities: float

    @property
    def largest(self) -> float:
        return max(self.states, self.log_probabilities)


def compare(model: CaptionModel, size: tuple[int, int], folder: Path) -> Difference:
    """Return how far the files in ``folder`` are from a model on photos of noise, ``size`` (H, W), and random ids."""
    exported = OnnxModel.load(folder)
    random = torch.Generator().manual_seed(0)
    pixel_values = torch.randn(_PHOTOS, 3, *size, generator=random)
    with torch.no_grad():
        states = model.encode(pixel_values)
    moved = np.abs(exported.encode(pixel_values.numpy()) - states.numpy()).max() / states.std().item()
    length = min(_TOKENS, model.config.decoder.positions)
    captions = torch.randint(model.config.decoder.vocab_size, (_CAPTIONS, length + 1), generator=random).tolist()
    passes = zip(
        forced_passes(model, states[:1], captions), exported.forced_passes(states[:1].numpy(), captions), strict=True
    )
    log_probs = [np.abs(ours.log_probabilities - theirs.log_probabilities).max() for theirs, ours in passes]
    return Difference(float(moved), float(max(log_probs)))
