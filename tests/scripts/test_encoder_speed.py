"""The script that times the encoder: its counts of operations, and its comparison of captions."""

from __future__ import annotations

from pathlib import Path

import torch
from scripts.experiments.encoder_speed import compare_captions, vit_operations
from tests.encoder_configs import VIT
from torch.utils.flop_counter import FlopCounterMode

from wordgaze.captioner import Captioner
from wordgaze.model.encoders.build import build_encoder


def test_captions_of_two_encoders_are_compared(model_folder: Path, photos: list[Path]) -> None:
    captioner = Captioner.from_pretrained(model_folder, "cpu")
    same = compare_captions(captioner, photos, batch=2)
    assert same["photos"] == len(photos) and not same["differ"] and same["largest_difference_of_states"] < 1e-4
    captioner.encode = lambda pixels: captioner.model.encode(pixels.flip(0))  # type: ignore[method-assign]
    assert compare_captions(captioner, photos, batch=2)["differ"]


def test_operations_of_a_vit_are_those_that_torch_counts() -> None:
    encoder = build_encoder(VIT).eval()
    for block in encoder.network.blocks:
        # torch does not count those of its fused kernel on CPUs.
        block.attn.fused_attn = False
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(torch.randn(1, 3, 160, 160))
    assert vit_operations(encoder) == counter.get_total_flops()
