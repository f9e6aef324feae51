"""A model's name becomes its folder, and nothing is asked of the network for what is no name of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wordgaze import folder, hub
from wordgaze.errors import ModelError
from wordgaze.folder import CONFIDENCE, CONFIG, EXPORT, FILES


class Hub:
    """Instead of the network: answers or raises, and remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer = answer
        monkeypatch.setattr("huggingface_hub.snapshot_download", self)

    def __call__(self, repo_id: str, **options: Any) -> str:
        self.asked.append((repo_id, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


def test_no_name_is_the_bundled_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub.resources, "files", lambda package: tmp_path)
    with pytest.raises(ModelError, match=r"no bundled model.*reinstall"):
        hub.resolve()
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / CONFIG).touch()
    assert hub.resolve() == tmp_path / "bundled"


def test_an_existing_folder_is_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    network = Hub(monkeypatch, AssertionError("asked the network"))
    assert hub.resolve(folder) == folder
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.resolve("owner/name") == Path("owner/name")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.resolve("~/model") == folder
    assert not network.asked


@pytest.mark.parametrize(
    "name",
    ["/no/where", "./model", "../model", "~/no/where", "runs/a/best", "runs\\best", "runs", "runs/best"],
)
def test_a_mistyped_path_is_no_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    network = Hub(monkeypatch, tmp_path)
    if name == "runs":
        (tmp_path / "runs").rmdir()
    with pytest.raises(ModelError, match="does not exist"):
        hub.resolve(name)
    with pytest.raises(ModelError, match="does not exist"):
        hub.resolve(Path("owner/name"))
    assert not network.asked


def test_a_hub_id_is_asked_for_its_config_then_for_the_files_of_a_model_folder_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = Hub(monkeypatch, tmp_path)
    assert hub.resolve("owner/name", revision="main") == tmp_path
    expected = [CONFIG], [*FILES, CONFIDENCE, EXPORT, "*.onnx"]
    for (repo_id, options), files in zip(network.asked, expected, strict=True):
        assert repo_id == "owner/name" and options.pop("revision") == "main"
        assert sorted(options.pop("allow_patterns")) == sorted(files) and not options


def test_of_another_librarys_model_only_the_config_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / CONFIG).write_text('{"model_type": "blip"}')
    network = Hub(monkeypatch, tmp_path)
    assert hub.resolve("owner/name") == tmp_path
    assert [options["allow_patterns"] for _, options in network.asked] == [[CONFIG]]


def test_what_the_hub_says_becomes_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    Hub(monkeypatch, LocalEntryNotFoundError("many\nlines"))
    with pytest.raises(ModelError, match="the hub can't be reached"):
        hub.resolve("owner/name")
    Hub(monkeypatch, ConnectionError("reset by peer"))
    with pytest.raises(ModelError, match=r"owner/name can't be downloaded \(reset by peer\)"):
        hub.resolve("owner/name")


def test_an_impossible_hub_id_is_said() -> None:
    with pytest.raises(ModelError, match="neither a folder here nor a hub id"):
        hub.resolve("owner/na me")


@pytest.mark.parametrize("name", ["ModelParts", "load_folder", "save_confidence", "save_folder"])
def test_what_was_here_before_can_still_be_imported_from_here(name: str) -> None:
    assert getattr(hub, name) is getattr(folder, name)
