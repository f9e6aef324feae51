"""What a run shows: loggers with pictures, curves, the card; and the model on the hub."""

import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tests.training.runs import Interrupt, losses_of, weights_of

from wordgaze import hub
from wordgaze.cli.main import main
from wordgaze.errors import ConfigError
from wordgaze.folder import CONFIDENCE, FILES
from wordgaze.tasks import train as task
from wordgaze.tasks.train import describe, plot_curves, train, train_and_present
from wordgaze.training.loggers import logged_run_id


def events_of(folder):
    """Return the tags of scalars, and pictures by tag, that TensorBoard shows of a run."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"), {"images": 0, "scalars": 0})
    events.Reload()
    scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return scalars, {tag: events.Images(tag) for tag in events.Tags()["images"]}


def test_tensorboard_gets_the_numbers_of_the_log_and_pictures_with_maps(tmp_path, small_config):
    config = small_config(train={"loggers": "tensorboard", "epochs": 1})
    said = []
    result = train_and_present(config, tmp_path / "run", on_message=said.append, command="wordgaze train --config x")
    scalars, pictures = events_of(result.folder)
    logged = {int(step): float(loss) for step, loss in losses_of(result.folder).items()}
    # Lightning counts steps from 0.
    assert {event.step + 1: event.value for event in scalars["loss"]} == pytest.approx(logged, rel=1e-4)
    assert {"CIDEr", "CIDEr/shapes", "distinct/shapes", "learning_rate"} <= set(scalars)
    assert set(pictures) == {f"samples/shapes/{number}" for number in range(1, 5)}
    assert all(event.width > 300 for events in pictures.values() for event in events)
    assert not any("no picture" in line for line in said)
    assert (result.folder / "curves.png").exists()


def test_pictures_change_nothing_that_a_run_learns(tmp_path, small_config):
    pytest.importorskip("tensorboard")
    drawn = []

    def draw(parts, photo):
        assert not parts.model.training
        drawn.append(parts.model.decoder.token_embedding.weight.detach().clone())
        torch.rand(3)
        return Image.new("RGB", (8, 8))

    plain = train(small_config(), tmp_path / "plain")
    shown = train(small_config(train={"loggers": "tensorboard"}), tmp_path / "shown", draw=draw)
    first, second = weights_of(plain.folder), weights_of(shown.folder)
    assert all(torch.equal(first[name], second[name]) for name in first)
    # Of two validations each; the last shows the weights that are scored and saved, the average.
    assert len(drawn) == 2 * 4
    best = torch.load(shown.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert any(torch.equal(weight, best["model.decoder.token_embedding.weight"]) for weight in drawn)


def test_a_run_that_resumes_goes_on_in_the_same_log(tmp_path, small_config):
    config = small_config(train={"loggers": "tensorboard"})
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", callbacks=[Interrupt(4)])
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert logged_run_id(checkpoint) == logged_run_id(checkpoint) != logged_run_id(None)
    train(config, tmp_path / "run")
    scalars, _ = events_of(tmp_path / "run")
    assert [event.step for event in scalars["loss"]] == list(range(10))
    train(config, tmp_path / "run", restart=True)
    scalars, _ = events_of(tmp_path / "run")
    assert [event.step for event in scalars["loss"]] == list(range(10))


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_logger_that_is_not_installed_is_said_before_anything_is_written(tmp_path, small_config, monkeypatch, name):
    def missing(*_, **__):
        raise ModuleNotFoundError(f"No module named {name!r}")

    for logger in ("WandbLogger", "TensorBoardLogger"):
        monkeypatch.setattr(f"wordgaze.training.loggers.{logger}", missing)
    with pytest.raises(ConfigError, match=rf"names {name}, which is not installed.*wordgaze\[{name}\]"):
        train(small_config(train={"loggers": name}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_a_sentence(small_config):
    with pytest.raises(
        ConfigError, match=r"train\.loggers is 'comet'; it must be names from 'tensorboard' and 'wandb'"
    ):
        small_config(train={"loggers": "comet"})
    assert small_config(train={"loggers": "tensorboard, wandb"}).train.loggers


def test_the_card_has_scores_with_intervals_and_the_command(tmp_path, small_config):
    command = "wordgaze train --config 'my config.yaml'"
    result = train(small_config(), tmp_path / "run", command=command)
    card = (result.folder / "README.md").read_text()
    assert f"```bash\n{command}\n```" in card
    [row] = re.findall(r"\| shapes \| 8 \| ([\d.]+) \(([\d.]+) to ([\d.]+)\) .*", card)
    value, low, high = map(float, row)
    assert value == pytest.approx(result.cider, abs=6e-4) and low <= value <= high
    assert "With fewer than 100 photos" in card
    unvalidated = train(small_config(data={"validation": {}}, train={"epochs": 1}), tmp_path / "other")
    assert "It was not validated" in (unvalidated.folder / "README.md").read_text()


def test_the_curves_of_any_run_are_drawn_at_any_time(tmp_path):
    log = "step,epoch,seconds,photos_per_second,learning_rate,loss,CIDEr,CIDEr/mine,distinct/mine\n"
    rows = [f"{step},0,{step},9,0.001,{9 - step / 10},,,\n" for step in range(1, 60)]
    (tmp_path / "log.csv").write_text(log + "".join(rows) + "59,0,60,,,,0.4,0.4,0.9\n60,0,")  # killed while it wrote
    done = CliRunner().invoke(main, ["train", "--plot", str(tmp_path)])
    assert done.exit_code == 0 and done.stdout == f"{tmp_path / 'curves.png'}\n"
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    assert picture.shape[:2] == (640, 1100)
    loss = picture[:320, :550]
    assert ((loss[..., 2] - loss[..., 0]) > 60).any(), "no line in the panel of the loss"


@pytest.mark.parametrize("content", [None, "", "step,caption\n1,a dog\n", "step,epoch,seconds,loss\n"])
def test_nothing_to_plot_is_a_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "log.csv").write_text(content)
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
        plot_curves(tmp_path)
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("more", [["--config", "x.yaml"], ["--out", "run"], ["--train.epochs", "3"], ["--dry-run"]])
def test_plot_stands_alone(tmp_path, more):
    done = CliRunner().invoke(main, ["train", "--plot", str(tmp_path), *more])
    assert done.exit_code == 2 and f"{more[0]} makes no sense" in done.stderr


class Hub:
    """Instead of the hub: takes repositories and files, or refuses."""

    def __init__(self, monkeypatch, error=None, token="secret"):
        self.repositories, self.files, self.error = [], {}, error
        monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda **_: self)

    def create_repo(self, repo_id, exist_ok):
        if self.error is not None:
            raise self.error
        self.repositories.append(repo_id)
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, repo_id, folder_path, allow_patterns, commit_message):
        names = {path.name for path in folder_path.iterdir()} & set(allow_patterns)
        self.files[repo_id] = {name: (folder_path / name).read_bytes() for name in names}


def test_a_finished_model_is_pushed_without_its_run(tmp_path, small_config, monkeypatch):
    stand_in = Hub(monkeypatch)
    config = tmp_path / "config.yaml"
    config.write_text(describe(small_config(train={"epochs": 1})))
    command = ["train", "--config", str(config), "--out", str(tmp_path / "run"), "--push", "me/mine"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert stand_in.repositories == ["me/mine"] and "pushed to https://huggingface.co/me/mine" in done.stderr
    pushed = stand_in.files["me/mine"]
    assert set(pushed) == set(FILES) - {CONFIDENCE}
    assert b"--push" not in pushed["README.md"] and b"wordgaze train --config" in pushed["README.md"]
    assert json.loads(pushed["config.json"])["format_version"] == 1
    refused = Hub(monkeypatch, ConnectionError("no route to host"))
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2 and not refused.files
    assert "could not be pushed (no route to host)" in done.stderr and "is whole in" in done.stderr


@pytest.mark.parametrize(
    ("name", "token", "problem"), [("me/mine", None, "hf auth login"), ("a b/c", "x", "no hub id")]
)
def test_a_push_that_can_t_be_is_refused_before_the_run(tmp_path, small_config, monkeypatch, name, token, problem):
    Hub(monkeypatch, token=token)
    monkeypatch.setattr(task, "train", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(ConfigError, match=problem):
        train_and_present(small_config(), tmp_path / "run", on_message=print, push=name)
    with pytest.raises(ConfigError, match=problem):
        hub.check_push(name)
