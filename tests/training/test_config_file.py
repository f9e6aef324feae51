"""What a config may say: each mistake in it is one sentence, with its place and, where one is near, the right name."""

import dataclasses
import math

import pytest
from click.testing import CliRunner
from tests.training.runs import with_settings

from wordgaze.cli.main import main
from wordgaze.data.captions import Source
from wordgaze.errors import ConfigError
from wordgaze.model.config import DecoderConfig, EncoderConfig
from wordgaze.training.config import (
    AugmentationOptions,
    DataOptions,
    DecoderOptions,
    DecoderShape,
    EncoderOptions,
    EncoderShape,
    TokenizerOptions,
    TrainingConfig,
    TrainOptions,
)
from wordgaze.training.config_file import describe, parse_config
from wordgaze.training.settings import options_from, setting_fields, settings_of


@pytest.fixture
def refusal(tmp_path):
    """The sentence with which a YAML text (or bytes) and overrides are refused, without the file's name."""

    def parse(content, *overrides):
        path = tmp_path / "run.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ConfigError) as caught:
            parse_config(path, overrides)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(path), "run.yaml")

    return parse


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "run.yaml is empty"),
        ("# nothing yet\n", "run.yaml is empty"),
        ("- train\n", "run.yaml is a list; it must have settings in groups"),
        ("epochs\n", "run.yaml is a text; it must have settings in groups"),
        ("train:\n\tepochs: 3\n", "in line 2, column 1: a tab; YAML is indented with spaces"),
        ("train: {epochs: 3\n", "not YAML in line 2"),
        ("a: 1\n---\nb: 2\n", "another document"),
        (b"\x89PNG\r\n\x1a\n\0", "not UTF-8 text (byte 0)"),
        (b"\0\1binary", "not YAML: special characters are not allowed"),
        ("[" * 1000, "nested too deeply"),
        ("train:\n", "no settings below train in line 1"),
        ("data: {augmentation: yes}\n", "no settings below data.augmentation in line 1"),
        ("train: {epochs: 3}\ntrain: {seed: 1}\n", "has train in line 1 and again in line 2"),
        ("train:\n  epochs: 3\n  epochs: 4\n", "has train.epochs in line 2 and again in line 3"),
        ("data: {train: [{captions: a, captions: b}]}", "has data.train[0].captions in line 1 and again"),
        ("data:\n  validation:\n    x: {captions: a}\n    x: {captions: b}\n", "data.validation.x in line 3"),
        ("train: {epohcs: 3}\n", "unknown setting train.epohcs in line 1; did you mean train.epochs?"),
        ("epochs: 3\n", "unknown setting epochs in line 1; did you mean train.epochs?"),
        ("model: 3\n", "choose from data, tokenizer, encoder, decoder, train, generation"),
        ("data: {train: [{captions: a, exlude: b}]}", "did you mean data.train[0].exclude?"),
        ("data: {validation: {x: {captoins: a}}}", "did you mean data.validation.x.captions?"),
        ("train: {epochs: many}\n", "train.epochs is many; it must be a whole number"),
        ("train: {epochs: 2.5}\n", "train.epochs is 2.5; it must be a whole number"),
        ("train: {epochs: null}\n", "train.epochs is null; it must be a whole number"),
        ("encoder: {image_size: 48}\n", "encoder.image_size is 48; it must be two whole numbers"),
        ("data: {train: {captions: a}}\n", "it must be a list of sources, such as [{captions: FILE}]"),
        ("data: {train: [photos]}\n", "data.train is photos; it must be a list of sources"),
        ("data: {train: [{limit: 3}]}\n", "data.train: a source has no captions"),
        ("data: {train: [{captions: a, limit: x}]}\n", "data.train.limit is x; it must be a whole number, or null"),
    ],
)  # fmt: skip
def test_a_broken_config_is_refused_in_a_sentence(refusal, content, what):
    assert what in refusal(content)


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("--train.epoch=3", "no setting --train.epoch; did you mean --train.epochs?"),
        ("--encoder.learningrate=3", "did you mean --encoder.learning_rate?"),
        ("--epochs=3", "did you mean --train.epochs?"),
        ("--seed=3", "did you mean --train.seed or --generation.seed?"),
        ("--restar", "did you mean --restart?"),
        ("--whatever", "no setting --whatever; settings are --GROUP.NAME VALUE"),
        ("--train.epochs=x", "train.epochs is x; it must be a whole number"),
        ("--train.epochs", "--train.epochs: expected one argument"),
        ("stray", "unrecognized arguments: stray"),
        ("--data.train=[{captions: a, limt: 3}]", "data.train has an unknown limt; did you mean limit?"),
    ],
)
def test_a_wrong_override_is_refused_in_a_sentence(refusal, override, what):
    assert what in refusal("train: {epochs: 3}\n", override)


@pytest.mark.parametrize("abbreviated", ["--train.epoch", "--train.see", "--train.max_step"])
def test_no_setting_is_taken_for_another(tmp_path, abbreviated):
    path = tmp_path / "run.yaml"
    path.write_text("train: {epochs: 3}\n")
    result = CliRunner().invoke(main, ["train", "--config", str(path), abbreviated, "1", "--out", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert f"{abbreviated}; did you mean {abbreviated}" in result.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", [["caption", "--num-beam", "3"], ["evaluate", "--caption", "x"]])
def test_other_commands_do_not_guess_either(command):
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2 and "No such option" in result.stderr


def test_a_config_is_written_and_read_again(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: [{captions: a, exclude: b}], on_broken: skip}\nencoder: {image_size: [48, 64]}\n")
    config = parse_config(path, ["--train.devices", "2", "--data.validation.x.captions", "c"])
    assert config.data.train == [Source("a", exclude="b")] and config.data.validation == {"x": Source("c")}
    assert config.train.devices == 2
    path.write_text(describe(config))
    assert parse_config(path) == config


@pytest.mark.parametrize("setting", ["decoder.vocab_size", "encoder.shape", "decoder.norm", "encoder.vit"])
def test_what_a_user_should_not_set_is_no_setting(refusal, setting):
    """The tokenizer decides on ids; and a shape that only other people's checkpoints have is not trained."""
    group, name = setting.split(".")
    assert f"unknown setting {setting}" in refusal(f"{group}: {{{name}: 1}}\n")
    assert "no setting" in refusal("train: {epochs: 3}\n", f"--{setting}", "1")
    assert name not in settings_of(TrainingConfig())[group]


def test_a_shape_is_a_model_s_own_config():
    """Its fields are settings without being named again, and make a whole encoder and decoder."""
    encoder, decoder = EncoderOptions(EncoderShape(width=32)), DecoderOptions(shape=DecoderShape(heads=4))
    assert encoder.shape.whole() == EncoderConfig(width=32)
    assert decoder.shape.whole(vocab_size=7) == DecoderConfig(vocab_size=7, heads=4)
    for options in (encoder, decoder):
        assert settings_of(options_from(type(options), settings_of(options))) == settings_of(options)
        hidden = {field.name for field in dataclasses.fields(options.shape) if "hidden" in field.metadata}
        assert set(vars(options.shape)) - set(settings_of(options)) == hidden
    with pytest.raises(ConfigError, match="does not divide into 5 heads"):
        EncoderShape(width=32, heads=5).whole()


# Several files


@pytest.fixture
def files(tmp_path):
    """Write YAML texts; returns their paths, and takes them out of a sentence."""

    def write(*texts):
        paths = [tmp_path / f"{name}.yaml" for name in "abc"[: len(texts)]]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return paths

    return write


TINY = """
tokenizer: {vocab_size: 280}
encoder: {name: test_vit, image_size: [48, 48], pretrained: null}
decoder: {width: 32, layers: 1, heads: 4}
train: {accelerator: cpu, devices: 1}
"""
FIRST = """
data:
  train: [{captions: one, limit: 3}, {captions: two}]
  validation: {x: {captions: xs, limit: 2}, y: {captions: ys}}
tokenizer: {extra_text: [a, b]}
encoder: {image_size: [8, 16], beside: test_efficientnet}
train: {epochs: 3, seed: 4}
"""


@pytest.mark.parametrize(
    ("second", "changed"),
    [
        ("train: {epochs: 5}", {"train": {"epochs": 5}}),
        ("encoder: {beside: null}", {"encoder": {"beside": None}}),
        ("encoder: {image_size: [32, 32]}", {"encoder": {"image_size": (32, 32)}}),
        ("tokenizer: {extra_text: [c]}", {"tokenizer": {"extra_text": ["c"]}}),
        ("tokenizer: {extra_text: []}", {"tokenizer": {"extra_text": []}}),
        ("data: {train: [{captions: three}]}", {"data": {"train": [Source("three")]}}),
        ("data: {train: []}", {"data": {"train": []}}),
        ("data: {validation: {x: {captions: z}}}", {"data": {"validation": {"x": Source("z")}}}),
        ("data: {validation: {}}", {"data": {"validation": {}}}),
        ("data: &d {validation: {z: {captions: z}}}", {"data": {"validation": {"z": Source("z")}}}),
        ("data: {<<: {train: [{captions: three}]}}", {"data": {"train": [Source("three")]}}),
    ],
)
def test_later_files_win_field_by_field(files, second, changed):
    first, *_ = paths = files(FIRST, second)
    expected = parse_config(first)
    for group, values in changed.items():
        replaced = with_settings(getattr(expected, group), **values)
        expected = dataclasses.replace(expected, **{group: replaced})
    assert parse_config(paths) == expected
    assert parse_config([*paths, paths[0]]) == parse_config(first)


def test_a_group_in_a_file_of_its_own_is_a_later_file_too(files, tmp_path):
    (tmp_path / "data.yaml").write_text("validation: {z: {captions: zs}}\n")
    paths = files(FIRST, f"data: {tmp_path / 'data.yaml'}\n")
    config = parse_config(paths)
    assert config.data.validation == {"z": Source("zs")} and len(config.data.train) == 2


def test_overrides_come_after_all_files(files):
    paths = files(FIRST, "train: {epochs: 5}")
    overrides = ["--train.epochs", "7", "--data.train=[{captions: mine}]"]
    config = parse_config(paths, overrides)
    assert (config.train.epochs, config.train.seed, config.data.train) == (7, 4, [Source("mine")])


@pytest.mark.parametrize(
    ("texts", "overrides", "what"),
    [
        ((FIRST, "train: {epohcs: 3}"), [], "b.yaml has an unknown setting train.epohcs in line 1"),
        (("train: {epohcs: 3}", FIRST), [], "a.yaml has an unknown setting"),
        ((FIRST, ""), [], "b.yaml is empty"),
        (("train: {seed: 1}", "train: {epochs: x}"), [], "b.yaml can't be used: train.epochs is x"),
        (("train: {epochs: x}", "train: {seed: 1}"), [], "a.yaml can't be used: train.epochs is x"),
        (("train: {epochs: 0}", "train: {seed: 1}"), [], "a.yaml can't be used: train.epochs is 0"),
        (("train: {epochs: 0}", "train: {epochs: -1}"), [], "b.yaml can't be used: train.epochs is -1"),
        ((FIRST, "data: {train: [{limit: 3}]}"), [], "b.yaml can't be used: data.train: a source has no"),
        ((FIRST, "data: {<<: 3}"), [], "b.yaml"),
        (("train: {objective: scst}", FIRST), [], "a.yaml can't be used: train.objective is 'scst'"),
        ((FIRST, "train: {seed: 1}"), ["--train.epochs=0"], "with their overrides can't be used: train.epochs"),
        ((FIRST, "train: {seed: 1}"), ["--train.epochs=x"], "with their overrides can't be used: train.epochs"),
    ],
)  # fmt: skip
def test_of_several_files_the_sentence_names_the_one(files, texts, overrides, what):
    with pytest.raises(ConfigError) as caught:
        parse_config(files(*texts), overrides)
    assert what in str(caught.value) and "\n" not in str(caught.value)


def test_what_one_file_alone_could_not_be_is_right_with_the_others(files):
    """A value out of its range that a later file replaces; an objective that needs a model another file names."""
    paths = files("train: {epochs: 0, objective: scst}", "train: {epochs: 2, initial_model: bundled}")
    assert parse_config(paths).train.epochs == 2


def test_the_command_takes_several_configs(files, tmp_path, monkeypatch):
    """The run is named after the last one, and its own config holds all of them."""
    monkeypatch.chdir(tmp_path)
    first = f"data: {{train: [{{captions: s, format: shapes, limit: 4}}], batch_size: 2}}\n{TINY}"
    paths = files(first, "train: {max_steps: 1, seed: 5}\n")
    configs = [part for path in paths for part in ("--config", path.name)]
    result = CliRunner().invoke(main, ["train", *configs, "--train.seed", "6"])
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == ["runs/b"]
    expected = parse_config(paths, ["--train.seed", "6"])
    assert parse_config(tmp_path / "runs" / "b" / "training.yaml") == expected
    assert (expected.data.batch_size, expected.train.max_steps, expected.train.seed) == (2, 1, 6)


GROUPS = {
    "data": DataOptions,
    "data.augmentation": AugmentationOptions,
    "tokenizer": TokenizerOptions,
    "encoder": EncoderOptions,
    "decoder": DecoderOptions,
    "train": TrainOptions,
}
WRONG = {
    "data": {
        "batch_size": [0, -1, 2.5, "8", None, True],
        "captions_per_photo": [0, 10**9],
        "max_length": [0],
        "workers": [-1, 10**6],
        "crop": ["middle"],
        "stretch": [0.5, math.nan, math.inf],
        "on_broken": ["ignore", None],
        "train": ["captions.json", None],
        "validation": [["captions.json"]],
    },
    "data.augmentation": {
        "scale": [(0, 1), (0.5, 2), (0.9, 0.1), (0.5,), 1.0],
        "ratio": [(0, 1), (2, 1), (1, math.inf)],
        "whole": [-0.1, 2, math.nan],
        "flip": [1.1],
        "color": [-1],
        "crop": ["middle"],
    },
    "tokenizer": {"vocab_size": [0, 258, 10**11], "min_frequency": [-1], "extra_text": ["a.txt"]},
    "encoder": {
        "name": [None, 3],
        "image_size": [(0, 48), (48,), 48, (48.5, 48)],
        "features": ["maps"],
        "map_index": [None],
        "blocks": [-1],
        "width": [0],
        "heads": [0],
        "prefix_tokens": ["yes"],
        "drop_path": [-0.1, 1, math.nan],
        "beside_maps": [(0.5,)],
        "freeze": [-1, "some", 1.5],
        "learning_rate": [-1e-4, math.nan, math.inf],
        "layer_decay": [-0.1, 1.5],
        "patch_drop": [1],
        "cache_views": [0],
    },
    "decoder": {
        "width": [0],
        "layers": [0],
        "heads": [0],
        "mlp_ratio": [0, math.nan],
        "positions": [0],
        "dropout": [1, -0.1],
    },
    "train": {
        "objective": ["mle"],
        "samples": [1],
        "baseline": ["mean"],
        "temperature": [0, -1, math.nan],
        "cross_entropy_weight": [-1],
        "patience": [-1],
        "validate_every": [0],
        "epochs": [0, -1, 2.5],
        "max_steps": [0, -2],
        "learning_rate": [-1, math.nan, math.inf, "fast"],
        "weight_decay": [-1],
        "warmup_steps": [-1],
        "label_smoothing": [1, -0.1],
        "gradient_clip": [-1, math.nan],
        "accumulate": [0],
        "ema_decay": [1, -0.1, math.nan],
        "precision": ["float64"],
        "devices": [0, -2, "abc", "", "0,0", "1.5"],
        "accelerator": ["quantum"],
        "checkpoint_every": [0],
        "log_every": [0],
        "seed": [-1, 2**32, 99999999999999999999, 1.5],
    },
}


@pytest.mark.parametrize("group", GROUPS)
def test_each_field_is_checked_when_it_is_made(group):
    for name, values in WRONG[group].items():
        for value in values:
            with pytest.raises(ConfigError, match="it must be") as caught:
                options_from(GROUPS[group], {name: value})
            assert str(caught.value).startswith(f"{group}.{name} is "), (name, value)


@pytest.mark.parametrize("group", GROUPS)
def test_no_number_is_left_unchecked(group):
    numbers = {field.name for field in setting_fields(GROUPS[group]) if str(field.type) in ("int", "float")}
    assert numbers <= set(WRONG[group])
