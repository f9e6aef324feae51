"""The command: ``python -m scripts.experiments.side_by_side``."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import ROOT
from wordgaze.errors import ConfigError, WordgazeError
from wordgaze.files import check_outputs

from . import __doc__ as about
from .table import NAMES, load, markdown

if TYPE_CHECKING:
    from wordgaze.training.config import TrainingConfig

OUT, RUNS = ROOT / "docs/side-by-side", ROOT / "runs/side-by-side"
CONFIG = Path(__file__).with_name("side_by_side.yaml")


def parse(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the arguments, and dotted overrides of the config (``--data.batch_size 16``)."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.experiments.side_by_side",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("what", choices=[*NAMES, "table"])
    parser.add_argument("--out", type=Path, default=OUT, help="where results are, one JSON file an arm")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where checkpoints go")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--minutes", type=float, default=40, help="of training, by the clock (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="instead of as many as are measured to fit into the minutes")
    parser.add_argument("--learning-rate", type=float, help="of hugging_face or lstm, instead of its customary one")
    parser.add_argument("--restart", action="store_true", help="start over instead of resuming")
    asked, overrides = parser.parse_known_args(arguments)
    if asked.minutes <= 0 or (asked.steps is not None and asked.steps < 1):
        parser.error("--minutes must be above 0, --steps at least 1")
    if asked.what in ("ours", "table") and asked.learning_rate is not None:
        parser.error("--learning-rate is of hugging_face and lstm; ours is --train.learning_rate")
    if asked.what == "table" and overrides:
        parser.error(f"unknown arguments: {' '.join(overrides)}")
    return asked, overrides


def run_arm(asked: argparse.Namespace, overrides: Sequence[str]) -> Path:
    """Train, caption and score; return the file of the result."""
    from wordgaze.tasks.train import parse_config

    from . import budget, hugging_face, lstm, ours, result
    from .common import prepare

    arm: str = asked.what
    config = parse_config(asked.config, overrides)
    check_files(asked, config)
    if asked.restart:
        shutil.rmtree(asked.runs / arm, ignore_errors=True)
    task = prepare(config, asked.runs, arm, print_message)
    if arm == "ours":
        plan = budget.make_plan(task, asked.minutes, asked.steps, ours.settings(task), lambda: ours.measure(task))
        print_message(f"{plan.steps} steps in {plan.minutes:g} minutes")
        trained = ours.run(task, plan)
    else:
        module = hugging_face if arm == "hugging_face" else lstm
        rate = asked.learning_rate or module.LEARNING_RATE
        plan = budget.make_plan(
            task, asked.minutes, asked.steps, module.settings(task, rate), lambda: module.measure(task, rate)
        )
        print_message(f"{plan.steps} steps in {plan.minutes:g} minutes")
        trained = module.run(task, plan, rate)
    print_message(f"{trained.parameters:,} parameters; captioning {len(task.validation)} photos")
    file: Path = asked.out / f"{arm}.json"
    result.save(result.result(task, arm, plan, trained), file)
    return file


def check_files(asked: argparse.Namespace, config: TrainingConfig) -> None:
    """Raise ConfigError where an input would be overwritten, or lies in the folder that is emptied."""
    sources = [*config.data.train, *config.data.validation.values()]
    given = [asked.config, *(source.captions for source in sources)]
    given += [source.instances for source in sources if source.instances is not None]
    outputs = [asked.runs / "photos.json", asked.runs / "tokenizer.json", asked.out / f"{asked.what}.json"]
    check_outputs([output for output in outputs if output.parent.is_dir()], given)
    folder = (asked.runs / asked.what).resolve()
    for path in [*given, *(source.root for source in sources if source.root is not None)]:
        if Path(path).resolve().is_relative_to(folder):
            raise ConfigError(f"{path} lies in {folder}, where checkpoints go; name another folder by --runs.")


def print_message(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    asked, overrides = parse(arguments)
    try:
        if asked.what != "table":
            print_message(f"written: {run_arm(asked, overrides)}")
            return
        results = load(asked.out)
        if not results:
            raise SystemExit(f"{asked.out} holds no result yet; run the arms first.")
        print(markdown(results))
    except WordgazeError as error:
        raise SystemExit(f"side_by_side: {error}") from error


if __name__ == "__main__":
    main()
