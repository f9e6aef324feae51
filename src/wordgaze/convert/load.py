"""A model's name → its parts: a model of ours is loaded, somebody else's is converted in memory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wordgaze.convert.checkpoint import (
    CONFIG,
    PICKLE,
    PICKLE_INDEX,
    SAFETENSORS,
    SAFETENSORS_INDEX,
    read_json,
    shards,
)
from wordgaze.convert.convert import FILES, Conversion, check_family, convert
from wordgaze.errors import ModelError, ModelWarning, warn
from wordgaze.files import MODEL_FILES
from wordgaze.folder import ModelParts, is_foreign, load_folder
from wordgaze.hub import fetch, resolve


def load_model(
    name: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu", **options: Any
) -> ModelParts:
    """Return the parts of the bundled model, a model folder, a checkpoint's folder, or a model of the hub.

    ``options`` as of :func:`wordgaze.hub.resolve`. A checkpoint is converted in memory, and a ModelWarning says so.
    Raises ModelError.
    """
    return load_resolved(name, resolve(name, **options), device, **options)


def load_resolved(
    name: str | os.PathLike[str] | None, folder: Path, device: str | torch.device = "cpu", **options: Any
) -> ModelParts:
    """Return what :func:`load_model` does, where it is known that ``name`` resolves to ``folder``."""
    if not is_foreign(folder):
        _check_there(name, folder)
        return load_folder(folder, device)
    conversion = convert_from(name, folder, **options)
    warn(
        f"{name}: {conversion.summary}; converted in memory, which `wordgaze convert` does once.",
        ModelWarning,
    )
    if conversion.left_out:
        warn(left_out(str(name), conversion.left_out), ModelWarning)
    conversion.parts.model.to(device)
    return conversion.parts


def convert_from(name: str | os.PathLike[str] | None, folder: Path, **options: Any) -> Conversion:
    """Return the model of a checkpoint that ``name`` resolves to ``folder``, the rest of which is downloaded."""
    shown_name = os.fspath(folder if name is None else name)
    if not _is_folder(name):
        folder = _download(shown_name, folder, **options)
    return convert(folder, shown_name)


def left_out(name: str, settings: Mapping[str, Any]) -> str:
    """Return the sentence on generation settings that were not taken over."""
    said = ", ".join(f"{setting} {value}" for setting, value in settings.items())
    return f"{name}: its generation settings {said} have no counterpart here, so captions may differ from its own."


def _is_folder(name: str | os.PathLike[str] | None) -> bool:
    return name is None or Path(name).expanduser().exists()


def _download(repo_id: str, folder: Path, **options: Any) -> Path:
    """Return the folder with all that a conversion needs of a repository, of which ``folder`` has the config."""
    check_family(repo_id, read_json(folder / CONFIG))
    if folder.parent.name == "snapshots":  # of the hub's cache: stay at this commit
        options["revision"] = folder.name
    for file, index in ((SAFETENSORS, SAFETENSORS_INDEX), (PICKLE, PICKLE_INDEX)):
        folder = fetch(repo_id, [*FILES, file, index], **options)
        if (folder / file).is_file():
            return folder
        if (folder / index).is_file():
            return fetch(repo_id, [*FILES, index, *shards(folder, index)], **options)
    return folder


def _check_there(name: str | os.PathLike[str] | None, folder: Path) -> None:
    """Raise ModelError for a folder without a model that is called as a model of the hub may be."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        return
    if folder.is_dir() and not any((folder / file).exists() for file in MODEL_FILES):
        raise ModelError(
            f"There is a folder {name} here, which is taken before the hub's model of that name, and it holds no model "
            f"(no {CONFIG}); rename it, or change to another folder."
        )
