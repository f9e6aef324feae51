"""Weights in all the files that they come in, and what is said of those that do not fit."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.ids import stable
from torch import Tensor

from wordgaze.convert.checkpoint import PICKLE, PICKLE_INDEX, SAFETENSORS, SAFETENSORS_INDEX
from wordgaze.convert.convert import convert
from wordgaze.errors import ModelError

Tensors = dict[str, Tensor]
WORDS = "text_decoder.bert.embeddings.word_embeddings.weight"


@pytest.fixture
def blip(blip_folder: Path, tmp_path: Path) -> Path:
    """A BLIP's folder to change."""
    return Path(shutil.copytree(blip_folder, tmp_path / "blip"))


def state(folder: Path) -> Tensors:
    return convert(folder, "checkpoint").parts.model.state_dict()


def without_safetensors(folder: Path) -> Tensors:
    tensors = load_file(folder / SAFETENSORS)
    (folder / SAFETENSORS).unlink()
    return tensors


def as_pickle(folder: Path) -> None:
    torch.save(without_safetensors(folder), folder / PICKLE)


def as_old_pickle(folder: Path) -> None:
    torch.save(without_safetensors(folder), folder / PICKLE, _use_new_zipfile_serialization=False)


def as_shards(folder: Path) -> None:
    _in_two(folder, SAFETENSORS_INDEX, "model-{}.safetensors", save_file)


def as_pickled_shards(folder: Path) -> None:
    _in_two(folder, PICKLE_INDEX, "pytorch_model-{}.bin", torch.save)


def _in_two(folder: Path, index: str, name: str, save: Callable[..., object]) -> None:
    tensors = without_safetensors(folder)
    weight_map = {key: name.format(number % 2) for number, key in enumerate(sorted(tensors))}
    for file in set(weight_map.values()):
        save({key: tensors[key] for key in tensors if weight_map[key] == file}, folder / file)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def change(folder: Path, **changes: Any) -> None:
    """Write the weights with some tensors replaced, or with None removed."""
    tensors = {**load_file(folder / SAFETENSORS), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / SAFETENSORS)


@pytest.mark.parametrize("store", [as_pickle, as_old_pickle, as_shards, as_pickled_shards])
def test_the_same_weights_in_other_files(blip: Path, store: Callable[[Path], None]) -> None:
    expected = state(blip)
    store(blip)
    found = state(blip)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_as_it_is(blip: Path, dtype: torch.dtype) -> None:
    change(blip, **{name: tensor.to(dtype) for name, tensor in load_file(blip / SAFETENSORS).items()})
    words = state(blip)["decoder.token_embedding.weight"]
    assert words.dtype == torch.float32
    assert torch.equal(words, load_file(blip / SAFETENSORS)[WORDS].float())


def test_safetensors_are_taken_before_a_pickle(blip: Path) -> None:
    (blip / PICKLE).write_bytes(b"never read")
    state(blip)


def test_what_a_family_carries_unused_is_passed_over(blip: Path, vit_gpt2_folder: Path, tmp_path: Path) -> None:
    change(
        blip,
        **{
            "text_decoder.bert.embeddings.position_ids": torch.arange(40)[None],
            "vision_model.embeddings.position_ids": torch.arange(37)[None],
            "text_decoder.cls.predictions.decoder.weight": load_file(blip / SAFETENSORS)[WORDS].clone(),
        },
    )
    state(blip)
    gpt2 = Path(shutil.copytree(vit_gpt2_folder, tmp_path / "gpt2"))
    tensors = load_file(gpt2 / SAFETENSORS)
    assert "encoder.pooler.dense.weight" in tensors
    masks = {
        f"decoder.transformer.h.1.{part}.{name}": value
        for part in ("attn", "crossattention")
        for name, value in (
            ("bias", torch.ones(1, 1, 40, 40, dtype=torch.uint8)),
            ("masked_bias", torch.tensor(-1e4)),
        )
    }
    change(gpt2, **masks, **{"decoder.lm_head.weight": tensors["decoder.transformer.wte.weight"].clone()})
    state(gpt2)


def cut(folder: Path) -> None:
    (folder / SAFETENSORS).write_bytes((folder / SAFETENSORS).read_bytes()[:-50])


def index_of(*files: str) -> Callable[[Path], object]:
    def store(folder: Path) -> None:
        as_shards(folder)
        index = json.loads((folder / SAFETENSORS_INDEX).read_text())
        index["weight_map"] |= {f"extra.{number}": file for number, file in enumerate(files)}
        (folder / SAFETENSORS_INDEX).write_text(json.dumps(index))

    return store


def pickled(value: object) -> Callable[[Path], object]:
    def store(folder: Path) -> None:
        (folder / SAFETENSORS).unlink()
        torch.save(value, folder / PICKLE)

    return store


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (without_safetensors, "has no weights"),
        (cut, f"{SAFETENSORS} is damaged, or not downloaded to its end"),
        (lambda f: (f / SAFETENSORS).write_bytes(b""), "is damaged, or not downloaded to its end"),
        (
            lambda f: (f / SAFETENSORS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
            "is a pointer of Git LFS",
        ),
        (lambda f: change(f, **{WORDS: None}), f"has no tensor {WORDS}"),
        (lambda f: change(f, itm_head=torch.zeros(2)), "has a tensor itm_head, which a model"),
        (lambda f: change(f, **{WORDS: torch.zeros(54, 33)}), f"{WORDS} of shape (54, 33)"),
        (
            lambda f: change(f, **{WORDS: torch.full((54, 32), torch.inf)}),
            f"{WORDS} holds values that are not finite",
        ),
        (lambda f: change(f, **{WORDS: torch.zeros(54, 32, dtype=torch.int8)}), f"{WORDS} holds torch.int8"),
        (
            lambda f: change(f, **{"text_decoder.cls.predictions.decoder.weight": torch.zeros(54, 32)}),
            f"decoder.weight differs from {WORDS}",
        ),
        (index_of("../blip.safetensors"), "'../blip.safetensors', a file outside its folder"),
        (index_of("/etc/passwd"), "'/etc/passwd', a file outside its folder"),
        (index_of("..\\x.safetensors"), "a file outside its folder"),
        (index_of("C:\\x.safetensors"), "a file outside its folder"),
        (index_of("model-2.safetensors"), f"has no model-2.safetensors, which {SAFETENSORS_INDEX} names"),
        (index_of("model-0.safetensors"), "model-0.safetensors has no tensor extra.0, which"),
        (pickled({"a": 1}), "holds no named tensors"),
        (pickled([torch.zeros(1)]), "holds no named tensors"),
        (lambda f: (f / "config.json").write_text('{"model_type": "blip"'), "config.json is damaged"),
    ],
    ids=stable,
)
def test_weights_that_do_not_fit_are_one_sentence(blip: Path, break_it: Callable[[Path], object], words: str) -> None:
    break_it(blip)
    with pytest.raises(ModelError) as caught:
        convert(blip, "checkpoint")
    message = str(caught.value)
    assert words in message and "\n" not in message and "; " in message


class Malicious:
    """A pickle of it makes a folder where it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_malicious_pickle_runs(blip: Path, tmp_path: Path, zipped: bool) -> None:
    (blip / SAFETENSORS).unlink()
    content = {"a": Malicious(str(tmp_path / "made"))}
    if zipped:
        torch.save(content, blip / PICKLE)
    else:
        (blip / PICKLE).write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ModelError, match="a pickle that holds more than tensors"):
        convert(blip, "checkpoint")
    assert not (tmp_path / "made").exists()
    torch.load(blip / PICKLE, weights_only=False) if zipped else pickle.loads((blip / PICKLE).read_bytes())
    assert (tmp_path / "made").exists()  # it was one


def test_an_output_layer_of_its_own_is_refused_and_an_equal_one_is_not(vit_gpt2_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit_gpt2_folder, tmp_path / "gpt2"))
    config = json.loads((folder / "config.json").read_text())
    assert config["tie_word_embeddings"] is False  # the whole's, which says nothing
    config["decoder"]["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"has no tensor decoder\.lm_head\.weight"):
        convert(folder, "checkpoint")
    words = load_file(folder / SAFETENSORS)["decoder.transformer.wte.weight"].clone()
    change(folder, **{"decoder.lm_head.weight": words})
    state(folder)
    words[3, 5] += 1
    change(folder, **{"decoder.lm_head.weight": words})
    with pytest.raises(ModelError, match=r"lm_head\.weight differs from decoder\.transformer\.wte\.weight"):
        convert(folder, "checkpoint")
