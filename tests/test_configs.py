"""The shipped configs: each is run, and those of the bundled model say what they said as whole files.

Two steps each on drawn scenes with a small random encoder, by overrides; a stage of the bundled model with the files
and in the order that ``scripts/bundled/make.sh`` gives to ``wordgaze train``.
"""

import hashlib
import json
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import timm
import yaml

from wordgaze.data.captions import Source
from wordgaze.data.shapes import write_shapes
from wordgaze.folder import load_folder
from wordgaze.tasks.train import parse_config, train
from wordgaze.training.config import TrainingConfig, TrainOptions
from wordgaze.training.config_file import describe

ROOT = Path(__file__).parents[1]
MAKE = ROOT / "scripts" / "bundled" / "make.sh"
LOG = ROOT / "docs" / "training-log.md"
CARD = ROOT / "src" / "wordgaze" / "bundled" / "README.md"
SIDE_BY_SIDE = ROOT / "scripts" / "experiments" / "side_by_side" / "side_by_side.yaml"
BASE = "wordgaze train --config configs/bundled/base.yaml"

BOTH_NETWORKS = 2 + len(timm.create_model("test_vit").blocks)
VIT_TINY = 12  # the blocks of the configs' own ViT


def parts(command: str) -> tuple[list[Path], list[str]]:
    """Return the files and the overrides of a ``wordgaze train`` command."""
    files, overrides = [], []
    words = shlex.split(command)[2:]
    for option, value in zip(words[::2], words[1::2], strict=True):
        if option == "--config":
            files.append(ROOT / value)
        elif option != "--out":
            overrides += [option, value]
    return files, overrides


def stages() -> dict[str, str]:
    """Return the commands of ``make.sh`` by the run that each makes, in their order."""
    lines = re.findall(r"^stage (.*)$", MAKE.read_text(), re.MULTILINE)
    return {Path(line.split()[-1]).stem: f"{BASE} {line}" for line in lines}


STAGES = stages()
CONFIGS: dict[str, Sequence[Path]] = {
    **{name: parts(command)[0] for name, command in STAGES.items() if "--train.seed" not in command},
    **{path.stem: [path] for path in [*sorted((ROOT / "configs").glob("*.yaml")), SIDE_BY_SIDE]},
}
"""The files of each config, the base first."""

Run = Callable[[str], Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a config once, however many begin from it, and gives its folder."""

    @cache
    def run(name: str) -> Path:
        return two_steps(CONFIGS[name], tmp_path_factory.mktemp(name), run)

    return run


@pytest.mark.filterwarnings("ignore::wordgaze.errors.ModelWarning")
@pytest.mark.parametrize("name", CONFIGS)
def test_two_steps_of_a_config(name: str, run: Run) -> None:
    folder = run(name)
    size = parse_config(CONFIGS[name]).encoder.shape.image_size
    if size is not None:
        assert load_folder(folder).preprocessing.size == size


def two_steps(files: Sequence[Path], tmp_path: Path, run: Run) -> Path:
    """The folder of a short run, begun from such a run of the config before it: ``runs/NAME`` is that of NAME."""
    captions = write_shapes(tmp_path / "shapes", 16, size=48)
    source = f"{{captions: {captions}, limit: 8}}"
    overrides = [
        *("--data.train", f"[{source}]", f"--data.validation={{shapes: {source}}}"),
        *("--data.batch_size", "4", "--data.workers", "0"),
        *("--train.max_steps", "2", "--train.accelerator", "cpu", "--train.devices", "1"),
    ]
    plain = parse_config(files)
    initial = plain.train.initial_model
    if initial is None:
        overrides += [
            *("--tokenizer.vocab_size", "280", "--tokenizer.extra_text", "[]"),
            *("--encoder.name", "test_vit", "--encoder.pretrained", "null"),
            *("--encoder.features", "patches", "--encoder.blocks", "0"),
            *("--decoder.width", "32", "--decoder.layers", "1", "--decoder.heads", "4"),
        ]
        if plain.encoder.shape.image_size is None:
            overrides += ["--encoder.image_size", "[48, 48]"]
    else:
        before = "bundled_long" if initial == "bundled" else Path(initial).name
        found = tiny_blip(tmp_path / "blip") if initial.startswith("Salesforce/") else run(before)
        overrides += ["--train.initial_model", str(found)]
    if plain.encoder.shape.beside is not None:
        overrides += ["--encoder.beside", "test_efficientnet", "--encoder.beside_pretrained", "null"]
    if isinstance(plain.encoder.freeze, int):
        learning = 2 + VIT_TINY - plain.encoder.freeze
        overrides += ["--encoder.freeze", str(max(1, BOTH_NETWORKS - learning))]
    if plain.encoder.cache is not None:
        overrides += ["--encoder.cache", str(tmp_path / "cache")]
    parsed = parse_config(files, overrides)
    assert parsed.data.train == [Source(str(captions), limit=8)]
    result = train(parsed, tmp_path / "run")
    assert result.steps == 2
    return result.folder


def tiny_blip(folder: Path) -> Path:
    """Write a BLIP of two blocks in the place of the hub's."""
    pytest.importorskip("transformers")
    from scripts.experiments import tiny_checkpoints

    tiny_checkpoints.blip(folder)
    return folder


# What each config said as one whole file, as of commit 7b8986c: in a checkout of it
#     digest(parse_config(path)) for path in sorted(Path("configs").glob("*.yaml"))
# A setting that is added later would change them all: leave it out of `digest` where it has its default.
DIGESTS = {
    "bundled": "2b24c95dec588db556fa3ed3c4a0ed22e10d7c12135235b722b3f75cd3878b32",
    "bundled_long": "cac66e99979b7a38bd82665000a69bed5b91b7a383baaa62c59a0d5ed4940ca1",
    "bundled_long_scst": "4d0af4e06d702fcbbbf7225fb0311e70fe429282ea59c53fdc188c99a283e79c",
    "bundled_next": "73367ba2e4a88e721f0f3de2db6c24aeeb64828f327032adda0912bdad84d3bf",
    "bundled_paired": "f7385272af0e2f7ee78f91b683e0bb9a83ea78c6f1f5050cce113d942b88a487",
    "bundled_scst": "7a50ed57e4cbffe1f17fbe8cd951d832e5d5d1805a1456de8a69a02ffebecfe7",
    "bundled_scst_dropout": "8a231279c76005aab6f9d0588eb306d604970a0291f32dc86451b33ce9bc4159",
    "bundled_upper": "f1ef9eb056b96fe373469b33f2d44a3533e43edb9354e08ede3261946a425cd6",
    "bundled_upper_scst": "8be5803941cba3ff9a67dcda1079a8a3e7d000b2b1db5c82d0fb5e79a5157f66",
    "bundled_vit": "fe8a6b5d6bf6b0821656d27b624b3f4516c5b7e5199124cb71ae58dd3759fe36",
    "bundled_vit_longer": "1f0c0b2f8088f6b6e2fbdfdd8e2731378fe0425523fcb46efb990b677f4100dc",
    "coco_small": "1aa642cf259edd6d62b78d74468fd73b3f8ea96ceb814876c0e52a6e9e58a22b",
    "coco_vit": "1cbf868fe786384ac6f426878d742dd9a37521bda0ae7553cb2052120984a02e",
    "shapes": "f30b997a85c388d2cc3112c33511976269dc431baf4e197fe4549befc853d039",
    "side_by_side": "4caf12c74b41018663018c3b2393a121534ddee444d3db4f8d2d509b01d2053f",
}


def digest(config: TrainingConfig) -> str:
    """Return the SHA-256 of all settings, those of the defaults too, but later ones only where they say something."""
    settings = yaml.safe_load(describe(config)) | {"generation": config.generation.to_dict()}
    for name in ("strategy", "compile", "loggers"):
        if settings["train"][name] == getattr(TrainOptions(), name):
            del settings["train"][name]
    for source in [*settings["data"]["train"], *settings["data"]["validation"].values()]:
        if not source["columns"]:
            del source["columns"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def logged() -> dict[str, str]:
    """Return the log's commands of runs that are not in the bundled model, by the run that each makes."""
    text = LOG.read_text(encoding="utf-8").replace("\\\n", "")
    commands = re.findall(rf"^{re.escape(BASE)} .*$", text, re.MULTILINE)
    return {Path(command.split()[-1]).name: command for command in commands}


@pytest.mark.parametrize("name", DIGESTS)
def test_files_together_say_what_the_whole_file_said(name: str) -> None:
    files, overrides = (CONFIGS[name], []) if name in CONFIGS else parts(logged()[name])
    assert digest(parse_config(files, overrides)) == DIGESTS[name]


def test_every_file_is_in_the_chain() -> None:
    assert set(CONFIGS) | set(logged()) == {*DIGESTS, "blip_finetune", "finetune"}
    overlays = {path for name in STAGES for path in CONFIGS.get(name, ())}
    assert overlays == set((ROOT / "configs" / "bundled").iterdir())


def test_a_config_is_a_difference() -> None:
    files = [*(ROOT / "configs").rglob("*.yaml"), SIDE_BY_SIDE]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 400


def test_the_chain_runs_the_commands_that_it_reads_as(tmp_path: Path) -> None:
    """With a ``wordgaze`` that only says what it is asked."""
    assert os.access(MAKE, os.X_OK)
    subprocess.run(["bash", "-n", MAKE], check=True)
    stand_in = tmp_path / "wordgaze"
    stand_in.write_text('#!/bin/sh\necho wordgaze "$@"\n')
    stand_in.chmod(stat.S_IRWXU)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([MAKE], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True)
    *trained, average = done.stdout.splitlines()
    assert trained == list(STAGES.values())
    made: set[str] = set()
    for name, command in STAGES.items():
        files, overrides = parts(command)
        assert all(path.is_file() for path in files)
        initial = parse_config(files, overrides).train.initial_model
        assert initial is None or initial in made, f"{name} comes before {initial}"
        made.add(f"runs/{name}")
    needed = set(re.findall(r"runs/\w+", average)) - {"runs/bundled_soup"}
    assert average.startswith("wordgaze average ") and needed <= made


def test_the_card_names_the_chain_s_commands() -> None:
    text = " ".join(CARD.read_text(encoding="utf-8").split())
    commands = re.findall(r"\*\*Command\*\*: `([^`]*)`", text)
    assert len(commands) == len(STAGES)
    for command, stage in zip(commands, STAGES.values(), strict=True):
        assert command.removesuffix(" --train.checkpoint_every 50") == stage.partition(" --out ")[0]
    average = MAKE.read_text().partition("\nwordgaze average")[2].replace("\\\n", " ")
    assert f"`wordgaze average {' '.join(average.split())}`" in text


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", LOG, CARD, MAKE], ids=str)
def test_every_config_that_is_named_is_there(page: str | Path) -> None:
    names = re.findall(r"(?:configs|scripts)/[\w/]+\.yaml", (ROOT / page).read_text(encoding="utf-8"))
    missing = [name for name in names if not (ROOT / name).is_file()]
    assert missing in ([], ["configs/NAME.yaml"])
