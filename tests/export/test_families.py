"""Other encoders and decoders than the small ViT's: each exports, and captions as its model does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.encoder_configs import FUSED, HYBRID, perturbed
from tests.model_folder import make_parts

from wordgaze.captioning.captions import generate_captions
from wordgaze.export.session import OnnxModel
from wordgaze.export.write import export_folder
from wordgaze.folder import ModelParts
from wordgaze.generation.torch_stepper import TorchStepper
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, EncoderConfig

# Torch takes many seconds to export a model.
pytestmark = pytest.mark.slow

ENCODERS = {"hybrid": HYBRID, "fused": FUSED}


def with_encoder(encoder: EncoderConfig) -> ModelParts:
    """Return small parts with another encoder."""
    parts = make_parts()
    torch.manual_seed(3)
    model = CaptionModel(CaptionModelConfig(encoder, parts.model.config.decoder))
    perturbed(model).eval()
    model.decoder.load_state_dict(parts.model.decoder.state_dict())
    parts.model = model
    size = model.preprocessing_defaults()["size"]
    parts.preprocessing = replace(parts.preprocessing, size=size)
    return parts


def converted(name: str, folder: Path) -> ModelParts:
    """Return the parts of a small checkpoint of another library."""
    pytest.importorskip("transformers")
    from scripts.experiments import tiny_checkpoints

    from wordgaze.convert.load import convert_from

    if name == "blip":
        tiny_checkpoints.blip(folder)
    else:
        tiny_checkpoints.vision_encoder_decoder(folder, *name.split("-"))
    return convert_from(folder, folder).parts


@pytest.mark.parametrize("name", [*ENCODERS, "blip", "vit-gpt2"])
def test_captions(name: str, tmp_path: Path) -> None:
    parts = with_encoder(ENCODERS[name]) if name in ENCODERS else converted(name, tmp_path / "checkpoint")
    exported = export_folder(parts, tmp_path / "exported")
    onnx = OnnxModel.load(tmp_path / "exported")
    assert exported.difference.largest < 1e-3
    assert onnx.manifest.num_prefix == parts.model.num_prefix and onnx.manifest.grid == parts.model.grid
    pixel_values = torch.randn(3, 3, *parts.preprocessing.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        views = {False: parts.model.encode(pixel_values), True: parts.model.encode_with_hflip(pixel_values)}
    for hflip, states in views.items():
        ours = torch.from_numpy(onnx.encode(pixel_values.numpy(), hflip=hflip))
        assert (ours - states).abs().max() < 1e-3 * states.std()
        for num_beams in (1, 3):
            options = parts.generation.override(num_beams=num_beams, max_length=10)
            theirs = generate_captions(parts, TorchStepper(parts.model, states), options)
            found = generate_captions(parts, onnx.stepper(ours.numpy()), options)
            assert [photo[0].token_ids for photo in found] == [photo[0].token_ids for photo in theirs]
