"""A checkpoint in the files of transformers 4, as most ViT-GPT2s were published: the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.model_folder import draw_photo
from tokenizers import Tokenizer

from wordgaze.captioner import Captioner
from wordgaze.convert.convert import convert


def in_old_files(source: Path, folder: Path) -> Path:
    """Copy a ViT with GPT-2, into a pickle with causal masks and the tied copy, and the files of slow tokenizers."""
    folder.mkdir()
    tensors = load_file(source / "model.safetensors")
    for layer in range(2):
        for part in ("attn", "crossattention"):
            tensors[f"decoder.transformer.h.{layer}.{part}.bias"] = torch.ones(1, 1, 40, 40).tril().bool()
            tensors[f"decoder.transformer.h.{layer}.{part}.masked_bias"] = torch.tensor(-1e4)
    tensors["decoder.lm_head.weight"] = tensors["decoder.transformer.wte.weight"]
    torch.save(tensors, folder / "pytorch_model.bin")
    Tokenizer.from_file(str(source / "tokenizer.json")).model.save(str(folder))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024}')
    settings = {
        **{"do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor"},
        **{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": 48},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    search = json.loads((source / "generation_config.json").read_text())
    names = ("num_beams", "min_length", "max_length", "no_repeat_ngram_size")
    config = json.loads((source / "config.json").read_text()) | {name: search[name] for name in names}
    ids = {name: 0 for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")}
    (folder / "config.json").write_text(json.dumps(config | ids))
    return folder


def test_the_files_of_transformers_4_hold_the_same_model(vit_gpt2_folder: Path, tmp_path: Path) -> None:
    old = convert(in_old_files(vit_gpt2_folder, tmp_path / "old"), "old").parts
    new = convert(Path(shutil.copytree(vit_gpt2_folder, tmp_path / "new")), "new").parts
    assert (old.preprocessing, old.generation) == (new.preprocessing, new.generation)
    assert old.tokenizer.special_ids == new.tokenizer.special_ids
    assert old.tokenizer.encode("A man's dog.") == new.tokenizer.encode("A man's dog.")
    states = old.model.state_dict(), new.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    photos = [draw_photo(tmp_path / f"{number}.png", number) for number in range(4)]
    captions = [[str(caption) for caption in Captioner(parts, "cpu").caption(photos)] for parts in (old, new)]
    assert captions[0] == captions[1] and all(captions[0])
