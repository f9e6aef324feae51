"""The three arms on drawn scenes, two steps each; what makes them comparable; the table of their results."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scripts.experiments.side_by_side import budget, hugging_face, lstm, ours
from scripts.experiments.side_by_side.__main__ import CONFIG, OUT, main, parse
from scripts.experiments.side_by_side.budget import Plan, learn, make_plan, median_step, steps_within
from scripts.experiments.side_by_side.common import PHOTOS, Task, prepare
from scripts.experiments.side_by_side.table import load, markdown
from torch.nn import functional

from wordgaze.data.captions import load_sources
from wordgaze.data.shapes import write_shapes
from wordgaze.errors import ConfigError, DataError
from wordgaze.evaluation.score import score_captions
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.search import search
from wordgaze.generation.torch_stepper import TorchStepper
from wordgaze.model.config import EncoderConfig
from wordgaze.model.encoders.build import build_encoder
from wordgaze.tasks.train import parse_config
from wordgaze.training.dataset import IGNORED
from wordgaze.training.starting_model import build_model

ROOT = Path(__file__).resolve().parents[2]
ARMS = ("ours", "hugging_face", "lstm")


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    """The shipped config on 24 drawn scenes, with a small random encoder."""
    folder = tmp_path_factory.mktemp("shapes")
    train = write_shapes(folder / "train", 24, seed=1, size=48)
    validation = write_shapes(folder / "validation", 8, seed=2, size=48)
    return [
        *("--data.train", f"[{{captions: {train}}}]"),
        f"--data.validation={{shapes: {{captions: {validation}}}}}",
        *("--data.batch_size", "4", "--tokenizer.vocab_size", "280", "--generation.max_length", "8"),
        *("--encoder.name", "test_vit", "--encoder.image_size", "[48, 48]", "--encoder.pretrained", "null"),
        *("--decoder.width", "32", "--decoder.layers", "1", "--decoder.heads", "4"),
        *("--train.accelerator", "cpu", "--train.devices", "1", "--train.warmup_steps", "1"),
    ]


@pytest.fixture
def task(overrides, tmp_path):
    """What an arm is given."""

    def make(arm="lstm", **train):
        config = parse_config(CONFIG, overrides)
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, **train))
        return prepare(config, tmp_path, arm, lambda line: None)

    return make


@pytest.fixture(scope="module")
def compared(overrides, tmp_path_factory):
    """Two steps of every arm: the folder of results, that of the runs, and the command of an arm."""
    folder = tmp_path_factory.mktemp("compared")

    def command(arm):
        places = ("--out", str(folder / "out"), "--runs", str(folder / "runs"))
        return [arm, *places, "--minutes", "5", "--steps", "2", *overrides]

    for arm in ARMS:
        main(command(arm))
    return folder / "out", folder / "runs", command


def plan_of(task, **values):
    return Plan(**{"minutes": 60, "steps": 2, "step_seconds": None, "settings": {}, "task": task.digest} | values)


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_trained_and_scored(compared, overrides, arm):
    out, runs, _ = compared
    found = json.loads((out / f"{arm}.json").read_text())
    captions = {photo["image_id"]: photo["caption"] for photo in found["photos"]}
    validation = load_sources([parse_config(CONFIG, overrides).data.validation["shapes"]])
    expected = score_captions(captions, {photo.photo_id: photo.captions for photo in validation})
    assert found["metrics"] == expected.metrics
    assert {photo["image_id"]: photo["CIDEr"] for photo in found["photos"]} == {
        photo: scores["CIDEr"] for photo, scores in expected.per_photo.items()
    }
    low, high = found["intervals"]["CIDEr"]
    assert low <= found["metrics"]["CIDEr"] <= high
    training = found["training"]
    assert (training["steps"], training["photos_seen"]) == (2, 8)
    assert training["captions_seen"] == (24 if arm == "ours" else 8)
    assert training["epochs_of_photos"] == pytest.approx(8 / 24)
    assert training["photos_per_second"] == pytest.approx(8 / training["seconds"])
    assert set(found["seconds_per_photo"]) == {"1", "32"} and min(found["seconds_per_photo"].values()) > 0
    assert found["encoder_parameters"] < found["parameters"]
    assert (runs / arm / "plan.json").exists()
    if arm == "ours":
        preprocessor = json.loads((runs / "ours/run/preprocessor.json").read_text())
        assert preprocessor == found["same"]["preprocessing"]


@pytest.mark.parametrize("arm", ARMS)
def test_a_finished_arm_is_not_trained_again(compared, arm, monkeypatch):
    out, _, command = compared
    before = json.loads((out / f"{arm}.json").read_text())
    monkeypatch.setattr(ours, "train", None)
    monkeypatch.setattr(budget, "warmup_cosine", lambda optimizer, *_: torch.optim.lr_scheduler.ConstantLR(optimizer))
    monkeypatch.setattr(lstm.ShowAttendTell, "loss", None)
    main(command(arm))
    after = json.loads((out / f"{arm}.json").read_text())
    assert after["training"]["steps"] == 2
    assert after["photos"] == before["photos"]
    with pytest.raises(SystemExit, match="different minutes, steps, settings or photos"):
        main([*command(arm), "--steps", "3"])


def test_the_table_says_what_the_results_hold(compared, capsys):
    out, _, _ = compared
    main(["table", "--out", str(out)])
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1 and len(cells) == 5
    assert [row[0].split()[0] for row in cells[2:]] == ["wordgaze", "Hugging", "LSTM"]
    values = [json.loads((out / f"{arm}.json").read_text()) for arm in ARMS]
    for row, one in zip(cells[2:], values, strict=True):
        assert float(row[1].split()[0]) == pytest.approx(one["metrics"]["CIDEr"], abs=5e-4)
        assert float(row[3]) == pytest.approx(one["metrics"]["Bleu_4"], abs=5e-4)
        assert row[5:7] == [f"{one['parameters'] / 1e6:.1f} M", "2"]
    assert cells[2][2] == ""
    for one, offset in zip(values, (0.5, 0.7, 0.4), strict=True):
        for place, photo in enumerate(one["photos"]):
            photo["CIDEr"] = offset + 0.01 * place
    rows = markdown(values).splitlines()
    assert "| -0.200 (-0.200 to -0.200) |" in rows[3] and "| +0.100 (+0.100 to +0.100) |" in rows[4]


def test_results_of_different_tasks_are_not_shown_together(compared, tmp_path):
    out, _, _ = compared
    for arm in ARMS:
        values = json.loads((out / f"{arm}.json").read_text())
        if arm == "lstm":
            values["same"] |= {"minutes": 90.0, "threads": values["same"]["threads"] + 1}
        (tmp_path / f"{arm}.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match="ours and lstm differ in minutes, threads"):
        load(tmp_path)
    with pytest.raises(SystemExit, match="holds no result yet"):
        main(["table", "--out", str(tmp_path / "nowhere")])


def test_the_page_shows_the_results_that_are_there():
    page = (ROOT / "docs/train.md").read_text(encoding="utf-8")
    results = load(OUT)
    assert bool(results) == ("<!-- side by side" in page)
    if results:
        assert {one["arm"] for one in results} == set(ARMS)
        assert markdown(results) in page
    for line in re.findall(r"^(?:\S+/)?python -m scripts\.experiments\.side_by_side (.*)$", page, re.MULTILINE):
        asked, overrides = parse(shlex.split(line, comments=True))
        assert asked.what in (*ARMS, "table") and not overrides


def test_the_photos_are_flickr8ks_own_and_none_is_validated_on(shared_data):
    config = parse_config(CONFIG)
    (source,), held = config.data.train, config.data.validation["flickr"]
    photos = load_sources([dataclasses.replace(source, captions=str(ROOT / source.captions))]).photos[:PHOTOS]
    validation = load_sources([dataclasses.replace(held, captions=str(ROOT / held.captions))]).photos
    assert len(photos) == 6000 and len(validation) == 1000
    # Flickr30k's names are numbers alone.
    assert all(re.fullmatch(r"\d+_[0-9a-f]{10}", photo.path.stem) for photo in photos)
    assert {len(photo.captions) for photo in photos} == {5}
    assert not {photo.path.stem for photo in photos} & {photo.path.stem for photo in validation}


# The encoders are the same.


def spread(network):
    """Weights and biases large enough that each of them matters."""
    torch.manual_seed(3)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def check_features(network, size):
    vit = hugging_face.VisionEncoderDecoderModel(
        hugging_face.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
            hugging_face.vit_config(network),
            hugging_face.gpt2_config(parse_config(CONFIG).decoder.shape, 20, {"pad_token_id": 0}),
        )
    ).encoder
    vit.pooler = None
    vit.load_state_dict(hugging_face.vit_weights(network.state_dict()))
    pixel_values = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = network.eval().forward_features(pixel_values)
        found = vit.eval()(pixel_values).last_hidden_state
    assert expected.std() > 0.1
    assert torch.allclose(found, expected, atol=1e-4)


def test_transformers_vit_gives_timms_features():
    check_features(spread(build_encoder(EncoderConfig("test_vit", (48, 32))).network), (48, 32))


def test_transformers_vit_gives_timms_features_with_the_weights_that_are_compared(shared_data):
    options = parse_config(CONFIG).encoder
    encoder = build_encoder(EncoderConfig(options.shape.name), str(ROOT / options.pretrained))
    check_features(encoder.network, (224, 224))


def test_all_arms_have_as_many_parameters():
    config = parse_config(CONFIG, ["--encoder.pretrained", "null"])
    tokens = SimpleNamespace(vocab_size=6000, bos_id=1, eos_id=2, pad_id=0)
    task = Task(config, (), (), tokens, None, Path())
    models = [
        build_model(config.encoder, config.decoder, 6000),
        hugging_face.build(task),
        lstm.ShowAttendTell(task.encoder(), 6000),
    ]
    ours, *others = (sum(parameter.numel() for parameter in model.parameters()) for model in models)
    assert others == pytest.approx([ours, ours], rel=0.01)
    assert models[1].decoder.lm_head.weight is models[1].decoder.transformer.wte.weight


# What each arm learns from.


def test_an_epoch_shows_every_caption_once(task):
    task = task()
    data = task.one_caption_a_row()
    rows = [(item.view.photo, tuple(item.captions[0])) for item in map(data.train_set.__getitem__, data.sampler)]
    pairs = [(photo.photo_id, caption) for photo in task.photos for caption in photo.captions]
    assert sorted(photo for photo, _ in rows) == list(range(len(pairs)))
    assert [len(data.train_set.photos[row].captions) for row, _ in rows] == [1] * len(pairs)


def test_a_transformers_loss_is_the_cross_entropy_of_our_batches(task):
    task = task("hugging_face")
    learner = hugging_face._learner(task, 1e-4)
    batch = next(iter(task.one_caption_a_row().train_dataloader()))
    assert (batch.labels == IGNORED).any()
    model = learner.model.eval()
    assert {layer.attention.config._attn_implementation for layer in model.encoder.layers} == {"eager"}
    with torch.no_grad():
        logits = model(pixel_values=batch.inputs, decoder_input_ids=batch.input_ids).logits
        loss = learner.loss(batch)
    assert loss.item() == pytest.approx(functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten()).item())


# Show, Attend and Tell.


@pytest.fixture
def decoder():
    """Random, with weights large enough that beams re-order."""
    torch.manual_seed(0)
    decoder = lstm.AttentionLstm(30, 12, 16).eval()
    for parameter in decoder.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    return decoder


def by_hand(decoder, ids, patches):
    """The paper's equations for one caption and its photo (N, F), one patch and one word at a time."""
    weights = dict(decoder.named_parameters())

    def affine(name, value):
        bias = weights.get(f"{name}.bias")
        return weights[f"{name}.weight"] @ value + (0 if bias is None else bias)

    mean = patches.mean(0)
    hidden, cell = affine("first_hidden", mean).tanh(), affine("first_cell", mean).tanh()
    rows, looked = [], []
    for word in ids:
        energies = [affine("energy", (affine("key", patch) + affine("query", hidden)).tanh()) for patch in patches]
        shares = torch.cat(energies).softmax(0)
        context = sum(share * patch for share, patch in zip(shares, patches, strict=True))
        context = affine("gate", hidden).sigmoid() * context
        word = weights["embedding.weight"][word]
        gates = weights["cell.weight_ih"] @ torch.cat((word, context)) + weights["cell.bias_ih"]
        gates = gates + weights["cell.weight_hh"] @ hidden + weights["cell.bias_hh"]
        entered, forgotten, candidate, shown = gates.chunk(4)
        cell = forgotten.sigmoid() * cell + entered.sigmoid() * candidate.tanh()
        hidden = shown.sigmoid() * cell.tanh()
        rows.append(affine("output", word + affine("from_hidden", hidden) + affine("from_context", context)))
        looked.append(shares)
    return torch.stack(rows), torch.stack(looked)


def test_the_lstm_is_the_papers(decoder):
    """And a photo's captions share its patches without mixing."""
    ids, patches = torch.randint(0, 30, (6, 5)), torch.randn(2, 7, 12)
    with torch.no_grad():
        logits, weights = decoder(ids, patches, torch.ones_like(ids, dtype=torch.bool))
        for row, (found, looked) in enumerate(zip(logits.view(6, 5, 30), weights, strict=True)):
            expected, shares = by_hand(decoder, ids[row], patches[row // 3])
            assert torch.allclose(found, expected, atol=1e-4)
            assert torch.allclose(looked, shares, atol=1e-5)


def test_the_beams_of_the_lstm_carry_their_own_state(decoder):
    """The search's probabilities are those of a teacher-forced pass over the captions that it found."""
    encoder = torch.nn.Identity()
    encoder.width = 12
    model = lstm.ShowAttendTell(encoder, 30, 16).eval()
    model.decoder = decoder
    decoder.output.bias.data[2] += 2.5  # captions end, at different lengths
    patches = 2 * torch.randn(3, 7, 12)
    options = GenerationOptions(num_beams=4, num_captions=4, no_repeat_ngram_size=0, max_length=9)
    found = search(TorchStepper(model, patches), options, bos_id=1, eos_id=2, pad_id=0)
    assert len({len(caption.token_ids) for photo in found for caption in photo}) > 1
    for photo, captions in zip(patches, found, strict=True):
        for caption in captions:
            ids = torch.tensor([caption.token_ids])
            with torch.no_grad():
                logits, _ = decoder(ids[:, :-1], photo[None], torch.ones(1, ids.shape[1] - 1, dtype=torch.bool))
            expected = logits.log_softmax(1).gather(1, ids[0, 1:, None])[:, 0]
            assert torch.allclose(torch.tensor(caption.token_log_probs), expected, atol=1e-4)


def test_the_lstms_loss_sees_no_padding(task):
    torch.manual_seed(0)
    model = lstm.ShowAttendTell(task().encoder(), 30, 16).eval()
    pixel_values, ids = torch.randn(2, 3, 48, 48), torch.randint(3, 30, (2, 6))
    labels = torch.randint(3, 30, (2, 6))
    labels[1, 4:] = IGNORED
    other = ids.clone()
    other[1, 4:] = 0
    with torch.no_grad():
        loss = model.loss(pixel_values, ids, labels)
        assert torch.equal(model.loss(pixel_values, other, labels), loss)
        logits, weights = model.decoder(ids, model.encoder(pixel_values), labels != IGNORED)
    looked = torch.stack([weights[0].sum(0), weights[1, :4].sum(0)])
    expected = functional.cross_entropy(logits, labels[labels != IGNORED]) + ((1 - looked) ** 2).mean()
    assert loss.item() == pytest.approx(expected.item())


# The budget.


def test_steps_fill_the_minutes_but_for_a_reserve():
    assert steps_within(60, 1.0) == pytest.approx(0.97 * 3600, abs=1)
    assert steps_within(0.001, 100.0) == 1
    ends = [0.0, 9.0, 18.0, 27.0, 36.0]  # of the warm-up's steps
    assert median_step([*ends, 38.0, 40.0, 49.0, 51.0, 53.0]) == 2.0


def test_a_plan_is_kept_and_fits_no_other_run(task):
    task = task()
    asked = []

    def measure():
        asked.append(1)
        return 0.5

    plan = make_plan(task, 10, None, {"rate": 1e-4, "betas": (0.9, 0.99)}, measure)
    assert (plan.steps, plan.step_seconds, plan.seconds) == (1164, 0.5, 600)
    assert make_plan(task, 10, None, {"rate": 1e-4, "betas": (0.9, 0.99)}, measure) == plan
    assert asked == [1]
    for minutes, settings in ((11, {"rate": 1e-4, "betas": (0.9, 0.99)}), (10, {"rate": 1e-3})):
        with pytest.raises(ConfigError, match="--restart"):
            make_plan(task, minutes, None, settings, measure)
    (task.folder.parent / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="photos"):
        make_plan(task, 10, None, {"rate": 1e-4, "betas": (0.9, 0.99)}, measure)


@pytest.mark.parametrize("arm", ARMS)
def test_a_step_is_measured_and_leaves_nothing_behind(task, arm, monkeypatch):
    monkeypatch.setattr(budget, "WARM_UP", 1)
    monkeypatch.setattr(budget, "MEASURED", 2)
    task = task(arm)
    module = {"ours": ours, "hugging_face": hugging_face, "lstm": lstm}[arm]
    seconds = module.measure(task) if arm == "ours" else module.measure(task, 1e-4)
    assert 0 < seconds < 60
    assert list(task.folder.iterdir()) == []


def ticking(monkeypatch, module, step):
    """A clock that moves on by ``step`` seconds whenever it is read."""
    now = iter(range(10**6))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: step * next(now)))


def test_a_baseline_stops_by_the_clock(task, monkeypatch):
    task = task()
    ticking(monkeypatch, budget, 10.0)
    done = learn(task, lstm._learner(task, 1e-4), task.one_caption_a_row(), plan_of(task, minutes=2, steps=50), None)
    assert 1 <= done.steps <= 6 and done.seconds >= 120


@pytest.mark.slow
def test_a_stopped_baseline_goes_on_as_if_it_had_not_stopped(task, monkeypatch):
    """Photos, dropout, rates and the clock go on, across the end of an epoch."""
    task = task()
    data = task.one_caption_a_row()
    steps = data.batches_per_epoch + 3
    plan = plan_of(task, steps=steps)
    whole = lstm._learner(task, 1e-3)
    learn(task, whole, data, plan, None)

    monkeypatch.setattr(budget, "CHECKPOINT_EVERY", 2)
    checkpoint, learner = task.folder / "last.ckpt", lstm._learner(task, 1e-3)

    def interrupt(moment):
        interrupt.steps += 1
        if interrupt.steps == steps - 2:
            raise KeyboardInterrupt

    interrupt.steps = 0
    with pytest.raises(KeyboardInterrupt):
        learn(task, learner, task.one_caption_a_row(), plan, checkpoint, interrupt)
    saved = torch.load(checkpoint, weights_only=True)
    assert 0 < saved["steps"] < steps
    torch.manual_seed(99)
    again = lstm._learner(task, 1e-3)
    progress = learn(task, again, task.one_caption_a_row(), plan, checkpoint)
    assert progress.steps == steps and progress.seconds > saved["seconds"] > 0
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_our_arm_stops_by_the_clock_and_its_clock_goes_on(task, monkeypatch):
    task = task("ours", checkpoint_every=1)
    ticking(monkeypatch, ours, 5.0)
    trained = ours.run(task, plan_of(task, minutes=0.5, steps=50))
    assert 1 <= trained.progress.steps < 6 and trained.progress.seconds >= 30
    (task.folder / "progress.json").unlink()
    went_on = ours.run(task, plan_of(task, minutes=0.5, steps=50)).progress
    assert went_on.steps == trained.progress.steps + 1 and went_on.seconds > trained.progress.seconds


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ours", "--minutes", "0"], "--minutes must be above 0"),
        (["ours", "--learning-rate", "1e-3"], "--train.learning_rate"),
        (["table", "--data.batch_size", "4"], "unknown arguments"),
        (["gru"], "invalid choice"),
    ],
)
def test_a_wrong_command_is_said(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err


def test_a_wrong_config_is_said(overrides, tmp_path):
    command = ["lstm", "--runs", str(tmp_path), "--out", str(tmp_path), *overrides]
    with pytest.raises(SystemExit, match=r"encoder\.features is 'map'"):
        main([*command, "--steps", "1", "--encoder.name", "test_resnet", "--encoder.features", "map"])
    with pytest.raises(SystemExit, match=r"train\.accumulate is 2"):
        main([*command, "--steps", "1", "--train.accumulate", "2"])
    with pytest.raises(SystemExit, match="name one each"):
        main([*command, "--steps", "1", "--data.validation={}"])
    with pytest.raises(ConfigError, match=r"no place for blocks\.0\.ls1\.gamma"):
        hugging_face.vit_weights({"blocks.0.ls1.gamma": torch.ones(4)})
    assert not list(tmp_path.glob("lstm.json"))
