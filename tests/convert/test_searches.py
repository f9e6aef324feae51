"""What a converted model does by default and after a prompt is what transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.experiments import tiny_checkpoints as tiny

from wordgaze.captioning.captions import generate_captions
from wordgaze.convert.convert import convert
from wordgaze.folder import ModelParts
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.torch_stepper import TorchStepper

transformers = pytest.importorskip("transformers")

PHOTOS = 12


def found(parts: ModelParts, pixel_values: torch.Tensor, options: GenerationOptions) -> list[list[int]]:
    with torch.no_grad():
        captions = generate_captions(parts, TorchStepper(parts.model, parts.model.encode(pixel_values)), options)
    return [list(caption[0].token_ids) for caption in captions]


def cut(rows: torch.Tensor, first: int, eos_id: int) -> list[list[int]]:
    """Return the ids of transformers' rows, up to the first end token from ``first`` on."""
    ends = [row.index(eos_id, first) + 1 if eos_id in row[first:] else len(row) for row in rows.tolist()]
    return [row[:end] for row, end in zip(rows.tolist(), ends, strict=True)]


def never_written(parts: ModelParts) -> dict[str, Any]:
    ids = parts.tokenizer
    suppressed = sorted({ids.bos_id, ids.pad_id} - {ids.eos_id})
    return {"suppress_tokens": suppressed} if suppressed else {}


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("ngram", [0, 2])
def test_a_prompt_is_conditional_captioning_with_blip(tmp_path: Path, num_beams: int, ngram: int) -> None:
    reference = tiny.blip(tmp_path)
    parts = convert(tmp_path, "blip").parts
    prompt = "A red dog, a red"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    [ids] = (tokenizer(prompt)["input_ids"],)
    assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == ["[CLS]", "[SEP]"] and len(ids) == 8
    torch.manual_seed(0)
    pixel_values = torch.randn(PHOTOS, 3, *parts.preprocessing.size)
    rows = reference.generate(
        pixel_values=pixel_values,
        input_ids=torch.tensor([ids] * PHOTOS),
        attention_mask=torch.ones(PHOTOS, len(ids), dtype=torch.long),
        **{"max_new_tokens": 9, "num_beams": num_beams, "no_repeat_ngram_size": ngram, "do_sample": False},
        **never_written(parts),
    )
    options = GenerationOptions(num_beams, max_length=9, no_repeat_ngram_size=ngram, prompt=prompt)
    ours = found(parts, pixel_values, options)
    assert ours == cut(rows, len(ids) - 1, parts.tokenizer.eos_id)
    assert all(parts.tokenizer.decode(row).startswith("a red dog, a red") for row in ours)
    assert len(set(map(tuple, ours))) > 3 and len(set(map(len, ours))) > 1


SETTINGS: list[dict[str, Any]] = [
    {"max_length": 12, "min_length": 6, "num_beams": 3, "early_stopping": True},
    {"max_length": 9, "min_length": 3, "num_beams": 2, "length_penalty": 0.3, "early_stopping": "never"},
    {"max_new_tokens": 7, "min_new_tokens": 4, "no_repeat_ngram_size": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("decoder", ["gpt2", "bert"])
def test_its_own_settings_give_the_same_ids(tmp_path: Path, decoder: str, settings: dict[str, Any]) -> None:
    reference = tiny.vision_encoder_decoder(tmp_path, decoder=decoder)
    tiny.end_sooner(reference, reference.config.eos_token_id, by=0.5 if decoder == "gpt2" else 1.5)
    for name, value in settings.items():
        setattr(reference.generation_config, name, value)
    reference.save_pretrained(tmp_path)
    parts = convert(tmp_path, "model").parts
    torch.manual_seed(0)
    pixel_values = torch.randn(PHOTOS, 3, *parts.preprocessing.size)
    rows = reference.generate(pixel_values=pixel_values, **never_written(parts))
    ours = found(parts, pixel_values, parts.generation)
    assert ours == cut(rows, 1, parts.tokenizer.eos_id)
    shortest = settings.get("min_length", settings.get("min_new_tokens", 0) + 1)
    assert min(map(len, ours)) == 1 + shortest  # the start and the end beside it
