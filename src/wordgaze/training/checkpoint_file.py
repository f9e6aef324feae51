"""A checkpoint as a file: written whole, kept with the one before it, read as tensors and plain values alone."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from wordgaze.errors import ModelError, first_line
from wordgaze.files import write_whole

STATE_KEY = "Checkpoints"
"""The name of our own state in a checkpoint."""
LAST, PREVIOUS, BEST = CHECKPOINTS = ("last.ckpt", "previous.ckpt", "best.ckpt")
_IN_A_CHECKPOINT = ("epoch", "global_step", "loops", "state_dict", "callbacks")


class DamagedCheckpoint(ModelError):
    """A checkpoint can't be read any more; the one before it may be."""


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint where it belongs, and to the disk, before it counts as written.

    Lightning's own first writes it into the system's temporary folder, which may be small or another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_whole(path, lambda file: torch.save(checkpoint, file))


def take_place(new: Path, path: Path, previous: Path | None = None) -> None:
    """Let ``new`` take the place of ``path``, which becomes ``previous``; there is a whole one at each moment."""
    if previous is not None and path.exists():
        link = previous.with_name(f"{previous.name}.new")
        link.unlink(missing_ok=True)
        try:
            os.link(path, link)
        except OSError:
            # A file system without hard links: between the two renames only the previous one is there.
            path.replace(previous)
        else:
            link.replace(previous)
    new.replace(path)


def load_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Return a checkpoint of ours; raise ModelError where it can't be read, or is another program's.

    ``mmap``: leave its tensors on the disk until they are used.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        # torch reads tensors whose bytes have changed on the disk without a word.
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except pickle.UnpicklingError as error:
        if "Unsupported global" not in str(error):
            raise _damaged(path, error) from error
        raise ModelError(
            f"{path} holds more than tensors and plain values, as no checkpoint of `wordgaze train` does; choose "
            "another --out."
        ) from error
    # torch raises many kinds for a broken file.
    except Exception as error:
        raise _damaged(path, error) from error
    if damaged is not None:
        raise _damaged(path, ValueError(f"{damaged} in it has changed on the disk"))
    known = isinstance(checkpoint, dict) and all(name in checkpoint for name in _IN_A_CHECKPOINT)
    if not known or STATE_KEY not in checkpoint["callbacks"]:
        raise ModelError(f"{path} is not a checkpoint of `wordgaze train`; choose another --out.")
    return checkpoint


def best_cider(checkpoint: Mapping[str, Any]) -> float:
    """Return the best CIDEr of the run up to a checkpoint."""
    return float(checkpoint["callbacks"][STATE_KEY]["best"])


def _damaged(path: Path, error: Exception) -> DamagedCheckpoint:
    remedy = "delete it to resume without it" if path.name == BEST else "use --restart"
    return DamagedCheckpoint(f"The checkpoint {path} can't be read ({first_line(error)}); {remedy}.")
