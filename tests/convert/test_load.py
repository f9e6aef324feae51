"""A model's name, and what is asked of the network for it: only what is needed, and each failure a sentence."""

from __future__ import annotations

import fnmatch
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file

from wordgaze.convert.load import load_model
from wordgaze.errors import ModelError, ModelWarning
from wordgaze.folder import load_folder


class Hub:
    """Instead of the network: a repository, of which the cache gets what is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, repository: Path, cache: Path) -> None:
        self.repository = repository
        self.folder = cache / "models--owner--name" / "snapshots" / ("0123456789" * 4)
        self.folder.mkdir(parents=True)
        self.revisions: list[str | None] = []
        monkeypatch.setattr("huggingface_hub.snapshot_download", self)

    def __call__(self, repo_id: str, *, allow_patterns: list[str], revision: str | None = None) -> str:
        assert repo_id == "owner/name"
        self.revisions.append(revision)
        for path in self.repository.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, self.folder / path.name)
        return str(self.folder)

    @property
    def downloaded(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def repository(blip_folder: Path, tmp_path: Path) -> Path:
    """A BLIP's repository, with much that is not needed."""
    folder = Path(shutil.copytree(blip_folder, tmp_path / "repository"))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    for name in ("tf_model.h5", "flax_model.msgpack", "pytorch_model.bin", "training_args.bin", "photo.jpg"):
        (folder / name).write_bytes(b"not needed")
    return folder


NEEDED = {"config.json", "generation_config.json", "preprocessor_config.json", "README.md"}
NEEDED |= {"tokenizer.json", "tokenizer_config.json"}


def test_only_what_is_needed_is_downloaded_at_one_commit(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch, repository, tmp_path / "cache")
    with pytest.warns(ModelWarning, match="owner/name: BLIP"):
        parts = load_model("owner/name", revision="main")
    assert hub.downloaded == {*NEEDED, "model.safetensors"}
    assert hub.revisions == ["main", hub.folder.name]
    assert parts.card is not None
    assert f"`owner/name`, revision `{hub.folder.name}`" in parts.card
    assert "base_model: owner/name" in parts.card and "license: mit" in parts.card


def test_weights_in_shards_and_pickles_are_found(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = load_file(repository / "model.safetensors")
    (repository / "model.safetensors").unlink()
    names = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for file in set(names.values()):
        save_file({name: tensors[name] for name in names if names[name] == file}, repository / file)
    index = repository / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    hub = Hub(monkeypatch, repository, tmp_path / "one")
    with pytest.warns(ModelWarning):
        expected = load_model("owner/name").model.state_dict()
    assert hub.downloaded == {*NEEDED, *names.values(), index.name}
    index.unlink()
    torch.save(tensors, repository / "pytorch_model.bin")
    hub = Hub(monkeypatch, repository, tmp_path / "two")
    with pytest.warns(ModelWarning):
        found = load_model("owner/name").model.state_dict()
    assert hub.downloaded == {*NEEDED, "pytorch_model.bin"}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_of_a_family_that_does_not_fit_no_weights_are_downloaded(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "config.json").write_text('{"model_type": "florence2"}')
    hub = Hub(monkeypatch, repository, tmp_path / "cache")
    with pytest.raises(ModelError, match=r"owner/name can't be converted: .*mixes photo and prompt"):
        load_model("owner/name")
    assert hub.downloaded == {"config.json"}


def _http(kind: type[Exception]) -> Exception:
    response = SimpleNamespace(headers={}, request=None)  # all that huggingface_hub looks at
    return kind("many\nlines", response=response)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_http(GatedRepoError), "owner/name asks for consent on the hub"),
        (_http(RepositoryNotFoundError), "no folder owner/name here and no such model on the hub"),
        (_http(RevisionNotFoundError), "owner/name has no revision 'old'"),
        (LocalEntryNotFoundError("offline"), "the hub can't be reached"),
        (ConnectionError("reset by peer"), r"can't be downloaded \(reset by peer\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_the_hub_refuses_is_a_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ModelError, match=words) as caught:
        load_model("owner/name", revision="old")
    assert "\n" not in str(caught.value)


def test_a_conversion_needs_no_transformers(
    vit_gpt2_folder: Path, blip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)  # to import it is an ImportError
    for folder in (blip_folder, vit_gpt2_folder):
        with pytest.warns(ModelWarning):
            assert load_model(folder).model.num_prefix == 1


def test_a_checkpoint_is_no_model_folder(blip_folder: Path) -> None:
    with pytest.raises(ModelError, match="make a model folder of it first"):
        load_folder(blip_folder)
