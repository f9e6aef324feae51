"""The devices that a run asks for: whether the machine has them, and which precision is fast on them."""

from __future__ import annotations

import os
from typing import Any

import torch

from wordgaze.device import fastest_precision
from wordgaze.errors import ConfigError


def device_ids(devices: str | int) -> list[int]:
    """Return the numbers of the devices that ``train.devices`` means, or none where it makes no sense.

    A number stands for as many, the first ones, ``"0,1"`` for itself; ``auto`` and -1 depend on the machine.
    """
    if isinstance(devices, int):
        return [] if isinstance(devices, bool) else list(range(min(devices, 100_000)))
    parts = [part.strip() for part in devices.strip().removesuffix(",").split(",")]
    ids = [int(part) for part in parts if part.isascii() and part.isdecimal()]
    return ids if len(set(ids)) == len(parts) else []


def check_devices(accelerator: str, devices: str | int) -> None:
    """Raise ConfigError where this machine lacks what ``train.accelerator`` and ``train.devices`` name."""
    kind = _find_accelerator(accelerator)
    if kind == "cpu":
        available, what = os.cpu_count() or 1, "CPU core"
    else:
        available, what = (torch.cuda.device_count() if kind == "cuda" else 1), "GPU"
    if devices == "auto":
        return
    if devices == -1:
        if kind == "cpu":
            raise ConfigError("train.devices is -1, all GPUs, but there are none; give a number, or 'auto'.")
        return
    # On a CPU a device is a process of its own, and "0,1" names no two of them.
    if kind == "cpu" and not isinstance(devices, int):
        raise ConfigError(f"train.devices is {devices!r}, ids of GPUs; on a CPU give a number, or 'auto'.")
    if max(device_ids(devices)) >= available:
        has = f"{available} {what}{'s' if available > 1 else ''}"
        raise ConfigError(f"train.devices is {devices!r}, but this machine has {has}; give fewer, or 'auto'.")


def _find_accelerator(name: str) -> str:
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


def device_of(accelerator: str) -> torch.device:
    """Return the device of this process; on Apple's GPUs, where Lightning trains, the CPU for all else."""
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def count_devices(accelerator: str, devices: str | int) -> int:
    """Return how many devices ``train.devices`` means here."""
    if devices in ("auto", -1):
        return max(1, torch.cuda.device_count()) if device_of(accelerator).type == "cuda" else 1
    return len(device_ids(devices))


def is_bfloat16(precision: str, accelerator: str) -> bool:
    """Return whether ``train.precision`` means bfloat16 here."""
    return bool(choose_precision(precision, accelerator) == "bf16-mixed")


def choose_precision(precision: str, accelerator: str = "auto") -> Any:
    """Return Lightning's name of a precision; ``auto`` is bfloat16 where the device multiplies faster in it."""
    if precision == "auto":
        precision = fastest_precision(device_of(accelerator).type)
    return {"bfloat16": "bf16-mixed", "float32": "32-true"}[precision]
