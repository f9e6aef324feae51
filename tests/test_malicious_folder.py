"""Model folders from strangers: no code runs, nothing outside is read, memory stays small, one sentence says why."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.test_folder import change

from wordgaze import folder as module
from wordgaze.captioner import Captioner
from wordgaze.errors import ModelError


class Bomb:
    """What makes a folder ``exploded`` in the current one when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy to make malicious, beside a secret; the current folder is where code would leave its trace."""
    (tmp_path / "secret.json").write_text('{"password": "hunter2"}')
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def change_part(part: str, **values: Any) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        config = json.loads((folder / module.CONFIG).read_text())
        change(folder / module.CONFIG, **{part: {**config[part], **values}})

    return attack


def link(name: str, target: str) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return attack


def header(content: bytes, length: int | None = None, data: bytes = b"") -> Callable[[Path], object]:
    size = struct.pack("<Q", len(content) if length is None else length)
    more = bytes(10**6)  # as much as the model's tensors take
    return lambda folder: (folder / module.WEIGHTS).write_bytes(size + content + (data or more))


def tensor(shape: list[int], offsets: list[int]) -> bytes:
    return json.dumps({"decoder.final_norm.weight": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()


def sparse(name: str, size: int) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / name, size)


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def nested_tokenizer(folder: Path) -> None:
    values = json.loads((folder / module.TOKENIZER).read_text())
    values["normalizer"] = "MARK"
    inner = '{"type":"Sequence","normalizers":[' * 50_000 + "]}" * 50_000
    (folder / module.TOKENIZER).write_text(json.dumps(values).replace('"MARK"', inner))


def more_tokens(folder: Path) -> None:
    values = json.loads((folder / module.TOKENIZER).read_text())
    values["model"]["vocab"] |= {f"<{number}>": 1000 + number for number in range(100_000)}
    (folder / module.TOKENIZER).write_text(json.dumps(values))


NESTED = "[" * 100_000 + "]" * 100_000
HUGE = 10**12
ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a trillion words": (change_part("decoder", vocab_size=HUGE), "tokens but config.json says"),
    "a decoder of a billion layers": (change_part("decoder", layers=10**9), "describes a model of at least"),
    "a decoder a trillion wide": (change_part("decoder", width=HUGE, heads=1), "describes a model of at least"),
    "a trillion positions": (change_part("decoder", positions=HUGE), "describes a model of at least"),
    "an MLP a trillion wide": (change_part("decoder", mlp_width=HUGE), "describes a model"),
    "states a trillion wide": (change_part("decoder", source_width=HUGE), "describes a model"),
    "photos of a trillion pixels": (
        change_part("encoder", image_size=[10**6, 10**6]),
        "more than the 16,777,216 allowed",
    ),
    "a billion blocks": (
        change_part("encoder", features="map", name="resnet18", blocks=10**9),
        "describes a model of at least|config.json",
    ),
    "a ViT of a billion layers": (change_part("encoder", vit={"layers": 10**9}), "describes a model of at least"),
    "a ViT of a trillion prefix tokens": (
        change_part("encoder", vit={"num_prefix_tokens": HUGE}),
        "config.json|describes",
    ),
    "a network from the hub": (change_part("encoder", name="hf-hub:evil/model"), "timm has no network"),
    "a network from a folder": (change_part("encoder", name="local-dir:/etc"), "timm has no network"),
    "config.json nested 100,000 deep": (write(module.CONFIG, NESTED), "not valid JSON|holds no JSON object"),
    "generation.json nested 100,000 deep": (write(module.GENERATION, NESTED), "not valid JSON"),
    "a number of 10,000 digits": (write(module.GENERATION, f'{{"seed": {"9" * 10_000}}}'), "generation.json"),
    "a config.json of a terabyte": (sparse(module.CONFIG, 2**40), "1,099,511,627,776 bytes, more than"),
    "a tokenizer.json of a terabyte": (sparse(module.TOKENIZER, 2**40), "1,099,511,627,776 bytes, more than"),
    "a README.md of a terabyte": (sparse(module.CARD, 2**40), "1,099,511,627,776 bytes, more than"),
    "a tokenizer nested 50,000 deep": (nested_tokenizer, "tokenizer.json is not a readable"),
    "a tokenizer of more words": (more_tokens, "tokens but config.json says"),
    "weights whose header has no end": (header(b"{}", 2**62), "damaged or not a safetensors file"),
    "weights whose header is all of it": (header(b"{" * 100, 2**25), "damaged or not a safetensors file"),
    "a tensor longer than the file": (
        header(tensor([2**40], [0, 2**42])),
        "damaged or not a safetensors file",
    ),
    "a tensor before the file": (header(tensor([2], [-8, 0])), "damaged or not a safetensors file"),
    "a tensor over another": (header(tensor([9], [4, 40]), data=bytes(10**6)), "damaged or not a safetensors file"),
    "weights of a terabyte of zeros": (sparse(module.WEIGHTS, 2**40), "damaged or not a safetensors file"),
    "weights that are a pickle": (
        lambda folder: torch.save({"decoder": Bomb()}, folder / module.WEIGHTS),
        "damaged or not a safetensors file|describes a model of at least",
    ),
    "weights that lie outside": (link(module.WEIGHTS, "/etc/passwd"), "is a link out of the model folder"),
    "a config.json that lies outside": (link(module.CONFIG, "../secret.json"), "is a link out of the model folder"),
    "a README.md that lies outside": (link(module.CARD, "../secret.json"), "is a link out of the model folder"),
    "a config.json that is /dev/zero": (link(module.CONFIG, "/dev/zero"), "is a link out of the model folder"),
    "a tokenizer.json that is itself": (link(module.TOKENIZER, module.TOKENIZER), "has no tokenizer.json"),
    "a generation.json that is a pipe": (
        lambda folder: ((folder / module.GENERATION).unlink(), os.mkfifo(folder / module.GENERATION)),
        "has no generation.json",
    ),
    "another library's, with code": (
        write(module.CONFIG, '{"model_type": "evil", "auto_map": {"AutoModel": "modeling_evil.EvilModel"}}'),
        "evil|another library",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_malicious_folder_is_refused_in_a_sentence(folder: Path, name: str) -> None:
    attack, words = ATTACKS[name]
    attack(folder)
    code = "import os\nos.mkdir('exploded')\n"
    for file in ("modeling_evil.py", "__init__.py", "setup.py", "config.py", "sitecustomize.py"):
        (folder / file).write_text(code)
    torch.save({"weights": Bomb()}, folder / "pytorch_model.bin")
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(ModelError, match=words) as caught:
        Captioner.from_pretrained(folder, "cpu")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6 and time.monotonic() - began < 60
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600 and "hunter2" not in message
    assert not Path("exploded").exists()


EXPORT_ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "an encoder that lies outside": (link("encoder.onnx", "/etc/passwd"), "is a link out of the model folder"),
    "a decoder that is /dev/zero": (link("decoder.onnx", "/dev/zero"), "is a link out of the model folder"),
    "an onnx.json that lies outside": (link(module.EXPORT, "../secret.json"), "is a link out of the model folder"),
    "an onnx.json of a terabyte": (sparse(module.EXPORT, 2**40), "1,099,511,627,776 bytes, more than"),
    "an onnx.json nested 100,000 deep": (write(module.EXPORT, NESTED), "onnx.json is damaged"),
    "infinitely many patches": (lambda folder: change(folder / module.EXPORT, num_prefix=float("inf")), "is damaged"),
    "photos of a trillion pixels": (
        lambda folder: change(folder / module.PREPROCESSOR, size=[10**6, 10**6]),
        "more than the 16,777,216 allowed",
    ),
    "a graph of another size": (sparse("decoder.onnx", 2**40), "bytes where onnx.json says"),
    "a graph of zeros": (sparse("patches.onnx", 0), "bytes where onnx.json says"),
}


@pytest.mark.parametrize("name", EXPORT_ATTACKS)
def test_a_malicious_exported_folder_is_refused_in_a_sentence(exported_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.json").write_text('{"password": "hunter2"}')
    folder = Path(shutil.copytree(exported_folder, tmp_path / "model"))
    attack, words = EXPORT_ATTACKS[name]
    attack(folder)
    with pytest.raises(ModelError, match=words) as caught:
        Captioner.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600 and "hunter2" not in message


def test_pickles_and_code_beside_a_good_model_are_not_touched(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text("import os\nos.mkdir('exploded')\n")
    torch.save({"weights": Bomb()}, folder / "pytorch_model.bin")
    Captioner.from_pretrained(folder, "cpu")
    assert not Path("exploded").exists()


def test_the_hubs_cache_links_to_its_own_files(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b/snapshots/0123"
    blobs = tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(folder.iterdir()):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    module.load_folder(snapshot)
    (snapshot / module.CARD).unlink()
    (snapshot / module.CARD).symlink_to(tmp_path / "secret.json")
    with pytest.raises(ModelError, match="is a link out of the model folder"):
        module.load_folder(snapshot)
