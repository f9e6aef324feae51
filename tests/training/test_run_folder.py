"""A run destroys nothing: neither what it reads, nor what others have put where it is to be written."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.training.runs import with_settings

from wordgaze.cli.main import main
from wordgaze.data.captions import Source
from wordgaze.errors import ConfigError, DataError, ModelError
from wordgaze.folder import load_folder
from wordgaze.tasks.train import describe, parse_config, train
from wordgaze.training.checkpoint_file import load_checkpoint
from wordgaze.training.config import (
    DataOptions,
    DecoderOptions,
    DecoderShape,
    EncoderOptions,
    EncoderShape,
    TokenizerOptions,
    TrainingConfig,
    TrainOptions,
)
from wordgaze.training.folder_lock import FolderLock
from wordgaze.training.run_folder import RunFolder, drop_rows_after


def contents(folder):
    """Every file below a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(config, out, kind=ConfigError, **options):
    """The sentence with which a run is refused; nothing in its folder has changed then."""
    before = contents(out) if out.is_dir() else out.exists()
    with pytest.raises(kind) as caught:
        train(config, out, **options)
    assert (contents(out) if out.is_dir() else out.exists()) == before
    return str(caught.value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shapes):
    """A run of one epoch, without validation; with its config. Tests take a copy."""
    config = TrainingConfig(
        data=DataOptions(train=[shapes[0]], batch_size=20, captions_per_photo=1),
        tokenizer=TokenizerOptions(vocab_size=280),
        encoder=EncoderOptions(EncoderShape("test_vit", (48, 48)), pretrained=None),
        decoder=DecoderOptions(shape=DecoderShape(width=32, layers=1, heads=4, positions=32)),
        train=TrainOptions(epochs=1, accelerator="cpu"),
    )
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(config, folder)
    return config, folder


@pytest.fixture
def run(finished, tmp_path):
    config, folder = finished
    shutil.copytree(folder, tmp_path / "run")
    return config, tmp_path / "run"


def going_on_from(config, model):
    """The config of a run that starts from a model folder, whose sizes and tokenizer it takes."""
    sizes = {"tokenizer": TokenizerOptions(), "encoder": EncoderOptions(), "decoder": DecoderOptions()}
    return replace(config, **sizes, train=replace(config.train, initial_model=str(model)))


# The folder of the model that a run starts from


@pytest.mark.parametrize("spelling", ["itself", "dots", "link", "link to the model"])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("with_checkpoints", [False, True])
def test_training_into_the_initial_model_is_refused(run, tmp_path, spelling, restart, with_checkpoints):
    config, model = run
    if not with_checkpoints:
        shutil.rmtree(model / "checkpoints")
    (tmp_path / "link").symlink_to(model)
    out = {"dots": model / ".." / "run", "link": tmp_path / "link"}.get(spelling, model)
    initial = tmp_path / "link" if spelling == "link to the model" else model
    sentence = refused(going_on_from(config, initial), out, restart=restart)
    assert "its model would be lost; choose another --out" in sentence
    assert load_folder(model).tokenizer.vocab_size == 280


def test_the_command_says_so_with_exit_status_2(run, tmp_path):
    config, model = run
    path = tmp_path / "config.yaml"
    path.write_text(describe(going_on_from(config, model)))
    before = contents(model)
    result = CliRunner().invoke(main, ["train", "--config", str(path), "--out", str(model)])
    assert result.exit_code == 2 and "its model would be lost" in result.stderr and not result.stdout
    assert contents(model) == before


def test_a_file_of_the_initial_model_is_not_written_over(run, tmp_path):
    """The run's own folder holds a hard link to the model's tokenizer."""
    config, model = run
    out = tmp_path / "other"
    shutil.copytree(model, out)
    (out / "checkpoints" / "tokenizer.json").unlink()
    os.link(model / "tokenizer.json", out / "checkpoints" / "tokenizer.json")
    assert "same file" in refused(going_on_from(config, model), out, restart=True)


# Folders that are not ours


def someone_elses(tmp_path, *names):
    folder = tmp_path / "mine"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"step,epoch,seconds\nmy own {name}\n")
    return folder


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["log.csv", "samples.csv", "tokenizer.json"], "holds log.csv and 2 more"),
        (["notes.txt"], "holds notes.txt; choose a new or empty folder"),
        (["checkpoints/last.ckpt"], "not a run of `wordgaze train`"),
        (["photos/1.jpg", "captions.json"], "not a run of `wordgaze train`"),
        (["training.yaml"], "holds training.yaml"),
        (["config.json", "model.safetensors", "tokenizer.json"], "is a model folder, but not a run"),
    ],
)
def test_a_folder_that_is_not_ours_is_not_taken_over(finished, tmp_path, names, what, restart):
    assert what in refused(finished[0], someone_elses(tmp_path, *names), restart=restart)


def test_a_mistyped_path_of_captions_deletes_nothing(run, tmp_path):
    config, folder = run
    missing = replace(config, data=replace(config.data, train=[Source(str(tmp_path / "captoins.json"))]))
    for out in (folder, tmp_path / "new"):
        assert "captoins.json: no such file" in refused(missing, out, DataError, restart=True)
    (tmp_path / "empty").mkdir()
    refused(missing, tmp_path / "empty", DataError)


def test_what_is_found_late_deletes_nothing_either(run, tmp_path):
    """The tokenizer, the encoder, the photos and the sizes are looked at before the first change."""
    config, out = run
    text = tmp_path / "tokenizer.json"
    text.write_text("{}")
    wrong = [
        (replace(config, tokenizer=replace(config.tokenizer, file=str(text))), ModelError),
        (replace(config, tokenizer=replace(config.tokenizer, extra_text=["none.txt"])), DataError),
        (replace(config, encoder=with_settings(config.encoder, name="no_such_network")), ConfigError),
        (replace(config, encoder=replace(config.encoder, freeze=99)), ConfigError),
        (replace(config, encoder=replace(config.encoder, cache=str(tmp_path / "cache"))), ConfigError),
        (replace(config, encoder=replace(config.encoder, freeze="all", cache=str(text))), ConfigError),
        (replace(config, decoder=with_settings(config.decoder, heads=5)), ConfigError),
        (replace(config, decoder=with_settings(config.decoder, width=2**40, heads=4)), ConfigError),
        (replace(config, data=replace(config.data, batch_size=41)), DataError),
        (replace(config, train=replace(config.train, patience=1)), ConfigError),
        (replace(config, train=replace(config.train, initial_model=str(tmp_path / "none"))), ModelError),
        (replace(config, generation=replace(config.generation, max_length=33)), ConfigError),
    ]
    for config, kind in wrong:
        refused(config, out, kind, restart=True)


@pytest.mark.parametrize(
    "options",
    [
        {"accelerator": "gpu"},
        {"accelerator": "cuda", "devices": 1},
        {"accelerator": "mps"},
        {"devices": 99_999},
        {"accelerator": "cpu", "devices": -1},
        {"accelerator": "cpu", "devices": "0,1"},
    ],
)
def test_devices_that_the_machine_lacks_are_refused(finished, tmp_path, options, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    config = replace(finished[0], train=replace(finished[0].train, **options))
    assert refused(config, tmp_path / "run").startswith("train.")


def test_a_new_an_empty_and_an_abandoned_folder_are_fine(finished, tmp_path):
    config, _ = finished
    folder = RunFolder(tmp_path / "deep" / "new", config)
    folder.open()
    folder.path.mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", ".gitkeep", "train.log", "nohup.out"):
        (folder.path / name).touch()
        folder.open()
    (folder.path / "training.yaml").write_text(describe(config))  # a run that was killed at its beginning
    folder.open()
    assert folder.begins_run


def test_a_file_or_a_folder_without_permission_can_not_be_a_run(finished, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert "is a file, but a run needs a folder" in refused(finished[0], tmp_path / "file")
    assert "Nothing can be written in" in refused(finished[0], tmp_path / "file" / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may do anything
    assert "Nothing can be written in" in refused(finished[0], tmp_path / "run")


# A run of ours


def test_a_run_of_an_older_version_resumes(tmp_path):
    """Its description, as commit 487ae76 wrote it, says the same to this version, which writes it the same."""
    old = (Path(__file__).parent / "old_training.yaml").read_text()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "training.yaml").write_text(old)
    config = parse_config(tmp_path / "training.yaml")
    before, now = yaml.safe_load(old), yaml.safe_load(describe(config))
    for group in ("generation", "train"):
        now[group] = {name: now[group][name] for name in before[group]}  # later ones may be more
    for sources in (now["data"]["train"], now["data"]["validation"].values()):
        for source in sources:
            assert source.pop("columns") == []  # of a later version
    assert now == before
    assert (config.encoder.shape.beside, config.decoder.shape.dropout) == ("test_efficientnet", 0.2)
    with pytest.raises(ModelError, match=r"last\.ckpt can't be read"):  # after its settings were found the same
        RunFolder(tmp_path, config).open()
    for group, setting, value in (("encoder", "width", 32), ("decoder", "heads", 2), ("train", "seed", 9)):
        other = replace(config, **{group: with_settings(getattr(config, group), **{setting: value})})
        with pytest.raises(ConfigError, match=rf"different settings of {group}\.{setting};"):
            RunFolder(tmp_path, other).open()
    renamed = [Source("captions.csv", columns=("photo", "text"))]
    with pytest.raises(ConfigError, match=r"different settings of data\.train;"):
        RunFolder(tmp_path, replace(config, data=replace(config.data, train=renamed))).open()
    longer = replace(config, train=replace(config.train, epochs=99, devices=1))
    with pytest.raises(ModelError, match=r"last\.ckpt can't be read"):
        RunFolder(tmp_path, longer).open()


def test_a_model_without_checkpoints_is_replaced_only_if_asked(run, tmp_path):
    config, out = run
    shutil.rmtree(out / "checkpoints")
    assert "holds a model, but no checkpoints/last.ckpt" in refused(config, out)
    (out / "model.safetensors").unlink()
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "best.ckpt").write_bytes(b"of long training")
    assert "holds a model, but no checkpoints/last.ckpt" in refused(config, out)


def test_restart_replaces_what_is_ours_and_nothing_else(run, tmp_path):
    config, out = run
    kept = {"notes.txt": "mine", "checkpoints/step5.ckpt": "mine", "photos/1.txt": "mine"}
    for name, text in kept.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text)
    (out / "checkpoints" / "last.ckpt.new").write_text("cut short")
    config = replace(config, train=replace(config.train, seed=5))
    model = (out / "model.safetensors").read_bytes()
    assert train(config, out, restart=True).steps == 2
    assert {name: (out / name).read_text() for name in kept} == kept
    assert not (out / "checkpoints" / "last.ckpt.new").exists()
    assert (out / "model.safetensors").read_bytes() != model


@pytest.mark.parametrize("name", ["log.csv", "samples.csv"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_table_of_somebody_else_is_neither_deleted_nor_written_on(run, name, restart):
    config, out = run
    (out / name).write_text("date,what I did\n1 May,trained\n")
    assert f"{name} is not one of `wordgaze train`; move it away" in refused(config, out, restart=restart)


def test_a_run_within_its_photos_or_its_first_model_goes_on(run, tmp_path):
    config, model = run
    photos = tmp_path / "photos"
    (photos / "run").mkdir(parents=True)
    (photos / "run" / "training.yaml").write_text(describe(config))
    (model / "second").mkdir()
    (model / "second" / "training.yaml").write_text(describe(config))
    sidecar = replace(config, data=replace(config.data, train=[Source(str(photos))]))
    RunFolder(photos / "run", sidecar).open()
    second = going_on_from(config, model)
    RunFolder(model / "second", second).open()


def test_a_run_goes_on_from_its_own_description(run):
    _, out = run
    description = out / "training.yaml"
    before = description.read_bytes()
    arguments = ["train", "--config", str(description), "--out", str(out), "--train.epochs", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "resuming from" in result.stderr and description.read_bytes() == before
    result = CliRunner().invoke(main, [*arguments, "--restart"])
    assert result.exit_code == 0 and description.read_bytes() == before


@pytest.mark.parametrize("options", [{"epochs": 1}, {"max_steps": 3}])
def test_a_run_that_went_further_is_not_cut_back(run, options):
    config, out = run
    train(replace(config, train=replace(config.train, epochs=2)), out)
    config = replace(config, train=replace(config.train, **({"epochs": 9} | options)))
    assert "already" in refused(config, out)


def test_a_damaged_checkpoint_is_said_before_anything_changes(run):
    config, out = run
    last = out / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    more = replace(config, train=replace(config.train, epochs=2))
    for damaged in (whole[: len(whole) // 2], b"", b"nothing"):
        last.write_bytes(damaged)
        assert "can't be read" in refused(more, out, ModelError)
    last.write_bytes(whole)
    (out / "checkpoints" / "best.ckpt").write_bytes(whole[:999])
    assert "best.ckpt can't be read" in refused(more, out, ModelError)


def test_another_programs_checkpoint_is_none_of_ours(tmp_path):
    import torch

    for content in (
        {"state_dict": {}},
        [1],
        {"epoch": 1, "global_step": 1, "loops": {}, "state_dict": {}, "callbacks": {}},
    ):
        torch.save(content, tmp_path / "last.ckpt")
        with pytest.raises(ModelError, match="not a checkpoint of `wordgaze train`"):
            load_checkpoint(tmp_path / "last.ckpt")


def test_rows_after_a_checkpoint_are_dropped_and_broken_ones_too(tmp_path):
    path = tmp_path / "log.csv"
    drop_rows_after(path, 3)
    path.write_text('step,set,caption\n1,a,"one, two"\n3,a,x\n4,a,y\n3,a\n\nx,a,b\n')
    drop_rows_after(path, 3)
    assert path.read_text() == 'step,set,caption\n1,a,"one, two"\n3,a,x\n'
    path.write_text("")
    drop_rows_after(path, 3)
    assert not path.exists()


# Drawn scenes


def drawn(config, *names, **fields):
    sources = [Source(name, format="shapes", limit=20, **fields) for name in names]
    return replace(config, data=replace(config.data, train=sources))


@pytest.mark.parametrize("name", ["", ".", "..", "../photos", "checkpoints", "checkpoints/x", "log.csv", "/"])
def test_scenes_are_drawn_into_the_runs_own_folder_only(finished, tmp_path, name):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").touch()
    assert "drawn into a folder of the run's own" in refused(drawn(finished[0], name), tmp_path / "run")
    assert "can't be one" in refused(drawn(finished[0], str(tmp_path / "photos")), tmp_path / "run")
    assert (tmp_path / "photos" / "mine.jpg").exists()


def test_photos_where_scenes_were_to_be_drawn_stay(run):
    config, out = run
    (out / "shapes" / "photos").mkdir(parents=True)
    (out / "shapes" / "captions.json").write_text(json.dumps({"images": [], "annotations": []}))
    (out / "shapes" / "photos" / "holiday.png").touch()
    assert "were not drawn by `wordgaze train`" in refused(drawn(config, "shapes"), out, restart=True)


def test_sources_that_would_overwrite_each_other_are_refused(finished, tmp_path):
    two = drawn(finished[0], "shapes", "shapes/more")
    assert "one is drawn into the other" in refused(two, tmp_path / "run")
    two = drawn(finished[0], "shapes")
    two = replace(two, data=replace(two.data, validation={"same": replace(two.data.train[0], seed=1)}))
    assert "with different limits or seeds" in refused(two, tmp_path / "run")


def test_scenes_are_drawn_once_and_stay(finished, tmp_path):
    config = drawn(finished[0], "shapes/train")
    config = replace(config, data=replace(config.data, validation={"same": config.data.train[0]}))
    said = []
    result = train(config, tmp_path / "run", on_message=said.append)
    assert f"{tmp_path / 'run' / 'shapes' / 'train' / 'captions.json'}: 20 photos" in said[0]
    photo = tmp_path / "run" / "shapes" / "train" / "photos" / "000019.png"
    made = photo.stat().st_mtime_ns
    train(replace(config, train=replace(config.train, epochs=2)), tmp_path / "run")
    assert photo.stat().st_mtime_ns == made
    assert result.cider is not None
    train(config, tmp_path / "run", restart=True)
    assert photo.stat().st_mtime_ns != made


def test_scenes_are_not_drawn_over_what_the_run_reads(finished, tmp_path):
    config = drawn(finished[0], "shapes")
    folder = train(config, tmp_path / "run").folder / "shapes"
    held = {"same": Source(str(folder / "captions.json"), root=str(folder / "photos"))}
    config = replace(config, data=replace(config.data, validation=held))
    assert "captions.json is an input and lies in" in refused(config, tmp_path / "run", restart=True)


def test_inputs_in_the_folder_of_a_run_are_not_written_over(run, tmp_path):
    config, out = run
    (out / "README.md").write_text("a text to learn words from")
    config = replace(config, tokenizer=replace(config.tokenizer, extra_text=[str(out / "README.md")]))
    assert "is an input and would be overwritten" in refused(config, out, restart=True)
    own = replace(config, tokenizer=TokenizerOptions(file=str(out / "tokenizer.json")))
    assert "is an input and would be overwritten" in refused(own, out, restart=True)
    link = tmp_path / "tokenizer.json"
    link.symlink_to(out / "tokenizer.json")
    linked = replace(config, tokenizer=TokenizerOptions(file=str(link)))
    assert "is the same file as" in refused(linked, out, restart=True)
    assert Path(link).exists()


def test_two_runs_at_once_in_a_folder_are_one_too_many(tmp_path, small_config):
    run = RunFolder(tmp_path, small_config())
    with run.locked():
        run.open()
        run.begin(None)
        second = RunFolder(tmp_path, small_config())
        with pytest.raises(ConfigError, match=r"Another process is training into .*; wait for it, or choose"):
            second.begin(None)
        with pytest.raises(ConfigError, match="Another process is training into"), second.locked():
            pass
        left = sorted(path.name for path in tmp_path.rglob("*"))
    with second.locked():
        assert sorted(path.name for path in tmp_path.rglob("*")) == left  # a lock leaves no file


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_that_outlives_its_run_does_not_hold_the_lock(tmp_path):
    lock = FolderLock(tmp_path)
    assert lock.take() and not FolderLock(tmp_path).take()
    reader, writer = os.pipe()
    reader_of_worker, writer_of_worker = os.pipe()
    if (worker := os.fork()) == 0:
        os.write(writer_of_worker, b"x")
        os.read(reader, 1)
        os._exit(0)
    os.read(reader_of_worker, 1)  # it runs
    lock.release()
    try:
        assert FolderLock(tmp_path).take()
    finally:
        os.write(writer, b"x")
        os.waitpid(worker, 0)
