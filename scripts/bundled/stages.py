"""The stages of a model's training: the config of each, the time it took, its result."""

from __future__ import annotations

import csv
import dataclasses
from functools import cached_property
from pathlib import Path

from scripts import ROOT
from wordgaze.tasks.train import parse_config
from wordgaze.training.config import TrainingConfig
from wordgaze.training.settings import settings_of

# Where a run found its parts: each machine's own.
PLACES = {("train", "initial_model"), ("encoder", "beside_pretrained"), ("encoder", "cache")}


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training: the config it was started with, the configs before that one, and the folder it left."""

    config: Path
    run: Path
    before: tuple[Path, ...] = ()

    @cached_property
    def wanted(self) -> TrainingConfig:
        """Return the settings of the config and those before it."""
        return parse_config([*self.before, self.config])

    @cached_property
    def had(self) -> TrainingConfig:
        """Return the settings that the run was trained with: its config and the command line's."""
        return parse_config(self.run / "training.yaml")

    @property
    def log(self) -> Path:
        return self.run / "log.csv"

    @property
    def log_name(self) -> str:
        """Return the file name of the log, after the config and a seed that is not the config's."""
        seed = self.had.train.seed
        other = f"-seed{seed}" if seed != self.wanted.train.seed else ""
        return f"{self.config.stem}{other}-log.csv"

    def values(self) -> dict[str, object]:
        """Return what the card says about the stage: its command, the time it took, and its best epoch."""
        with self.log.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        best = max((row for row in rows if row["CIDEr"]), key=lambda row: float(row["CIDEr"]))
        minutes = max(float(row["seconds"]) for row in rows) / 60
        return {
            "command": command(self),
            "steps": rows[-1]["step"],
            "seed": self.had.train.seed,
            "took": f"{minutes / 60:.1f} hours" if minutes > 10 else f"{minutes:.1f} minutes",
            "log": self.log_name,
            "epoch": int(best["epoch"]) + 1,
            "epochs": self.had.train.epochs,
            "cider": f"{float(best['CIDEr']):.3f}",
        }


def command(stage: Stage) -> str:
    """Return the command that repeats the run: its configs, and the plain values in which the run differed."""
    wanted, had = map(settings_of, (stage.wanted, stage.had))
    words = ["wordgaze train", *(f"--config {_in_configs(path)}" for path in (*stage.before, stage.config))]
    for group, values in had.items():
        for name, value in values.items():
            if value == wanted[group][name] or (group, name) in PLACES:
                continue
            if not isinstance(value, bool | int | float | str):
                raise SystemExit(f"{stage.run} was trained with another {group}.{name} than {stage.config} sets.")
            words.append(f"--{group}.{name} {value}")
    return " ".join(words)


def _in_configs(path: Path) -> str:
    path = path.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else f"configs/{path.name}"
