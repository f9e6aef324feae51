"""The devices that a run asks for: whether the machine has them, and which precision is fast on them."""

from __future__ import annotations

import os
from typing import Any

import torch

from wordgaze.device import fastest_precision
from wordgaze.errors import ConfigError
from wordgaze.training.config import TrainOptions, device_ids


def check_devices(train: TrainOptions) -> None:
    """Raise ConfigError where this machine lacks what ``train.accelerator`` and ``train.devices`` name."""
    accelerator = _accelerator(train.accelerator)
    if accelerator == "cpu":
        available, kind = os.cpu_count() or 1, "CPU core"
    else:
        available, kind = (torch.cuda.device_count() if accelerator == "cuda" else 1), "GPU"
    if train.devices == "auto":
        return
    if train.devices == -1:
        if accelerator == "cpu":
            raise ConfigError("train.devices is -1, all GPUs, but there is none; give a number, or 'auto'.")
        return
    # On a CPU a device is a process of its own, and "0,1" names no two of them.
    if accelerator == "cpu" and not isinstance(train.devices, int):
        raise ConfigError(
            f"train.devices is {train.devices!r}, ids of GPUs; on a CPU give a number, or 'auto'."
        )
    wanted = device_ids(train.devices)
    if max(wanted) >= available:
        has = f"{available} {kind}{'s' if available > 1 else ''}"
        raise ConfigError(
            f"train.devices is {train.devices!r}, but this machine has {has}; give fewer, or 'auto'."
        )


def _accelerator(name: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps``; raise ConfigError where the machine has no such device."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "cpu" or (name == "auto" and not (cuda or mps)):
        return "cpu"
    if cuda and name in ("auto", "gpu", "cuda"):
        return "cuda"
    if mps and name in ("auto", "gpu", "mps"):
        return "mps"
    raise ConfigError(
        f"train.accelerator is {name!r}, but torch {torch.__version__} finds no such device here "
        "(see `wordgaze doctor`); give 'cpu' or 'auto'."
    )


def device_of(train: TrainOptions) -> torch.device:
    return torch.device("cuda" if train.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def in_bfloat16(train: TrainOptions) -> bool:
    return bool(choose_precision(train.precision, train.accelerator) == "bf16-mixed")


def choose_precision(wanted: str, accelerator: str = "auto") -> Any:
    """Return Lightning's name of a precision; ``auto`` is bfloat16 where the device multiplies faster in it."""
    if wanted == "auto":
        on_gpu = accelerator != "cpu" and torch.cuda.is_available()
        wanted = fastest_precision("cuda" if on_gpu else "cpu")
    return {"bfloat16": "bf16-mixed", "float32": "32-true"}[wanted]
