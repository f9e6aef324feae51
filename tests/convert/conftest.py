"""Small checkpoints as transformers writes them, made once and only read."""

from __future__ import annotations

from pathlib import Path

import pytest


def _written(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    pytest.importorskip("transformers")
    from scripts.experiments import tiny_checkpoints

    folder = tmp_path_factory.mktemp("checkpoints") / name
    if name == "blip":
        tiny_checkpoints.blip(folder)
    else:
        encoder, decoder = name.split("-")
        tiny_checkpoints.vision_encoder_decoder(folder, encoder, decoder)
    return folder


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BLIP."""
    return _written(tmp_path_factory, "blip")


@pytest.fixture(scope="session")
def vit_gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a ViT with GPT-2."""
    return _written(tmp_path_factory, "vit-gpt2")


@pytest.fixture(scope="session")
def deit_bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a DeiT with BERT."""
    return _written(tmp_path_factory, "deit-bert")


@pytest.fixture(scope="session")
def vit_roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a ViT with RoBERTa."""
    return _written(tmp_path_factory, "vit-roberta")
