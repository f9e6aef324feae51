"""A folder in Hugging Face's layout: its JSON objects, and its tensors one at a time."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wordgaze.errors import ModelError, first_line, shown

CONFIG = "config.json"
SAFETENSORS, SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
WEIGHTS = (SAFETENSORS, SAFETENSORS_INDEX, PICKLE, PICKLE_INDEX)
"""Where weights may be, the first that is there."""

_AGAIN = "download it again"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder, ``name`` for what the user called it, and its ``config.json``."""

    folder: Path
    name: str
    config: Mapping[str, Any]

    def json(self, file: str) -> dict[str, Any] | None:
        """Return the JSON object of a file, None where there is no such file; raises ModelError."""
        path = self.folder / file
        return read_json(path) if path.is_file() else None

    def lines(self, file: str) -> list[str]:
        """Return the lines of a text file; raises ModelError.

        Only line feeds end them: Python's own ``splitlines`` would split tokens that are such signs.
        """
        path = self.folder / file
        try:
            return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} can't be read ({first_line(error)}); {_AGAIN}.") from error

    def weights(self) -> Weights:
        """Return the tensors, which are read when asked for; raises ModelError."""
        for file in WEIGHTS:
            if (self.folder / file).is_file():
                return _open(self.folder, file)
        raise ModelError(
            f"{self.folder} has no weights ({SAFETENSORS}, {PICKLE}, or the index of either); download the model again."
        )


class Weights(Mapping[str, Tensor]):
    """Tensors by name; each is read when it is asked for, so that a model and its checkpoint never lie in memory both.

    ``shapes``: of all of them. ``file``: what a sentence calls them.
    """

    def __init__(self, file: Path, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], Tensor]) -> None:
        self.file, self.shapes, self._read = file, shapes, read

    def __getitem__(self, name: str) -> Tensor:
        try:
            tensor = self._read(name)
        except (SafetensorError, OSError, ValueError) as error:
            raise damaged(self.file, error) from error
        if not tensor.is_floating_point():
            raise ModelError(f"{self.file}: {name} holds {tensor.dtype}, but weights are floats; {_AGAIN}.")
        tensor = tensor.float()
        if not tensor.isfinite().all():
            raise ModelError(f"{self.file}: {name} holds values that are not finite; {_AGAIN}.")
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self.shapes  # Mapping's own would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file; raises ModelError, which names it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror or error}); check the folder.") from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: not valid JSON ({first_line(error)}); {_AGAIN}.") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is damaged: it holds no JSON object; {_AGAIN}.")
    return values


def shards(folder: Path, index: str) -> list[str]:
    """Return the files that an index names; raises ModelError where it is none, or leads out of the folder."""
    weight_map = read_json(folder / index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise ModelError(f"{folder / index} has no 'weight_map' from tensors to files; {_AGAIN}.")
    files = sorted(set(weight_map.values()))
    for file in files:
        if not _stays_inside(file):
            raise ModelError(
                f"{folder / index} names {shown(file)}, a file outside its folder, which is not read; "
                "use a checkpoint that is whole."
            )
    return files


def damaged(path: Path, error: BaseException) -> ModelError:
    """Return the error for a file of weights that can't be read."""
    with path.open("rb") as file:
        pointer = file.read(40).startswith(b"version https://git-lfs")
    if pointer:
        return ModelError(f"{path} is a pointer of Git LFS, not the weights; run `git lfs pull` in its folder.")
    return ModelError(f"{path} is damaged, or not downloaded to its end ({shown(first_line(error))}); {_AGAIN}.")


def _stays_inside(name: str) -> bool:
    paths = PurePosixPath(name), PureWindowsPath(name)
    return not any(path.is_absolute() or path.drive or ".." in path.parts for path in paths)


def _open(folder: Path, file: str) -> Weights:
    if file in (SAFETENSORS_INDEX, PICKLE_INDEX):
        return _open_shards(folder, file)
    return _open_file(folder / file)


def _open_file(path: Path) -> Weights:
    return _open_pickle(path) if path.suffix == ".bin" else _open_safetensors(path)


def _open_safetensors(path: Path) -> Weights:
    try:
        # Not mapped into memory: pages of the file would stay there beside the model.
        file: Any = safe_open(path, framework="pt", backend="pread")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error) from error
    return Weights(path, shapes, file.get_tensor)


def _open_pickle(path: Path) -> Weights:
    """Read a ``.bin`` with torch's restricted unpickler, which builds tensors and runs nothing."""
    try:
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # of torch before 1.6, which can't be mapped
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is a pickle that holds more than tensors, or a damaged one, and is not opened; "
            "use a checkpoint with safetensors."
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, AttributeError, TypeError) as error:
        raise damaged(path, error) from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise ModelError(f"{path} holds no named tensors; use a checkpoint with safetensors.")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return Weights(path, shapes, lambda name: tensors[name].clone())


def _open_shards(folder: Path, index: str) -> Weights:
    parts: dict[str, Weights] = {}
    for file in shards(folder, index):
        if not (folder / file).is_file():
            raise ModelError(f"{folder} has no {file}, which {index} names; download the model again.")
        part = _open_file(folder / file)
        parts |= dict.fromkeys(part, part)
    named = read_json(folder / index)["weight_map"]
    if missing := sorted(set(named) - set(parts)):
        raise ModelError(f"{folder / named[missing[0]]} has no tensor {missing[0]}, which {index} names; {_AGAIN}.")
    shapes = {name: part.shapes[name] for name, part in parts.items()}
    return Weights(folder / index, shapes, lambda name: parts[name][name])
