"""``wordgaze average``: the mean of several models as a model folder, and what stages of training learned."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from tests.model_folder import make_parts

from wordgaze.cli.main import main
from wordgaze.folder import TOKENIZER, ModelParts, load_folder, save_folder
from wordgaze.generation.confidence import FEATURES, Confidence
from wordgaze.tasks import average as task
from wordgaze.training.surgery import expand


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of one encoder, whose decoders differ; and a third of another."""
    folder = tmp_path_factory.mktemp("models")
    parts = [make_parts(seed) for seed in range(3)]
    parts[1].model.encoder.load_state_dict(parts[0].model.encoder.state_dict())
    confidence = Confidence(0.5, dict.fromkeys(FEATURES, 0.25))
    for name, each in zip(("one", "other", "third"), parts, strict=True):
        save_folder(replace(each, confidence=confidence), folder / name)
    return folder


@pytest.fixture
def folders(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The three models in the current folder."""
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return [tmp_path / name for name in ("one", "other", "third")]


def average(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["average", *map(str, arguments)])


def weights_of(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_folder(folder).model.state_dict()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("spelling", ["--length-penalty", "--length_penalty"])
def test_weights_are_averaged_and_what_is_shared_keeps_its_bits(folders: list[Path], spelling: str) -> None:
    result = average("one", "other", "--out", "mean", spelling, "1.5", "--stretch", "1.3", "--mirrored")
    assert (result.exit_code, result.stdout) == (0, "mean: the mean of 2 models\n"), result.output
    one, other, mean = (load_folder(folder) for folder in (*folders[:2], "mean"))
    for name, tensor in mean.model.encoder.state_dict().items():
        assert torch.equal(tensor, one.model.encoder.state_dict()[name]), name
    for name, tensor in mean.model.decoder.state_dict().items():
        both = [each.model.decoder.state_dict()[name] for each in (one, other)]
        assert torch.allclose(tensor, (both[0] + both[1]) / 2, atol=1e-6), name
    assert not torch.equal(one.model.decoder.token_embedding.weight, other.model.decoder.token_embedding.weight)
    assert mean.card != other.card and mean.confidence is None
    assert (mean.generation.length_penalty, other.generation.length_penalty) == (1.5, 1.0)
    assert (mean.preprocessing.max_aspect_change, other.preprocessing.max_aspect_change) == (1.3, 1.0)
    assert (mean.preprocessing.hflip_tta, other.preprocessing.hflip_tta) == (True, False)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_mean_of_one_model_is_that_model(folders: list[Path], tmp_path: Path, dtype: str) -> None:
    save_folder(load_folder("one"), "stored", dtype=dtype)
    assert average("stored", "--out", "copy").stdout == "copy: stored\n"
    assert contents(tmp_path / "copy") == contents(tmp_path / "stored")


def test_one_model_with_another_search_keeps_its_weights_alone(folders: list[Path]) -> None:
    assert average("one", "--out", "copy", "--length-penalty", "2").exit_code == 0
    copy, one = load_folder("copy"), load_folder("one")
    assert all(map(torch.equal, weights_of("copy").values(), weights_of("one").values()))
    assert (copy.generation.length_penalty, one.generation.length_penalty) == (2.0, 1.0)
    assert copy.confidence is None and copy.card != one.card


def test_what_stages_learned_is_added(folders: list[Path]) -> None:
    stages = ["--learnt", "other", "one", "--learnt", "one", "third", "--scale", "0.8"]
    result = average("third", "--out", "sum", *stages)
    assert result.stdout == "sum: third, and what 2 stages learned\n"
    first, second, begun, found = map(weights_of, ("one", "other", "third", "sum"))
    for name, tensor in found.items():
        expected = begun[name] + 0.8 * ((second[name] - first[name]) + (first[name] - begun[name])) / 2
        assert torch.allclose(tensor, expected, atol=1e-5), name


def test_what_a_stage_learned_from_the_model_itself_makes_the_other(folders: list[Path]) -> None:
    """The model that is changed is also the one to compare with: its own weights must still be there."""
    stages = ["--learnt", "other", "one", "--learnt", "other", "one"]
    assert average("one", "--out", "sum", *stages).exit_code == 0
    expected = weights_of("other")
    for name, tensor in weights_of("sum").items():
        assert torch.allclose(tensor, expected[name], atol=1e-4), name


def test_each_model_is_loaded_once(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(folder: Path) -> ModelParts:
        loaded.append(str(folder))
        return load_folder(folder)

    monkeypatch.setattr(task, "load_folder", load)
    stages = ["--learnt", "other", "one", "--learnt", "third", "one"]
    assert average("other", "one", "--out", "sum", *stages).exit_code == 0
    assert sorted(loaded) == ["one", "other", "third"]


def test_what_differs_is_rounded_row_by_row(folders: list[Path]) -> None:
    for out, flags in (("exact", []), ("rounded", ["--round", "4"])):
        assert average("one", "other", "--out", out, *flags).exit_code == 0
    before, after = (load_folder(folder).model for folder in ("exact", "rounded"))
    for name, tensor in before.encoder.state_dict().items():
        assert torch.equal(tensor, after.encoder.state_dict()[name]), name
    rounded = after.decoder.state_dict()
    for name, tensor in before.decoder.state_dict().items():
        if tensor.ndim < 2:
            assert torch.equal(tensor, rounded[name]), name
            continue
        step = tensor.std(dim=1, keepdim=True).clamp(min=1e-6).log2().sub(4).floor().exp2()
        assert ((tensor - rounded[name]).abs() <= step / 2).all(), name
        assert torch.equal(rounded[name] / step, (rounded[name] / step).round()), name
        assert torch.equal(rounded[name].half().float(), rounded[name]), name


def test_counts_have_no_mean_and_are_the_last_models() -> None:
    states = [{"seen": torch.tensor(count), "w": torch.tensor([float(count)])} for count in (4, 7)]
    mean, shared = task.mean_of(states)
    assert (mean["seen"].item(), mean["w"].item(), shared) == (7, 5.5, set())
    assert task.with_learned(mean, [(states[1], states[0])], 1.0)["seen"].item() == 7


def test_models_of_two_tokenizers_have_no_mean(folders: list[Path]) -> None:
    file = folders[0] / TOKENIZER
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    result = average("one", "other", "--out", "mean")
    assert result.exit_code == 2 and "one differs from other in its sizes or tokenizer" in result.stderr
    assert not Path("mean").exists()


def test_models_of_two_sizes_have_no_mean(folders: list[Path]) -> None:
    parts = make_parts(0)
    larger = replace(parts.model.config.encoder, image_size=(96, 96))
    preprocessing = replace(parts.preprocessing, size=(96, 96))
    save_folder(replace(parts, model=expand(parts.model, larger), preprocessing=preprocessing), "larger")
    for arguments in (["one", "larger"], ["larger", "--learnt", "larger", "one"]):
        result = average(*arguments, "--out", "mean")
        assert result.exit_code == 2 and "one differs from larger in its sizes or tokenizer" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing argument 'DIR...'"),
        ("one other", "Missing option '--out'"),
        ("one nothing --out new", "The model folder nothing does not exist"),
        ("one photos --out new", "photos has no config.json"),
        ("one one/config.json --out new", "is a file, not a model folder"),
        ("one --out notes.md", "notes.md is not a folder"),
        ("one --out photos", "is not a model folder of wordgaze"),
        ("one other --out one", "one/config.json is an input and would be overwritten"),
        ("one --learnt other one --out ./one/../other", "config.json"),
        ("one --out link", "is an input"),
        ("one other --out new --scale 0.5", "--scale applies to --learnt"),
        ("one --learnt other one --scale nan --out new", "The scale is nan"),
        ("one --out new --learnt other", "requires 2 arguments"),
        ("one --round -1 --out new", "--round"),
        ("one --stretch 0.5 --out new", "stretch"),
        ("one --length-penalty nan --out new", "length_penalty"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_written(
    folders: list[Path], tmp_path: Path, arguments: str, message: str
) -> None:
    Path("photos").mkdir()
    Path("photos/README.md").write_text("Not ours.")
    Path("notes.md").write_text("notes")
    Path("link").symlink_to("one")
    before = {folder: contents(folder) for folder in (*folders, tmp_path / "photos")}
    result = average(*arguments.split())
    assert result.exit_code == 2, result.output
    assert message in result.stderr and "bug" not in result.stderr
    assert {folder: contents(folder) for folder in before} == before
    assert not Path("new").exists() and Path("notes.md").read_text() == "notes"


def test_weights_that_overflow_are_not_saved(folders: list[Path]) -> None:
    result = average("one", "--learnt", "other", "one", "--scale", "1e39", "--out", "new")
    assert result.exit_code == 2 and "not finite" in result.stderr
    assert math.isfinite(sum(float(tensor.float().sum()) for tensor in weights_of("one").values()))
    shutil.rmtree("new", ignore_errors=True)
