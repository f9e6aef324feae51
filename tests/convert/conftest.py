"""Small checkpoints as transformers writes them, made once and only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def _checkpoint(name: str) -> Any:
    """Return a fixture: the folder of a BLIP, or of an encoder and a decoder, as in ``vit-gpt2``."""

    @pytest.fixture(scope="session")
    def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
        pytest.importorskip("transformers")
        from scripts.experiments import tiny_checkpoints

        written = tmp_path_factory.mktemp("checkpoints") / name
        if name == "blip":
            tiny_checkpoints.blip(written)
        else:
            encoder, decoder = name.split("-")
            tiny_checkpoints.vision_encoder_decoder(written, encoder, decoder)
        return written

    return folder


blip_folder = _checkpoint("blip")
vit_gpt2_folder = _checkpoint("vit-gpt2")
deit_bert_folder = _checkpoint("deit-bert")
vit_roberta_folder = _checkpoint("vit-roberta")
