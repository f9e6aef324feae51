"""How a checkpoint's photos become pixels: as its file says, and where it says nothing, as its class does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wordgaze.convert.checkpoint import Checkpoint
from wordgaze.convert.image_processor import preprocessing
from wordgaze.data.transform import Preprocessing
from wordgaze.errors import ModelError

CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def read(folder: Path, kind: str, size: tuple[int, int], **files: Any) -> Preprocessing:
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return preprocessing(Checkpoint(folder, "checkpoint", {}), kind, size)


@pytest.mark.parametrize(
    ("kind", "size", "values", "expected"),
    [
        ("Blip", 384, {}, {**CLIP, "interpolation": "bicubic"}),
        ("ViT", 224, {}, {**HALF, "interpolation": "bilinear"}),
        ("DeiT", 224, {}, {**HALF, "interpolation": "bicubic", "crop_pct": 0.875}),
        (
            "ViT",
            96,
            {"size": 96, "feature_extractor_type": "ViTFeatureExtractor"},
            {"interpolation": "bilinear"},
        ),
        ("ViT", 96, {"size": {"height": 96, "width": 96}, "resample": 3}, {"interpolation": "bicubic"}),
        (
            "ViT",
            384,
            {"image_processor_type": "BlipImageProcessorFast"},
            {**CLIP, "interpolation": "bicubic"},
        ),
        ("Blip", 384, {"size": None, "do_pad": True, "size_divisor": 32}, CLIP),
        ("DeiT", 224, {"do_center_crop": False, "size": 224}, {"crop_pct": 1.0}),
        ("ViT", 224, {"do_normalize": False}, {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}),
        ("ViT", 224, {"image_mean": 0.25}, {"mean": (0.25, 0.25, 0.25)}),
        ("ViT", 224, {"rescale_factor": 1 / 127.5}, {"mean": (0.25, 0.25, 0.25), "std": (0.25, 0.25, 0.25)}),
        ("ViT", 224, {"do_rescale": False, "image_mean": 127.5, "image_std": 127.5}, HALF),
    ],
)
def test_what_the_file_says_or_the_class(
    tmp_path: Path, kind: str, size: int, values: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = read(tmp_path, kind, (size, size), preprocessor_config=values)
    assert found.size == (size, size) and found.crop == "squash"
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value) if name != "interpolation" else found.interpolation == value


def test_the_processor_of_transformers_5_holds_it_too(tmp_path: Path) -> None:
    values = {"image_processor": {"image_processor_type": "ViTImageProcessor", "size": {"height": 48, "width": 64}}}
    assert read(tmp_path, "ViT", (48, 64), processor_config=values).size == (48, 64)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, "image_processor_type is 'CLIPImageProcessor'"),
        (
            {"feature_extractor_type": "DonutFeatureExtractor"},
            "feature_extractor_type is 'DonutFeatureExtractor'",
        ),
        ({"size": {"shortest_edge": 224}}, r"size is \{'shortest_edge': 224\}"),
        ({"size": {"height": 224, "width": "wide"}}, "size.width is 'wide'"),
        ({"size": 256}, r"size is 256: config\.json says \(224, 224\)"),
        ({"size": 256, "do_center_crop": True, "crop_size": 225}, "crop_size is 225"),
        ({"size": 255, "do_center_crop": True, "crop_size": 224}, "crop_size is 224: this part"),
        ({"size": 224, "do_center_crop": True, "crop_size": 256}, "crop_size is 256: this part"),
        ({"do_resize": False}, "do_resize is False"),
        ({"resample": 0}, "resample is 0"),
        ({"image_mean": [0.5]}, "image_mean is"),
        ({"image_std": [0, 1, 1]}, "std is"),
        ({"rescale_factor": 0}, "rescale_factor is 0"),
        ({"do_normalize": "yes"}, "do_normalize is 'yes'"),
    ],
)
def test_what_can_not_be_expressed_is_named(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        read(tmp_path, "ViT", (224, 224), preprocessor_config=values)
    assert "preprocessor_config.json" in str(caught.value)


def test_without_a_file_nothing_is_assumed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json, nor an image_processor"):
        read(tmp_path, "ViT", (224, 224))
