"""``wordgaze convert``, and commands on a checkpoint as it is: what is written, said and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file
from tests.model_folder import draw_photo

from wordgaze import folder as module
from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.convert.load import load_model
from wordgaze.errors import ModelWarning


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLIP as transformers saves it, with a card that names its license."""
    pytest.importorskip("transformers")
    from scripts.experiments import tiny_checkpoints

    folder = tmp_path_factory.mktemp("checkpoint") / "blip"
    tiny_checkpoints.blip(folder)
    (folder / "README.md").write_text("---\nlicense: bsd-3-clause\ntags: [a]\n---\n# BLIP\n")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return draw_photo(tmp_path / "photo.png", 3, (200, 80))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def refused(*arguments: object) -> str:
    """Return the one sentence of a command that is refused."""
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    [sentence] = result.stderr.splitlines()
    return sentence


def test_a_folder_is_the_conversion_in_memory_to_the_bit(source: Path, tmp_path: Path, photo: Path) -> None:
    out = tmp_path / "new" / "model"
    result = run("convert", source, out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{out}: BLIP, 0.1 M parameters, trained as BlipForConditionalGeneration\n"
    assert sorted(path.name for path in out.iterdir()) == sorted(module.FILES)
    with pytest.warns(ModelWarning, match="converted in memory"):
        memory = load_model(source)
    loaded = module.load_folder(out)
    states = memory.model.state_dict(), loaded.model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert (memory.preprocessing, memory.generation) == (loaded.preprocessing, loaded.generation)
    assert memory.tokenizer.special_ids == loaded.tokenizer.special_ids
    assert memory.card == loaded.card == (out / "README.md").read_text()
    assert all(parameter.dtype == torch.float32 for parameter in memory.model.parameters())

    converted, directly = (run("caption", photo, "--json", "--model", model) for model in (out, source))
    assert converted.exit_code == directly.exit_code == 0
    assert converted.stdout == directly.stdout and converted.stderr == ""
    assert directly.stderr == (
        f"wordgaze: {source}: BLIP, 0.1 M parameters, trained as BlipForConditionalGeneration; converted in memory, "
        "which `wordgaze convert` does once.\n"
    )


def test_half_precision_rounds_once(source: Path, tmp_path: Path) -> None:
    assert run("convert", source, tmp_path / "model", "--precision", "float16").exit_code == 0
    stored, theirs = (
        load_file(tmp_path / "model" / "model.safetensors"),
        load_file(source / "model.safetensors"),
    )
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    words = theirs["text_decoder.bert.embeddings.word_embeddings.weight"]
    assert torch.equal(stored["decoder.token_embedding.weight"], words.half())


def test_the_card_says_where_it_comes_from(source: Path, tmp_path: Path) -> None:
    import yaml

    assert run("convert", source, tmp_path / "model").exit_code == 0
    card = (tmp_path / "model" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "bsd-3-clause" and front["library_name"] == "wordgaze" and "base_model" not in front
    for words in (
        f"Source: `{source}`",
        "crop squash",
        "num_beams 3",
        "start 52, end 3, padding 0",
        "random weights",
    ):
        assert words in card
    assert "Not taken over" not in card


def test_settings_that_are_lost_are_said_on_stderr_and_in_the_card(source: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(source, tmp_path / "blip")
    values = json.loads((folder / "generation_config.json").read_text())
    values |= {"repetition_penalty": 1.5, "bad_words_ids": [[7]]}
    (folder / "generation_config.json").write_text(json.dumps(values))
    result = run("convert", folder, tmp_path / "model")
    assert result.exit_code == 0
    assert "repetition_penalty 1.5, bad_words_ids [[7]] have no counterpart here" in result.stderr
    assert "- Not taken over: repetition_penalty 1.5" in (tmp_path / "model" / "README.md").read_text()
    result = run("caption", draw_photo(tmp_path / "photo.png", 1), "--model", folder)
    assert result.exit_code == 0 and "repetition_penalty 1.5" in result.stderr.splitlines()[1]


def fill(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")


def hold_another_checkpoint(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (fill, "is not empty, and no model folder of wordgaze"),
        (hold_another_checkpoint, "is not empty, and no model folder of wordgaze"),
        (lambda out: out.write_text("a file"), "is not a folder"),
    ],
)
def test_what_is_there_is_not_written_over(
    source: Path, tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    out = tmp_path / "out"
    make(out)
    before = {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()}
    assert words in refused("convert", source, out)
    assert {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()} == before


def test_an_empty_folder_and_a_model_of_ours_may_be_written(source: Path, tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(model_folder, tmp_path / "ours")
    for name in ("empty", "ours"):
        assert run("convert", source, tmp_path / name).exit_code == 0
        assert module.load_folder(tmp_path / name).model.config.decoder.head == "bert"


def test_a_failure_leaves_nothing_behind(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wordgaze.folder.os.replace", full)
    assert "No space left on device" in refused("convert", source, tmp_path / "new" / "model")
    assert list(tmp_path.iterdir()) == []
    cut = shutil.copytree(source, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:5000])
    assert "not downloaded to its end" in refused("convert", cut, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_is_no_checkpoint_is_said(source: Path, tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is a model folder of wordgaze already" in refused("convert", model_folder, tmp_path / "out")
    assert "holds no checkpoint (no config.json)" in refused("convert", tmp_path / "empty", tmp_path / "out")
    assert "does not exist" in refused("convert", tmp_path / "nowhere", tmp_path / "out")
    assert "which has no revisions" in refused("convert", source, tmp_path / "out", "--revision", "main")
    assert "is empty" in run("convert", "", tmp_path / "out").stderr
    assert not (tmp_path / "out").exists()


def test_commands_that_write_into_a_model_want_it_converted_first(source: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in source.iterdir())
    for arguments in (("calibrate", source, "judged.json"), ("average", source, "--out", tmp_path / "out")):
        assert f"make a model folder of it first, with `wordgaze convert {source} OUT`" in refused(*arguments)
    assert "convert" in refused("calibrate", "owner/name", "judged.json")
    assert sorted(path.name for path in source.iterdir()) == before


@pytest.mark.parametrize("name", ["preprocessor_config.json", "generation_config.json", "config.json"])
def test_no_output_is_written_over_a_checkpoint(source: Path, photo: Path, name: str) -> None:
    before = (source / name).read_bytes()
    assert "is an input" in refused("explain", photo, "--model", source, "-o", source / name)
    assert (source / name).read_bytes() == before


def test_a_folder_without_a_model_that_is_called_like_one_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Path
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    sentence = refused("caption", photo, "--model", "owner/name")
    assert "folder owner/name here, which is taken before the hub's model of that name" in sentence


def test_maps_lie_on_a_wide_photo_as_it_is(source: Path, photo: Path) -> None:
    with pytest.warns(ModelWarning):
        explanation = Captioner.from_pretrained(source, "cpu").explain(photo)
    assert explanation.photo.size == (200, 80) and explanation.grid_size == (6, 6)
    for word in explanation.words:
        assert word.map.shape == (6, 6) and abs(word.map.sum() - 1) < 1e-5
        row, column = divmod(int(word.map.argmax()), 6)
        assert word.peak == (int((column + 0.5) * 200 / 6), int((row + 0.5) * 80 / 6))


def test_a_photo_of_one_hot_corner_is_squashed_not_cut(source: Path) -> None:
    with pytest.warns(ModelWarning):
        captioner = Captioner.from_pretrained(source, "cpu")
    photo = Image.new("RGB", (300, 60))
    photo.paste("white", (275, 50, 300, 60))
    pixel_values, geometry = captioner.transform(photo)
    assert pixel_values[:, 40:, 44:].mean() > pixel_values[:, :40].max() - 1e-6
    assert geometry.box == (0.0, 0.0, 300.0, 60.0)
