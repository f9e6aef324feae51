from __future__ import annotations

import math

import pytest
import torch

from wordgaze.explanation.evidence import evidence, is_grounded
from wordgaze.explanation.forced_pass import TorchReader, forced_passes
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.text.tokenizer import WordSpan

IDS = [0, 3, 7, 4, 1]
SPANS = [WordSpan("red", 1, 2), WordSpan("dog", 2, 4)]


def test_evidence_is_how_much_likelier_the_photo_makes_a_word() -> None:
    torch.manual_seed(0)
    model = CaptionModel(
        CaptionModelConfig(
            EncoderConfig("test_vit", image_size=(64, 96)), DecoderConfig(12, width=32, layers=2, heads=2)
        )
    ).eval()
    for parameter in model.decoder.parameters():
        parameter.data *= 5
    photo, blank = (torch.randn(1, 24, 32) for _ in range(2))
    said, unseen = (forced_passes(model, states, [IDS])[0].log_probabilities for states in (photo, blank))
    probabilities = [math.exp(said[0]), math.exp(said[1:3].sum())]
    reader = TorchReader(model)
    found = evidence(reader, blank, IDS, SPANS, probabilities)
    expected = [float(said[0] - unseen[0]) / math.log(2), float((said - unseen)[1:3].sum()) / math.log(2)]
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(map(abs, found)) > 0.01
    assert evidence(reader, photo, IDS, SPANS, probabilities) == pytest.approx([0, 0], abs=1e-4)
    assert math.isfinite(evidence(reader, blank, IDS, SPANS, [0.0, 0.0])[0])


@pytest.mark.parametrize(("word", "bits", "grounded"), [("dog", 3, True), ("dog", -0.1, False), ("of", 3, False)])
def test_function_words_and_words_without_evidence_are_not_grounded(word: str, bits: float, grounded: bool) -> None:
    assert is_grounded(word, bits) is grounded
