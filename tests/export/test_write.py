"""What an export writes and refuses: the command, whole folders or none, damaged ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from tests.model_folder import make_parts

from wordgaze.cli.main import main
from wordgaze.errors import ModelError
from wordgaze.export import write
from wordgaze.export.manifest import GRAPHS, read_manifest
from wordgaze.export.session import OnnxModel
from wordgaze.folder import CARD, CONFIG, EXPORT, GENERATION, PREPROCESSOR, TOKENIZER, load_folder, save_folder

TEXTS = {CARD, CONFIG, GENERATION, PREPROCESSOR, TOKENIZER}


@pytest.fixture
def traced(exported_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graphs of ``model_folder`` from an export of it, where torch would trace them for seconds."""

    def copy(model: torch.nn.Module, size: tuple[int, int], folder: Path) -> None:
        for name in GRAPHS:
            shutil.copy(exported_folder / name, folder / name)

    monkeypatch.setattr("wordgaze.export.onnx_files.write_onnx_files", copy)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def refused(*arguments: object) -> str:
    """Return the one sentence of a command that is refused."""
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    [sentence] = result.stderr.splitlines()
    return sentence


def test_the_command_writes_all_but_the_weights(model_folder: Path, traced: None, tmp_path: Path) -> None:
    out = tmp_path / "new" / "exported"
    result = run("export", model_folder, out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{out}: float32, ") and "log-probabilities within" in result.stdout
    assert {path.name for path in out.iterdir()} == {*TEXTS, *GRAPHS, EXPORT}
    assert all((out / name).read_bytes() == (model_folder / name).read_bytes() for name in TEXTS)
    manifest = read_manifest(out)
    assert manifest.fingerprint == write.fingerprint(load_folder(model_folder).model)
    assert (manifest.grid, manifest.num_prefix, manifest.image_size) == ((4, 6), 0, (64, 96))
    assert manifest.methods == ("contrast", "last", "mean", "layer-0", "layer-1")


def test_a_fingerprint_is_of_the_weights(model_folder: Path, tmp_path: Path) -> None:
    parts = make_parts(seed=1)
    known = write.fingerprint(parts.model)
    save_folder(parts, tmp_path / "model")
    assert write.fingerprint(load_folder(tmp_path / "model").model) == known
    with torch.no_grad():
        parts.model.decoder.position_embedding.weight[3, 5] += 1e-6
    assert write.fingerprint(parts.model) != known


def test_a_failed_export_leaves_what_was_there(
    model_folder: Path, exported_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wordgaze.export.onnx_files.write_onnx_files", fail)
    parts = load_folder(model_folder)
    for out in (tmp_path / "new" / "exported", tmp_path / "old"):
        if out.name == "old":
            shutil.copytree(exported_folder, out)
        with pytest.raises(KeyboardInterrupt):
            write.export_folder(parts, out)
    assert not (tmp_path / "new").exists()
    assert {path.name for path in (tmp_path / "old").iterdir()} == {*TEXTS, *GRAPHS, EXPORT}
    OnnxModel.load(tmp_path / "old")


def test_an_export_replaces_another(model_folder: Path, exported_folder: Path, traced: None, tmp_path: Path) -> None:
    out = shutil.copytree(exported_folder, tmp_path / "out")
    (out / "confidence.json").write_text("{}")
    (out / GRAPHS[0]).write_bytes(b"")
    assert run("export", model_folder, out).exit_code == 0
    assert not (out / "confidence.json").exists()
    OnnxModel.load(out)


def test_other_graphs_than_the_models_are_not_kept(traced: None, tmp_path: Path) -> None:
    save_folder(make_parts(seed=2), tmp_path / "model")
    sentence = refused("export", tmp_path / "model", tmp_path / "out")
    assert "is not what this model does" in sentence and not (tmp_path / "out").exists()


def hold_notes(folder: Path, model: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")


def hold_a_model(folder: Path, model: Path) -> None:
    shutil.copytree(model, folder)


def be_a_file(folder: Path, model: Path) -> None:
    folder.write_text("mine")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (hold_notes, "is not empty, and no exported model; choose another folder"),
        (hold_a_model, "is not empty, and no exported model; choose another folder"),
        (be_a_file, "is not a folder, so nothing can be written there"),
    ],
)
def test_a_foreign_folder_is_refused(
    make: Callable[[Path, Path], None], words: str, model_folder: Path, tmp_path: Path
) -> None:
    make(tmp_path / "out", model_folder)
    before = sorted(tmp_path.rglob("*"))
    assert words in refused("export", model_folder, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_exported_model_is_not_exported_again(exported_folder: Path, tmp_path: Path) -> None:
    assert "is an exported model already" in refused("export", exported_folder, tmp_path / "out")


def test_a_missing_package(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "NEEDED", ("onnx", "onnxscripture"))
    sentence = refused("export", model_folder, tmp_path / "out")
    assert (
        sentence == 'wordgaze: Exporting needs onnxscripture, not installed here; run `pip install "wordgaze[onnx]"`.'
    )


def test_a_precision_that_is_none(model_folder: Path, tmp_path: Path) -> None:
    assert "int4" in run("export", model_folder, tmp_path / "out", "--precision", "int4").stderr
    with pytest.raises(write.ConfigError, match="precision is 'int4'; choose float32 or int8"):
        write.export_folder(make_parts(), tmp_path / "out", "int4")


def cut_a_graph(folder: Path) -> None:
    path = folder / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:-10])


def lose_a_graph(folder: Path) -> None:
    (folder / "patches.onnx").unlink()


def spoil_a_graph(folder: Path) -> None:
    path = folder / "encoder.onnx"
    path.write_bytes(b"\xff" * path.stat().st_size)


def spoil_the_manifest(folder: Path) -> None:
    (folder / EXPORT).write_text("{")


def lose_a_name(folder: Path) -> None:
    change(folder, grid=None)


def come_from_tomorrow(folder: Path) -> None:
    change(folder, format_version=2)


def change(folder: Path, **values: object) -> None:
    text = json.loads((folder / EXPORT).read_text()) | values
    (folder / EXPORT).write_text(json.dumps({name: value for name, value in text.items() if value is not None}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_a_graph, "decoder.onnx has"),
        (lose_a_graph, "has no patches.onnx"),
        (spoil_a_graph, "encoder.onnx can't be run by ONNX Runtime"),
        (spoil_the_manifest, "onnx.json is damaged"),
        (lose_a_name, "instead of files, fingerprint, grid"),
        (come_from_tomorrow, "has format_version 2, but this wordgaze reads 1; export the model again"),
        (shutil.rmtree, "has no onnx.json, so it is no exported model"),
    ],
)
def test_a_damaged_export(damage: Callable[[Path], None], words: str, exported_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported_folder, tmp_path / "exported")
    damage(folder)
    with pytest.raises(ModelError, match=words) as error:
        OnnxModel.load(folder)
    assert ";" in str(error.value) and "\n" not in str(error.value)


def test_int8_is_smaller_and_near(model_folder: Path, traced: None, tmp_path: Path) -> None:
    result = run("export", model_folder, tmp_path / "int8", "--precision", "int8")
    assert (result.exit_code, result.stderr) == (0, "")
    small = OnnxModel.load(tmp_path / "int8").manifest
    whole = write.export_folder(load_folder(model_folder), tmp_path / "float32").manifest
    assert (small.precision, whole.precision) == ("int8", "float32") and small.fingerprint == whole.fingerprint
    assert sum(small.files.values()) < 0.8 * sum(whole.files.values())
    graph = onnx.load(tmp_path / "int8" / "encoder.onnx").graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    matrices = [
        (node.op_type, tuple(weights[node.input[1]].dims))
        for node in graph.node
        if node.op_type.startswith("MatMul") and node.input[1] in weights
    ]
    # An MLP's second matrix, which narrows, stays as it was.
    assert {kind for kind, (rows, columns) in matrices if rows > columns} == {"MatMul"}
    assert {kind for kind, (rows, columns) in matrices if rows <= columns} == {"MatMulInteger"}
