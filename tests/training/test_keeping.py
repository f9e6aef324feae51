"""What a run has learnt is kept, on every path; what is worthless is not written over it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tests.training.runs import Interrupt, losses_of, rows_of, self_critical, untimed, weights_of

from wordgaze.cli.main import main
from wordgaze.data.captions import Source
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import ConfigError, DataError, ModelError, PhotoError
from wordgaze.tasks.train import describe, train
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training import load_data
from wordgaze.training import module as training_module
from wordgaze.training import self_critical as step_module
from wordgaze.training.checkpoint_file import load_checkpoint


@pytest.fixture
def plain(small_config):
    """A run without validation, whose checkpoints are too far apart to be written within it."""

    def make(**train):
        return small_config(data={"validation": {}}, train={"checkpoint_every": 1000} | train)

    return make


def steps_in(folder, name="last.ckpt"):
    return load_checkpoint(folder / "checkpoints" / name)["global_step"]


def same(one, other):
    for name in ("log.csv",):
        assert [untimed(row) for row in rows_of(one / name)] == [untimed(row) for row in rows_of(other / name)]
    weights = weights_of(other)
    for name, tensor in weights_of(one).items():
        assert torch.equal(tensor, weights[name]), name


# Without a validation set


def test_a_short_run_without_validation_goes_on(tmp_path, plain):
    train(plain(epochs=1), tmp_path / "run")
    assert steps_in(tmp_path / "run") == 5
    said = []
    assert train(plain(epochs=2), tmp_path / "run", on_message=said.append).steps == 10
    assert any(line.endswith("epoch 1, step 5") for line in said)
    assert list(losses_of(tmp_path / "run")) == list(range(1, 11))
    assert steps_in(tmp_path / "run") == 10
    with pytest.raises(ConfigError, match=r"different settings of train\.learning_rate"):
        train(plain(epochs=3, learning_rate=0.5), tmp_path / "run")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupted_run_without_validation_goes_on_as_if_it_had_not_stopped(tmp_path, plain, workers):
    config = plain(epochs=3)
    config = replace(config, data=replace(config.data, workers=workers))
    whole = train(config, tmp_path / "whole").folder

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "again", callbacks=[Interrupt(7)])
    assert steps_in(tmp_path / "again") == 5
    same(whole, train(config, tmp_path / "again").folder)


def test_a_run_that_ends_within_an_epoch_goes_on_from_there(tmp_path, plain):
    train(plain(max_steps=7), tmp_path / "run")
    assert steps_in(tmp_path / "run") == 7
    assert train(plain(max_steps=9), tmp_path / "run").steps == 9
    assert list(losses_of(tmp_path / "run")) == list(range(1, 10))


def test_epochs_between_validations_are_kept_too(tmp_path, small_config):
    config = small_config(train={"epochs": 2, "validate_every": 2, "checkpoint_every": 1000})
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", callbacks=[Interrupt(6)])
    assert steps_in(tmp_path / "run") == 5
    train(config, tmp_path / "run")
    assert [row["step"] for row in rows_of(tmp_path / "run" / "log.csv") if row["CIDEr"]] == ["10"]


def test_an_unfinished_last_batch_of_gradients_is_kept(tmp_path, plain):
    """Five batches an epoch, two a step: the last one makes a step alone."""
    train(plain(epochs=1, accumulate=2), tmp_path / "run")
    assert steps_in(tmp_path / "run") == 3
    assert train(plain(epochs=2, accumulate=2), tmp_path / "run").steps == 6


# A loss that is not finite


def spoil(monkeypatch, name, step, how, module=training_module):
    """From the ``step``-th call on, an objective's value is changed by ``how``."""
    original, calls = getattr(module, name), []

    def spoilt(*arguments):
        calls.append(1)
        value = original(*arguments)
        return how(value) if len(calls) >= step else value

    monkeypatch.setattr(module, name, spoilt)
    return calls


def finite(checkpoint):
    states = (checkpoint["state_dict"], checkpoint.get("current_model_state", {}))
    return all(tensor.isfinite().all() for state in states for tensor in state.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(tmp_path, small_config, monkeypatch, value):
    config = small_config(train={"epochs": 60})
    calls = spoil(monkeypatch, "cross_entropy", 8, lambda loss: loss * value)
    with pytest.raises(ModelError, match=r"loss is not finite at step 8: .* lower train\.learning_rate"):
        train(config, tmp_path / "run")
    assert len(calls) == 8
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == 7 and finite(checkpoint)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert list(losses_of(tmp_path / "run")) == list(range(1, 8))


def test_a_finished_model_stays_when_more_epochs_fail(tmp_path, plain, monkeypatch):
    folder = train(plain(epochs=1), tmp_path / "run").folder
    model = (folder / "model.safetensors").read_bytes()
    spoil(monkeypatch, "cross_entropy", 2, lambda loss: loss * float("nan"))
    for options in ({}, {"restart": True}):
        with pytest.raises(ModelError, match="not finite"):
            train(plain(epochs=2), folder, **options)
        assert (folder / "model.safetensors").read_bytes() == model


def test_gradients_that_are_not_finite_are_not_saved(tmp_path, small_config, monkeypatch):
    """The loss is finite; its gradient, of a root at zero, is not."""
    spoil(monkeypatch, "cross_entropy", 3, lambda loss: loss + (loss * 0).sqrt())
    with pytest.raises(ModelError, match=r"weights \S+ are not finite at step 3"):
        train(small_config(), tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == 2 and finite(checkpoint)


def test_self_critical_training_stops_as_well(tmp_path, small_config, monkeypatch):
    config = self_critical(small_config, tmp_path, epochs=60)
    spoil(monkeypatch, "self_critical", 3, lambda loss: loss * float("nan"), step_module)
    with pytest.raises(ModelError, match="loss is not finite at step 3"):
        train(config, tmp_path / "run")
    assert steps_in(tmp_path / "run") == 2


def test_where_asking_costs_time_it_is_asked_within_the_epoch(tmp_path, small_config, monkeypatch):
    monkeypatch.setattr("wordgaze.training.watch.FiniteLoss.at_once", lambda *_: False)
    calls = spoil(monkeypatch, "cross_entropy", 3, lambda loss: loss * float("nan"))
    with pytest.raises(ModelError, match="loss is not finite at step 3"):
        train(small_config(train={"log_every": 20, "checkpoint_every": 1000}), tmp_path / "run")
    assert len(calls) == 5


def test_the_command_says_it_with_exit_status_2(tmp_path, plain):
    path = tmp_path / "config.yaml"
    path.write_text(describe(plain(learning_rate=1e30, epochs=60)))
    result = CliRunner().invoke(main, ["train", "--config", str(path), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "not finite at step" in result.stderr and "bug" not in result.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()


# Photos that can't be read


@pytest.fixture
def photos(tmp_path, shapes):
    """A copy of the forty scenes as JPEGs would be on a stick: the folder of the photos, and the source."""
    shutil.copytree(Path(shapes[0].captions).parent, tmp_path / "shapes")
    return tmp_path / "shapes" / "photos", Source(str(tmp_path / "shapes" / "captions.json"))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:60])


def breaks(monkeypatch, *names, error=None):
    """From now on these photos can't be read, though they could when the run began."""
    from wordgaze.training import dataset

    original = dataset.open_photo

    def open_photo(path, **options):
        if Path(path).name in names:
            raise error or PhotoError("is damaged or cut short; get the file again")
        return original(path, **options)

    monkeypatch.setattr(dataset, "open_photo", open_photo)


def test_a_broken_photo_is_found_before_the_run_and_named(tmp_path, plain, photos):
    folder, source = photos
    for name in ("000003.png", "000017.png"):
        cut_short(folder / name)
    config = plain(epochs=1)
    config = replace(config, data=replace(config.data, train=[source]))
    with pytest.raises(DataError, match=r"^2 of 40 photos can't be read: .*000003\.png is damaged .*000017.*to skip"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()

    said = []
    config = replace(config, data=replace(config.data, on_broken="skip"))
    assert train(config, tmp_path / "run", on_message=said.append).steps == 4  # of 38 photos
    assert said[0].startswith("left out, 2 of 40 photos can't be read") and "000017.png" in said[0]


def test_a_broken_validation_photo_is_left_out_too(tmp_path, small_config, photos):
    folder, source = photos
    cut_short(folder / "000000.png")
    config = small_config(train={"max_steps": 1}, data={"validation": {"mine": source}})
    with pytest.raises(DataError, match="1 of 40 photos"):
        train(config, tmp_path / "run")
    said = []
    config = replace(config, data=replace(config.data, on_broken="skip"))
    train(config, tmp_path / "run", on_message=said.append)
    assert any("validation photos: mine 39" in line for line in said)


@pytest.mark.parametrize("error", [PhotoError("is damaged"), KeyboardInterrupt()], ids=["a photo", "Ctrl-C"])
def test_what_ends_a_run_between_two_steps_loses_none(tmp_path, plain, monkeypatch, error):
    """After step 7 no photo can be read; once they can be again, the run goes on as if it had not stopped."""
    config = plain(epochs=3)
    whole = train(config, tmp_path / "whole").folder

    class Break(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 7:
                breaks(monkeypatch, *(f"{number:06}.png" for number in range(40)), error=error)

    said, sentence = [], r"photo .*\.png can't be used: it is damaged; or set data\.on_broken to skip"
    is_photo = isinstance(error, PhotoError)
    with pytest.raises(DataError if is_photo else KeyboardInterrupt, match=sentence if is_photo else None):
        train(config, tmp_path / "again", on_message=said.append, callbacks=[Break()])
    assert not is_photo or "is kept in" in said[-1]
    monkeypatch.undo()
    assert steps_in(tmp_path / "again") == 7
    same(whole, train(config, tmp_path / "again").folder)


def test_skipping_goes_on_with_the_same_photos_after_a_stop(tmp_path, small_config, monkeypatch):
    breaks(monkeypatch, "000003.png", "000004.png", "000030.png")
    config = small_config(train={"epochs": 2, "checkpoint_every": 7}, data={"on_broken": "skip"})
    said = []
    whole = train(config, tmp_path / "whole", on_message=said.append).folder
    # Three photos to train on, and two of the same names to validate on.
    named = [line for line in said if line.startswith("left out: the photo")]
    assert len(named) == 5 and all("is damaged" in line for line in named)
    assert said[-1] == "5 photos could not be read while training; the run continued without them"

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "again", callbacks=[Interrupt(8)])
    same(whole, train(config, tmp_path / "again").folder)


def test_a_photo_that_vanished_before_a_resume_changes_no_order(tmp_path, plain, photos):
    """As if it had vanished within the run; one that was left out and has been mended since stays out."""
    folder, source = photos
    vanishing, mended = folder / "000003.png", folder / "000017.png"
    vanishing_bytes, whole_bytes = vanishing.read_bytes(), mended.read_bytes()
    cut_short(mended)
    config = plain(epochs=3, checkpoint_every=6)
    config = replace(config, data=replace(config.data, train=[source], on_broken="skip"))

    class Vanish(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 6:
                vanishing.unlink()

    whole = train(config, tmp_path / "whole", callbacks=[Vanish()]).folder
    vanishing.write_bytes(vanishing_bytes)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "again", callbacks=[Interrupt(7)])
    vanishing.unlink()
    mended.write_bytes(whole_bytes)
    said = []
    again = train(config, tmp_path / "again", on_message=said.append).folder
    assert said[0] == "left out, 1 photos that could not be read when the run began"
    assert said[1].startswith("1 photos of the run can't be read any more, and others take their places")
    assert "000003.png no such file" in said[1]
    assert list(losses_of(again)) == list(range(1, 13))
    same(whole, again)

    longer = replace(config, train=replace(config.train, epochs=4))
    shorter = replace(longer, data=replace(longer.data, on_broken="stop"))
    with pytest.raises(DataError, match=r"1 of 40 photos are missing, the first is .*000003\.png"):
        train(shorter, tmp_path / "again")
    captions = Path(source.captions)
    listed = json.loads(captions.read_text())
    gone = listed["images"].pop(0)["id"]
    listed["annotations"] = [note for note in listed["annotations"] if note["image_id"] != gone]
    captions.write_text(json.dumps(listed))
    with pytest.raises(DataError, match=r"^The sources hold 38 training photos now, but the run began with 39; put"):
        train(longer, tmp_path / "again")


def test_another_tokenizer_than_the_run_began_with_is_refused(tmp_path, plain):
    config = plain(epochs=3, checkpoint_every=6)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", callbacks=[Interrupt(7)])
    file = tmp_path / "run" / "checkpoints" / "tokenizer.json"
    own = CaptionTokenizer.load(file)
    words = [word for word, _ in sorted(own._tokenizer.get_vocab().items(), key=lambda item: item[1])]
    swapped = json.loads(file.read_text())
    vocabulary = swapped["model"]["vocab"]
    vocabulary[words[-1]], vocabulary[words[-2]] = vocabulary[words[-2]], vocabulary[words[-1]]
    file.write_text(json.dumps(swapped))
    with pytest.raises(ConfigError, match=r"tokenizer\.json is not the tokenizer that the run began with; put that"):
        train(config, tmp_path / "run")
    own.save(file)
    assert train(config, tmp_path / "run").steps == 15


def test_a_validation_photo_that_breaks_later_ends_the_run_with_its_scores(tmp_path, small_config, monkeypatch):
    monkeypatch.setattr(load_data, "find_broken", lambda paths, say: {})
    folder = tmp_path / "validation"
    shutil.copytree(Path(small_config().data.validation["shapes"].captions).parent, folder)
    cut_short(folder / "photos" / "000005.png")
    source = Source(str(folder / "captions.json"))
    config = small_config(data={"validation": {"shapes": source}}, train={"checkpoint_every": 1000})
    with pytest.raises(DataError, match=r"000005\.png can't be used"):
        train(config, tmp_path / "run")
    assert steps_in(tmp_path / "run") == steps_in(tmp_path / "run", "best.ckpt") == 5


def test_an_error_in_a_validation_loses_no_step(tmp_path, small_config, monkeypatch):
    """At the first of its two batches, or the last one of the run's end: the run goes on as if it had not stopped."""
    config = small_config(train={"checkpoint_every": 1000, "patience": 9}, data={"batch_size": 3})
    whole = train(config, tmp_path / "whole").folder
    search = training_module.generate_captions
    memory = 1, MemoryError("of the device"), ConfigError, r"Out of memory at step 13, .*last\.ckpt"
    for fails_at, error, raised, message in (memory, (4, KeyboardInterrupt(), KeyboardInterrupt, None)):
        calls, again = [], tmp_path / str(fails_at)

        def fails(*arguments, error=error, calls=calls, fails_at=fails_at):
            calls.append(1)
            if len(calls) == fails_at:
                raise error
            return search(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(training_module, "generate_captions", fails)
            with pytest.raises(raised, match=message):
                train(config, again)
        assert steps_in(again) == {1: 13, 4: 26}[fails_at]
        same(whole, train(config, again).folder)
        assert rows_of(whole / "samples.csv") == rows_of(again / "samples.csv")


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, plain, monkeypatch):
    save = pl.Trainer.save_checkpoint

    def full(self, path, *arguments):
        if self.global_step == 2:
            raise RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0")
        save(self, path, *arguments)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", full)
    with pytest.raises(ModelError, match=r"last\.ckpt can't be written .* the one before is kept"):
        train(plain(epochs=1, checkpoint_every=1), tmp_path / "run")
    assert steps_in(tmp_path / "run") == 1


def test_a_worker_process_names_the_photo_as_well(tmp_path, plain, monkeypatch):
    breaks(monkeypatch, "000003.png")
    config = plain(epochs=1)
    config = replace(config, data=replace(config.data, workers=1))
    with pytest.raises(DataError, match=r"^The photo \S+000003\.png can't be used: it is damaged"):
        train(config, tmp_path / "run")
    said = []
    config = replace(config, data=replace(config.data, on_broken="skip"))
    train(config, tmp_path / "run", on_message=said.append, restart=True)
    assert any(line.startswith("left out: the photo") and "000003.png" in line for line in said)


def test_cached_features_of_a_broken_photo_are_another_photos(tmp_path, small_config, monkeypatch):
    breaks(monkeypatch, "000003.png")
    options = {"freeze": "all", "cache": str(tmp_path / "cache")}
    config = small_config(encoder=options, train={"epochs": 1}, data={"on_broken": "skip", "validation": {}})
    first = train(config, tmp_path / "first").folder
    monkeypatch.setattr("wordgaze.training.feature_cache.FeatureCache.fill", None)  # it is there
    same(first, train(config, tmp_path / "second").folder)


def test_a_damaged_feature_cache_is_computed_again(tmp_path, small_config):
    options = {"freeze": "all", "cache": str(tmp_path / "cache")}
    config = small_config(encoder=options, train={"epochs": 1}, data={"validation": {}})
    first = train(config, tmp_path / "first").folder
    for number, (suffix, keep) in enumerate([(".npy", 999), (".flipped.npy", 0)]):
        file = next(
            path
            for path in (tmp_path / "cache").iterdir()
            if path.name.endswith(suffix) and path.name.count(".") == suffix.count(".")
        )
        file.write_bytes(file.read_bytes()[:keep])
        same(first, train(config, tmp_path / str(number)).folder)


# Captions that say nothing


def test_captions_without_a_word_are_not_learnt(tmp_path, plain, shapes):
    import json

    content = json.loads(Path(shapes[0].captions).read_text())
    for annotation in content["annotations"]:
        if annotation["image_id"] == 1:
            annotation["caption"] = "😀👍"
    first = next(annotation for annotation in content["annotations"] if annotation["image_id"] == 2)
    first["caption"] = "…!"
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    source = Source(str(path), root=str(Path(shapes[0].captions).parent / "photos"))
    config = plain(max_steps=1)
    config = replace(config, data=replace(config.data, train=[source]))
    said, count = [], sum(annotation["image_id"] == 1 for annotation in content["annotations"]) + 1
    train(config, tmp_path / "run", on_message=said.append)
    assert said[0].startswith(f"left out {count} captions without a word that the tokenizer knows, such as")
    assert said[0].endswith("and 1 photos that have no other")
    assert any(line.startswith("39 training photos") for line in said)

    for annotation in content["annotations"]:
        annotation["caption"] = "🌈"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="No photo has a caption to learn from"):
        train(config, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_large_set_is_looked_through_by_the_ends_of_its_files(tmp_path):
    from wordgaze.training.usable import find_broken

    good, middle, short = (tmp_path / name for name in ("good.jpg", "middle.jpg", "short.jpg"))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    image.save(good)
    whole = good.read_bytes()
    middle.write_bytes(whole)
    short.write_bytes(whole[: len(whole) // 3])
    (tmp_path / "last.jpg").write_bytes(whole[:-2])  # every pixel is there
    image.save(tmp_path / "good.png")
    image.save(tmp_path / "good.webp")
    (tmp_path / "short.png").write_bytes((tmp_path / "good.png").read_bytes()[:900])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    paths = [*sorted(tmp_path.iterdir()), tmp_path / "missing.jpg"]
    photos = [CaptionedPhoto(path.name, path, ()) for path in paths]
    names = {"empty.jpg", "missing.jpg", "page.jpg", "short.jpg", "short.png"}
    for decoded in (0, 1000):
        said = []
        assert {path.name for path in find_broken(photos, said.append, decoded)} == names
        assert len(said) == 1 and said[0].startswith("1 of 10 photos are taken as they are: ") and "last.jpg" in said[0]
