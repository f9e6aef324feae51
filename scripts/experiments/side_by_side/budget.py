"""How many steps fit into the minutes, and a training loop that stops with them and resumes after an interruption."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wordgaze.errors import ConfigError
from wordgaze.files import write_text, write_whole
from wordgaze.training.data_module import CaptionDataModule
from wordgaze.training.dataset import TrainingBatch
from wordgaze.training.optimizer import warmup_cosine

from .common import Progress, Task

WARM_UP, MEASURED = 5, 20  # steps before the clock runs, and on it
USED = 0.97  # of the minutes are planned for, since a run has slower moments than its beginning
CHECKPOINT_EVERY, SAY_EVERY = 200, 50  # steps
_PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """``steps`` along a whole cosine, which end before ``minutes`` if steps take ``step_seconds``, as measured.

    ``step_seconds`` is None where the steps were given. ``settings`` are the arm's own; ``task``: the digest of all
    that it was given.
    """

    minutes: float
    steps: int
    step_seconds: float | None
    settings: dict[str, Any]
    task: str

    @property
    def seconds(self) -> float:
        return 60 * self.minutes


def steps_within(minutes: float, step_seconds: float) -> int:
    """Return how many steps fit into ``minutes``, at least one."""
    return max(1, int(USED * 60 * minutes / step_seconds))


def make_plan(
    task: Task,
    minutes: float,
    steps: int | None,
    settings: dict[str, Any],
    measure: Callable[[], float],
) -> Plan:
    """Return the plan in the task's folder, or a new one; raise ConfigError where the old one is of another run."""
    file = task.folder / _PLAN
    if not file.exists():
        if steps is None:
            seconds = measure()
            made = Plan(minutes, steps_within(minutes, seconds), seconds, settings, task.digest)
        else:
            made = Plan(minutes, steps, None, settings, task.digest)
        write_text(file, json.dumps(asdict(made), indent=1))
    plan = Plan(**json.loads(file.read_text(encoding="utf-8")))
    asked = json.loads(json.dumps(settings))  # tuples become lists
    same = plan.minutes == minutes and plan.settings == asked and plan.task == task.digest
    if not same or steps not in (None, plan.steps):
        raise ConfigError(
            f"{task.folder} holds a run with different minutes, steps, settings or photos; "
            "give the same to resume, or --restart to start over."
        )
    return plan


@dataclass
class Learner:
    """A model with its loss of a batch, its optimizer, and what is done to gradients before a step."""

    model: nn.Module
    loss: Callable[[TrainingBatch], Tensor]
    optimizer: torch.optim.Optimizer
    clip: Callable[[], object]


def measure(task: Task, make: Callable[[], Learner], data: CaptionDataModule) -> float:
    """Return the seconds of a step, the median over MEASURED; the learner is thrown away."""
    ends: list[float] = []
    steps = WARM_UP + MEASURED
    learn(task, make(), data, Plan(math.inf, steps, None, {}, task.digest), None, ends.append)
    return median_step(ends)


def median_step(ends: list[float]) -> float:
    """Return the median seconds between the ends of steps, after the first WARM_UP."""
    ends = ends[WARM_UP - 1 :]
    return statistics.median(after - before for before, after in pairwise(ends))


def learn(
    task: Task,
    learner: Learner,
    data: CaptionDataModule,
    plan: Plan,
    checkpoint: Path | None,
    ended: Callable[[float], object] = lambda moment: None,
) -> Progress:
    """Take the plan's steps, or as many as its minutes allow, resuming from ``checkpoint`` where there is one.

    The clock counts photos loaded, steps and checkpoints. ``ended`` is told the moment at which each step ended.
    """
    model, optimizer, device = learner.model, learner.optimizer, task.device
    scheduler = warmup_cosine(optimizer, 0, plan.steps)
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    before = Progress(0, 0.0)
    if checkpoint is not None and checkpoint.exists():
        before = _restore(parts, checkpoint, device)
        task.on_message(f"resuming from {checkpoint}: step {before.steps}")
    model.train()
    done, began = before.steps, time.monotonic()

    def seconds() -> float:
        return before.seconds + time.monotonic() - began

    while done < plan.steps and seconds() < plan.seconds:
        epoch, first = divmod(done, data.batches_per_epoch)
        data.sampler.set_epoch(epoch)
        data.resume(epoch, first)
        for batch in data.train_dataloader():
            with torch.autocast(device.type, torch.bfloat16, enabled=task.bfloat16):
                loss = learner.loss(batch)
            loss.backward()
            learner.clip()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            value = float(loss.detach())  # waits for the device, so that the clock is right
            done += 1
            ended(time.monotonic())
            if done % SAY_EVERY == 0:
                task.on_message(f"step {done} of {plan.steps}  loss {value:.3f}  {seconds() / 60:.1f} minutes")
            if done == plan.steps or seconds() >= plan.seconds:
                break
            if done % CHECKPOINT_EVERY == 0:
                _save(parts, checkpoint, Progress(done, seconds()))
    finished = Progress(done, seconds())
    _save(parts, checkpoint, finished)
    return finished


def _restore(parts: dict[str, Any], checkpoint: Path, device: torch.device) -> Progress:
    state = torch.load(checkpoint, map_location=device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["random_state"].cpu())
    return Progress(state["steps"], state["seconds"])


def _save(parts: dict[str, Any], checkpoint: Path | None, progress: Progress) -> None:
    if checkpoint is None:
        return
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"steps": progress.steps, "seconds": progress.seconds, "random_state": torch.get_rng_state()}
    write_whole(checkpoint, lambda file: torch.save(state, file))
