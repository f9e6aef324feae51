"""Whole runs, on drawn scenes with a tiny encoder."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from tests.tiny_gpt2 import tiny_gpt2
from tests.training.runs import Interrupt, losses_of, rows_of, self_critical, untimed, weights_of

from wordgaze.captioner import Captioner
from wordgaze.data.captions import read_captions
from wordgaze.errors import ConfigError, DataError
from wordgaze.folder import load_folder
from wordgaze.model.encoders.fused import FusedEncoder
from wordgaze.model.encoders.vit import VitEncoder, keep_patches
from wordgaze.tasks.train import describe, parse_config, train
from wordgaze.training import self_critical as step_module
from wordgaze.training.callbacks import EarlyStopping, SampleCaptions
from wordgaze.training.config import (
    DecoderOptions,
    DecoderShape,
    EncoderOptions,
    EncoderShape,
    TokenizerOptions,
)
from wordgaze.training.module import sample_patch_indices
from wordgaze.training.self_critical import SelfCriticalStep
from wordgaze.training.starting_model import build_model


def test_a_run_leaves_a_model_folder_a_log_and_samples(tmp_path, small_config, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = train(small_config(), tmp_path / "run")
    assert not list((tmp_path / "elsewhere").iterdir())
    parts = load_folder(result.folder)
    assert result.steps == 10 and result.cider is not None
    assert parts.model.grid == (3, 3) and parts.preprocessing.size == (48, 48)
    assert list(losses_of(result.folder)) == list(range(1, 11))
    with (result.folder / "log.csv").open(newline="") as file:
        validations = [row for row in csv.DictReader(file) if row["CIDEr"]]
    assert [row["step"] for row in validations] == ["5", "10"]
    assert all(0 < float(row["distinct/shapes"]) <= 1 for row in validations)
    samples = (result.folder / "samples.csv").read_text().splitlines()
    assert len(samples) == 1 + 2 * 8
    assert "seed 0" in (result.folder / "README.md").read_text()


@pytest.mark.parametrize(("every", "step"), [(7, 8), (100, 6)], ids=["within an epoch", "behind an epoch"])
@pytest.mark.parametrize("objective", ["cross_entropy", "scst"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path, small_config, every, step, objective):
    """Photos, captions, dropout, samples, rates, averages, scores and logs all go on."""
    config = small_config(train={"epochs": 3, "checkpoint_every": every})
    if objective == "scst":
        config = self_critical(small_config, tmp_path, epochs=3, checkpoint_every=every)
    whole = train(config, tmp_path / "whole")
    interrupt_at(step, config, tmp_path / "again")
    said = []
    again = train(config, tmp_path / "again", on_message=said.append)
    assert any("resuming from" in line for line in said)
    assert again.cider == whole.cider
    for name in ("log.csv", "samples.csv"):
        rows, others = (rows_of(folder / name) for folder in (whole.folder, again.folder))
        assert [untimed(row) for row in rows] == [untimed(row) for row in others]
    for name, tensor in weights_of(whole.folder).items():
        assert torch.equal(tensor, weights_of(again.folder)[name]), name


def interrupt_at(step, config, folder):
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, callbacks=[Interrupt(step)])
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert not (folder / "model.safetensors").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path, small_config):
    config = tmp_path / "config.yaml"
    config.write_text(describe(small_config(train={"epochs": 40, "checkpoint_every": 5})))
    command = [
        sys.executable,
        "-m",
        "wordgaze",
        "train",
        "--config",
        str(config),
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run([*command, "--train.epochs", "40"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr
    assert losses_of(tmp_path / "run")[200]


def test_other_settings_are_refused_and_restart_begins_anew(tmp_path, small_config):
    config = small_config(train={"epochs": 1})
    first = train(config, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"train\.learning_rate"):
        train(small_config(train={"epochs": 1, "learning_rate": 0.5}), tmp_path / "run")
    again = train(small_config(train={"epochs": 1, "learning_rate": 0.5}), tmp_path / "run", restart=True)
    assert again.steps == first.steps
    assert list(losses_of(again.folder)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("freeze", ["all", 3])
def test_a_feature_cache_changes_nothing_but_time(tmp_path, small_config, freeze, monkeypatch):
    kept = {"freeze": freeze, "cache": str(tmp_path / "cache"), "cache_views": 2}
    groups = {"train": {"precision": "float32", "epochs": 2}, "data": {"workers": 0}}
    plain = train(small_config(encoder={"freeze": freeze}, **groups), tmp_path / "plain")
    cached = train(small_config(encoder=kept, **groups), tmp_path / "cached")
    one, other = losses_of(plain.folder), losses_of(cached.folder)
    assert [float(one[step]) for step in one] == pytest.approx([float(other[step]) for step in one], rel=2e-3)
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    train(small_config(encoder=kept, **groups), tmp_path / "second")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == files
    train(small_config(encoder=kept, train=groups["train"] | {"seed": 1}), tmp_path / "other")
    assert len(list((tmp_path / "cache").iterdir())) == 2 * len(files)


def test_the_saved_weights_are_the_average_of_each_step(tmp_path, small_config):
    """An average that never moves keeps the first weights; one that forgets everything is the last weights."""
    folders = {}
    for decay in (0.0, 0.9):
        config = small_config(train={"epochs": 1, "ema_decay": decay}, data={"validation": {}})
        folders[decay] = train(config, tmp_path / str(decay)).folder
    name = "decoder.token_embedding.weight"
    pl.seed_everything(0, verbose=False)
    start = build_model(config.encoder, config.decoder, 280).state_dict()[name]
    last, average = (weights_of(folders[decay])[name] for decay in (0.0, 0.9))
    assert 0 < (average - start).norm() < 0.7 * (last - start).norm()


def test_large_gradients_are_clipped(tmp_path, small_config, monkeypatch):
    norms = []
    original = torch.nn.utils.clip_grad_norm_

    def spy(parameters, limit):
        parameters = list(parameters)
        before = original(parameters, limit)
        after = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
        norms.append((float(before), float(after)))
        return before

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    train(small_config(train={"epochs": 1, "gradient_clip": 0.01}), tmp_path / "run")
    assert len(norms) == 5
    assert all(before > 0.01 and after <= 0.0101 for before, after in norms)


@pytest.mark.parametrize("features", ["patches", "map"])
def test_any_encoder_is_trained_saved_and_explained(tmp_path, small_config, features):
    encoder = {
        "name": "test_efficientnet",
        "features": "map",
        "blocks": 1,
        "width": 32,
        "image_size": (64, 64),
    }
    if features == "patches":
        encoder = {"prefix_tokens": True}
    folder = train(small_config(encoder=encoder, train={"epochs": 1}), tmp_path / "run").folder
    explanation = Captioner.from_pretrained(folder).explain("demo/kingfisher.jpg", text="a red circle")
    assert [word.text for word in explanation.words] == ["a", "red", "circle"]
    assert all(abs(word.map.sum() - 1) < 1e-4 and word.map.shape == explanation.grid_size for word in explanation.words)


@pytest.mark.parametrize("values", [{"data": {"batch_size": 0}}, {"train": {"accumulate": 0}}])
def test_impossible_settings_are_refused(small_config, values):
    with pytest.raises(ConfigError, match="at least 1"):
        small_config(**values)


def test_a_missing_photo_is_found_before_the_run(tmp_path, small_config, shapes):
    folder = tmp_path / "shapes"
    shutil.copytree(Path(shapes[0].captions).parent, folder)
    (folder / "photos" / "000003.png").unlink()
    source = replace(shapes[0], captions=str(folder / "captions.json"))
    with pytest.raises(DataError, match=r"000003\.png"):
        train(small_config(data={"train": [source]}), tmp_path / "run")


def test_frozen_layers_stay_and_the_rest_learns(tmp_path, small_config):
    config = small_config(encoder={"freeze": 2}, train={"precision": "float32"})
    torch.manual_seed(0)
    folder = train(config, tmp_path / "run").folder
    pl.seed_everything(config.train.seed, verbose=False)
    before, after = build_model(config.encoder, config.decoder, 280).state_dict(), weights_of(folder)
    assert torch.equal(
        before["encoder.network.blocks.1.attn.qkv.weight"], after["encoder.network.blocks.1.attn.qkv.weight"]
    )
    assert not torch.equal(
        before["encoder.network.blocks.2.attn.qkv.weight"], after["encoder.network.blocks.2.attn.qkv.weight"]
    )


def test_a_decoder_can_start_from_gpt2(tmp_path, small_config):
    transformers = pytest.importorskip("transformers")
    folder = tiny_gpt2(tmp_path / "gpt2")
    model = transformers.GPT2LMHeadModel.from_pretrained(folder)
    size = model.config.vocab_size
    started = build_model(small_config().encoder, DecoderOptions(str(folder)), size)
    assert torch.equal(started.decoder.token_embedding.weight, model.transformer.wte.weight)
    assert started.config.decoder.layers == 2
    ids = torch.randint(0, size, (1, 9))
    with torch.no_grad():
        for block in started.decoder.blocks:  # without what GPT-2 lacks, it is GPT-2
            block.cross_attention.output.weight.zero_()
        found = started.eval().decoder(ids, started.start(torch.randn(1, 9, 32))).logits
        assert torch.allclose(found, model.eval()(ids).logits, atol=1e-4)
    result = train(small_config(decoder={"pretrained": str(folder)}, train={"epochs": 1}), tmp_path / "run")
    parts = load_folder(result.folder)
    assert parts.tokenizer.decode(parts.tokenizer.encode("A Red circle.")) == "a red circle"


def test_a_wrong_config_is_one_sentence(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("train: {epochs: many}\n")
    with pytest.raises(ConfigError, match="epochs") as caught:
        parse_config(config)
    assert "\n" not in str(caught.value)
    config.write_text("train: {epohcs: 3}\n")
    with pytest.raises(ConfigError, match="epohcs"):
        parse_config(config)
    config.write_text("train: {epochs: 3}\n")
    assert parse_config(config, ["--encoder.freeze", "3"]).encoder.freeze == 3
    assert parse_config(config, ["--train.epochs", "4"]).train.epochs == 4
    with pytest.raises(ConfigError):
        parse_config(config, ["--train.epohcs", "4"])
    with pytest.raises(ConfigError, match="does not exist"):
        parse_config(tmp_path / "nothing.yaml")


def test_captions_all_alike_are_said_loudly(tmp_path, shapes):
    module, trainer = SimpleNamespace(captions={"shapes": ["a man"] * 40}), SimpleNamespace(global_step=9)
    said = []
    photos = {"shapes": read_captions(shapes[0].captions).photos}
    callback = SampleCaptions(tmp_path / "samples.csv", photos, said.append)
    callback.on_validation_end(trainer, module)
    assert "WARNING: only 1 different captions" in said.pop()
    module.captions = {"shapes": [f"a man {i}" for i in range(40)]}
    callback.on_validation_end(trainer, module)
    assert not said


def test_patience_ends_a_run_whose_score_falls():
    said = []
    callback, trainer = EarlyStopping(2, said.append), SimpleNamespace(should_stop=False, callback_metrics={})
    for cider, stopped in ((0.5, False), (0.6, False), (0.4, False), (0.7, False), (0.6, False), (0.7, True)):
        trainer.callback_metrics = {"CIDEr": cider}
        callback.on_validation_end(trainer, None)
        assert trainer.should_stop == stopped, cider
    assert "0.700" in said[0]


def test_a_run_ends_early_and_keeps_its_best(tmp_path, small_config):
    """Nothing is learnt at a rate of zero, so no epoch beats the model it began with."""
    still = {"learning_rate": 0.0, "epochs": 9, "patience": 2, "weight_decay": 0.0}
    config = self_critical(small_config, tmp_path, **still)
    config = replace(config, encoder=replace(config.encoder, learning_rate=0.0))
    result = train(config, tmp_path / "run")
    assert result.steps == 10
    validations = [row for row in rows_of(tmp_path / "run" / "log.csv") if row["CIDEr"]]
    assert [row["step"] for row in validations] == ["0", "5", "10"]
    assert len({row["CIDEr"] for row in validations}) == 1
    parent = weights_of(tmp_path / "parent")
    for name, tensor in weights_of(result.folder).items():
        assert torch.equal(tensor, parent[name]), name


def test_validation_waits_for_its_epochs_and_comes_at_the_end(tmp_path, small_config):
    config = self_critical(small_config, tmp_path, epochs=3, validate_every=2)
    train(config, tmp_path / "run")
    validations = [row["step"] for row in rows_of(tmp_path / "run" / "log.csv") if row["CIDEr"]]
    assert validations == ["0", "10", "15"]


def test_a_run_that_ends_within_an_epoch_is_validated_there(tmp_path, small_config):
    config = self_critical(small_config, tmp_path, max_steps=7, learning_rate=1e-2)
    result = train(config, tmp_path / "run")
    rows = rows_of(tmp_path / "run" / "log.csv")
    ciders = {row["step"]: float(row["CIDEr"]) for row in rows if row["CIDEr"]}
    assert list(ciders) == ["0", "5", "7"]
    assert result.cider == pytest.approx(max(ciders.values()), abs=1e-5)
    again = train(config, tmp_path / "run")
    assert (again.steps, again.cider) == (7, result.cider)


def test_frozen_layers_see_each_validation_photo_once(tmp_path, small_config, monkeypatch):
    seen = []
    forward = VitEncoder.forward

    def counted(self, pixel_values, *others):
        seen.append(len(pixel_values))
        return forward(self, pixel_values, *others)

    monkeypatch.setattr(VitEncoder, "forward", counted)
    options = {"freeze": "all", "cache": str(tmp_path / "cache")}
    kept = train(small_config(encoder=options, train={"epochs": 3}), tmp_path / "kept")
    assert sum(seen) == 40 + 8  # the training photos' one view, the validation photos
    ciders = [float(row["CIDEr"]) for row in rows_of(kept.folder / "log.csv") if row["CIDEr"]]
    assert len(ciders) == 3 and max(ciders) == pytest.approx(kept.cider, abs=1e-5)


def test_an_initial_model_grows_and_learns_on_from_cached_features(tmp_path, small_config, monkeypatch):
    parent = train(small_config(train={"epochs": 2}), tmp_path / "parent")
    blocks = len(load_folder(parent.folder).model.encoder.network.blocks)
    how = {"freeze": blocks + 1, "cache": str(tmp_path / "cache"), "cache_views": 2, "patch_drop": 0.5}
    grown = {"image_size": (64, 64), "beside": "test_efficientnet", "blocks": 1}
    config = replace(
        small_config(
            train={"initial_model": str(parent.folder), "epochs": 2, "ema_decay": 0.9},
            data={"validation": {}},
        ),
        tokenizer=TokenizerOptions(),
        encoder=EncoderOptions(EncoderShape(**grown), beside_pretrained=None, **how),
        decoder=DecoderOptions(shape=DecoderShape(dropout=0.3)),
    )
    result = train(config, tmp_path / "run")
    parts, before = load_folder(result.folder), load_folder(parent.folder)
    assert parts.preprocessing.size == (64, 64)
    assert parts.model.config.encoder.beside == "test_efficientnet"
    assert parts.model.config.decoder == replace(before.model.config.decoder, dropout=0.3)
    for name, tensor in before.model.encoder.network.blocks.state_dict().items():
        assert torch.equal(tensor, parts.model.encoder.network.blocks.state_dict()[name]), name
    assert parts.model.encoder.blocks[0].attn.proj.weight.abs().max() > 0
    assert all(projection.weight.abs().max() > 0 for projection in parts.model.encoder.projections)
    with pytest.raises(ConfigError, match=r"leave encoder\.name out"):
        train(replace(config, encoder=EncoderOptions(EncoderShape("vit_small_patch16_224"))), tmp_path / "other")
    with pytest.raises(ConfigError, match=r"set encoder\.beside too"):
        train(replace(config, encoder=EncoderOptions(EncoderShape(beside_maps=(-3,)))), tmp_path / "other")

    # The next stage finds in the cache what the frozen networks make of its photos.
    monkeypatch.setattr(FusedEncoder, "forward_stem", None)
    stage = replace(config.train, initial_model=str(result.folder), objective="scst", learning_rate=1e-3)
    config = replace(config, encoder=EncoderOptions(**how), decoder=DecoderOptions(), train=stage)
    after = load_folder(train(config, tmp_path / "next").folder).model
    assert after.config == parts.model.config
    assert not torch.equal(after.encoder.projections[1].weight, parts.model.encoder.projections[1].weight)


def test_a_photo_goes_without_some_of_its_patches():
    torch.manual_seed(0)
    keep_indices = sample_patch_indices(2, 10, 0.3, torch.device("cpu"))
    assert keep_indices.shape == (2, 7)
    for photo in keep_indices.tolist():
        assert len(set(photo)) == 7 and set(photo) < set(range(10))
    assert keep_indices[0].tolist() != keep_indices[1].tolist()
    assert sample_patch_indices(2, 10, 0.99, torch.device("cpu")).shape == (2, 1)
    states = torch.arange(2 * 11).view(2, 11, 1).expand(2, 11, 3)
    subset = keep_patches(states, keep_indices, num_prefix=1)
    assert subset[:, 0, 0].tolist() == [0, 11]  # a class token is no patch
    assert subset[1, 1:, 2].tolist() == [11 + 1 + index for index in keep_indices[1].tolist()]


def test_a_model_folder_brings_its_sizes_and_tokenizer(tmp_path, small_config):
    how = {"stretch": 1.5, "crop": "center"}
    parent = train(small_config(train={"epochs": 1}, data=how), tmp_path / "parent").folder
    train_on = {"initial_model": str(parent), "epochs": 1}
    with pytest.raises(ConfigError, match=r"leave tokenizer\.vocab_size out"):
        train(small_config(train=train_on, tokenizer={"vocab_size": 300}), tmp_path / "run")
    config = replace(small_config(train=train_on), tokenizer=TokenizerOptions())
    parts = load_folder(train(config, tmp_path / "run").folder)
    assert parts.model.config == load_folder(parent).model.config
    assert parts.tokenizer.vocab_size == 280
    assert (parts.preprocessing.max_aspect_change, parts.preprocessing.crop) == (1.5, "center")
    config = replace(config, data=replace(config.data, stretch=1.0))
    assert load_folder(train(config, tmp_path / "as-they-are").folder).preprocessing.max_aspect_change == 1


@pytest.mark.slow
def test_self_critical_training_raises_its_reward(tmp_path, small_config):
    config = self_critical(small_config, tmp_path, epochs=6, learning_rate=1e-3, samples=5)
    train(config, tmp_path / "run")
    rows = [row for row in rows_of(tmp_path / "run" / "log.csv") if row["reward"]]
    rewards = [float(row["reward"]) for row in rows]
    assert sum(rewards[-10:]) / 10 > 1.5 * sum(rewards[:5]) / 5
    assert all(0 <= float(row["endless"]) <= 1 and 0 <= float(row["repeats"]) <= 1 for row in rows)
    assert all(float(row["words"]) > 0 for row in rows)


@pytest.mark.parametrize("wanted", [False, True])
def test_samples_are_drawn_without_dropout_and_learnt_from_with_it_if_asked(
    tmp_path, small_config, monkeypatch, wanted
):
    config = self_critical(small_config, tmp_path, max_steps=2, sample_dropout=wanted)
    drawn, scored = set(), set()
    draw, forced = SelfCriticalStep.draw, step_module.teacher_forced

    def watched_draw(self, *arguments):
        drawn.add(self.model.decoder.training)
        return draw(self, *arguments)

    def watched_pass(model, *arguments):
        scored.add(model.decoder.training)
        return forced(model, *arguments)

    monkeypatch.setattr(SelfCriticalStep, "draw", watched_draw)
    monkeypatch.setattr(step_module, "teacher_forced", watched_pass)
    train(config, tmp_path / "run")
    assert (drawn, scored) == ({False}, {wanted})


@pytest.mark.parametrize("freeze", [2, "none"])
def test_a_loaded_model_learns_with_dropout_but_for_its_frozen_layers(tmp_path, small_config, freeze):
    parent = train(small_config(train={"max_steps": 1}), tmp_path / "parent")
    sizes = {"tokenizer": TokenizerOptions(), "decoder": DecoderOptions()}
    options = {"initial_model": str(parent.folder), "max_steps": 2}
    config = replace(small_config(train=options), encoder=EncoderOptions(freeze=freeze), **sizes)
    seen = []

    class Modes(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_index):
            encoder = module.model.encoder
            blocks = [block.training for block in encoder.network.blocks]
            seen.append((module.model.decoder.training, blocks))

    train(config, tmp_path / "run", callbacks=[Modes()])
    frozen = 0 if freeze == "none" else freeze
    assert len(seen) == 2
    for decoder, blocks in seen:
        assert decoder
        assert blocks == [index >= frozen for index in range(len(blocks))]


def test_gradients_of_several_batches_make_one_step(tmp_path, small_config):
    result = train(small_config(train={"epochs": 2, "accumulate": 2}, data={"batch_size": 4}), tmp_path / "run")
    assert result.steps == 10
    rates = [float(row["learning_rate"]) for row in rows_of(tmp_path / "run" / "log.csv") if row["loss"]]
    assert rates[-1] == 0.0 and max(rates) == pytest.approx(1e-3)  # the cosine counts steps, not batches


def test_extra_text_teaches_the_tokenizer_words(tmp_path, small_config):
    text = tmp_path / "text.txt"
    text.write_text("a zeppelin above a zeppelin\n" * 9)
    folders = {}
    for name, files in (("with", [str(text)]), ("without", [])):
        config = small_config(train={"max_steps": 1}, tokenizer={"vocab_size": 400, "extra_text": files})
        folders[name] = train(config, tmp_path / name).folder
    lengths = {name: len(load_folder(folder).tokenizer.encode("zeppelin")) for name, folder in folders.items()}
    assert lengths["with"] == 3 < lengths["without"]  # start, the word, end
    with pytest.raises(DataError, match="extra_text"):
        train(small_config(tokenizer={"extra_text": [str(tmp_path / "none.txt")]}), tmp_path / "none")
