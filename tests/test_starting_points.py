"""The overlays of ``configs/``: pretrained ViTs, a decoder, shares on several GPUs; each on a config.

Without the network: a ViT is built two blocks deep with random weights, GPT-2 is a tiny one written here.
"""

import re
from pathlib import Path

import pytest
import timm
import torch
import yaml
from tests.tiny_gpt2 import tiny_gpt2

from wordgaze.data.shapes import write_shapes
from wordgaze.folder import load_folder
from wordgaze.tasks.train import parse_config, train
from wordgaze.training.optimizer import parameter_groups
from wordgaze.training.starting_model import build_model

CONFIGS = Path(__file__).parents[1] / "configs"
ENCODERS = sorted((CONFIGS / "encoders").glob("*.yaml"))
DECODERS = sorted((CONFIGS / "decoders").glob("*.yaml"))
DEVICES = sorted((CONFIGS / "devices").glob("*.yaml"))
BLOCKS = 2


def base_of(overlay: Path) -> Path:
    """Return the config that an overlay's comment puts before it."""
    [base] = re.findall(r"--config configs/(\w+\.yaml)", " ".join(overlay.read_text().replace("# ", "").split()))
    return CONFIGS / base


@pytest.fixture
def shallow(monkeypatch):
    """Let timm build its networks two blocks deep and 64 wide, and refuse to download."""
    create = timm.create_model

    def small(name, pretrained=False, **options):
        assert not pretrained, "asked the network"
        return create(name, depth=BLOCKS, embed_dim=64, num_heads=4, **options)

    monkeypatch.setattr(timm, "create_model", small)


@pytest.mark.parametrize("overlay", ENCODERS, ids=lambda path: path.stem)
def test_an_encoder_s_config_trains_two_steps_and_sees_photos_as_timm_says(overlay, shallow, tmp_path):
    captions = write_shapes(tmp_path / "shapes", 4, size=48)
    source = f"{{captions: {captions}}}"
    files = [base_of(overlay), overlay]
    plain = parse_config(files)
    pretrained = timm.get_pretrained_cfg(plain.encoder.shape.name)
    assert plain.encoder.pretrained == "hub" and pretrained.has_weights
    assert plain.encoder.shape.image_size is None
    patch = timm.create_model(plain.encoder.shape.name).patch_embed.patch_size[0]
    frozen = plain.encoder.freeze
    overrides = [
        *("--data.train", f"[{source}]", f"--data.validation={{shapes: {source}}}", "--data.batch_size", "2"),
        *("--data.workers", "0", "--tokenizer.vocab_size", "280", "--encoder.pretrained", "null"),
        *("--decoder.width", "32", "--decoder.layers", "1", "--decoder.heads", "4", "--train.max_steps", "2"),
        *("--train.accelerator", "cpu", "--train.precision", "float32"),
        *("--encoder.image_size", f"[{2 * patch}, {2 * patch}]"),  # of its own size only the model is built, below
        *(("--encoder.freeze", "1") if isinstance(frozen, int) else ()),
    ]
    result = train(parse_config(files, overrides), tmp_path / "run")
    assert result.steps == 2
    parts = load_folder(result.folder)
    assert (parts.preprocessing.mean, parts.preprocessing.std) == (pretrained.mean, pretrained.std)
    assert parts.preprocessing.interpolation == pretrained.interpolation
    with torch.device("meta"):
        own_size = build_model(
            parse_config(files, ["--encoder.pretrained", "null"]).encoder, plain.decoder, vocab_size=280
        )
    assert own_size.preprocessing_defaults()["size"] == pretrained.input_size[1:]


@pytest.mark.parametrize("overlay", ENCODERS, ids=lambda path: path.stem)
def test_deeper_layers_learn_more_slowly_where_they_learn(overlay, shallow):
    config = parse_config([base_of(overlay), overlay], ["--encoder.pretrained", "null"])
    with torch.device("meta"):
        model = build_model(config.encoder, config.decoder, vocab_size=280)
    groups = parameter_groups(model, config.encoder, config.train)
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    first, last = ({rate_of[id(p)] for p in block.parameters()} for block in model.encoder.layers())
    assert config.encoder.freeze == "all" or max(first) == pytest.approx(config.encoder.layer_decay * min(last))


@pytest.mark.parametrize("overlay", DECODERS, ids=lambda path: path.stem)
def test_a_decoder_s_config_trains_two_steps(overlay, tmp_path):
    gpt2 = tiny_gpt2(tmp_path / "gpt2")
    captions = write_shapes(tmp_path / "shapes", 4, size=48)
    source = f"{{captions: {captions}}}"
    files = [CONFIGS / "coco_vit.yaml", overlay]
    assert parse_config(files).decoder.pretrained == overlay.stem
    overrides = [
        *("--data.train", f"[{source}]", f"--data.validation={{shapes: {source}}}", "--data.batch_size", "2"),
        *("--data.workers", "0", "--encoder.name", "test_vit", "--encoder.pretrained", "null"),
        *("--encoder.image_size", "[48, 48]", "--decoder.pretrained", str(gpt2)),
        *("--train.max_steps", "2", "--train.accelerator", "cpu"),
    ]
    result = train(parse_config(files, overrides), tmp_path / "run")
    parts = load_folder(result.folder)
    assert result.steps == 2 and parts.config.decoder.layers == 2
    assert parts.tokenizer.decode(parts.tokenizer.encode("A red circle.")) == "a red circle"


@pytest.mark.parametrize("overlay", DEVICES, ids=lambda path: path.stem)
def test_a_devices_config_goes_on_any_other(overlay):
    assert parse_config([CONFIGS / "coco_vit.yaml", overlay]).train.strategy == overlay.stem


def test_overlays_say_nothing_that_their_base_says():
    for overlay in [*ENCODERS, *DECODERS, *DEVICES]:
        settings = yaml.safe_load(overlay.read_text())
        assert set(settings) <= {"encoder", "decoder", "train"} and "data" not in settings
