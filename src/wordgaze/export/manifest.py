"""``onnx.json``: what an exported folder says of its ONNX files. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wordgaze.errors import ModelError, first_line, shown
from wordgaze.folder import EXPORT, ONNX_FILES

ENCODER, PATCHES, DECODER = ONNX_FILES
GRAPHS = (ENCODER, PATCHES, DECODER)
"""Pixels → states; states → the decoder's keys and values of the patches; tokens and both → the next token."""
FORMAT_VERSION = 1
PRECISIONS = ("float32", "int8")

_AGAIN = "export the model again"


@dataclass(frozen=True)
class Manifest:
    """What an exported folder says of itself.

    ``fingerprint``: of the weights that it was made from. ``methods``: the maps that it can make, those that need no
    gradient. ``grid``: patches down and across, (H_p, W_p), which come after ``num_prefix`` other tokens.
    ``image_size``: (H, W) of the pixels. ``files``: the bytes of each ONNX file.
    """

    precision: str
    fingerprint: str
    methods: tuple[str, ...]
    grid: tuple[int, int]
    num_prefix: int
    image_size: tuple[int, int]
    files: Mapping[str, int]

    def to_json(self) -> str:
        """Return the text of ``onnx.json``."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2) + "\n"


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Return what an exported folder says of itself; raise ModelError where it is damaged or of another version."""
    path = Path(folder, EXPORT)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{path} has format_version {shown(version)}, but this wordgaze reads {FORMAT_VERSION}; {_AGAIN}, or "
                "update wordgaze."
            )
        manifest = _from_dict(values)
    except FileNotFoundError:
        raise ModelError(f"{folder} has no {EXPORT}, so it is no exported model; {_AGAIN}.") from None
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror or error}); check its permissions.") from error
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({first_line(error)}); {_AGAIN}.") from error
    for name, size in manifest.files.items():
        file = Path(folder, name)
        if not file.is_file():
            raise ModelError(f"{folder} has no {name}, so it is not a whole exported model; {_AGAIN}.")
        if file.stat().st_size != size:
            raise ModelError(f"{file} has {file.stat().st_size} bytes where {EXPORT} says {size}; {_AGAIN}.")
    return manifest


def _from_dict(values: Mapping[str, Any]) -> Manifest:
    names = {field.name for field in fields(Manifest)}
    if set(values) != names:
        raise ValueError(f"its names are {', '.join(values) or 'none'} instead of {', '.join(sorted(names))}")
    files = {str(name): int(size) for name, size in dict(values["files"]).items()}
    if set(files) != set(GRAPHS):
        raise ValueError(f"its files are {', '.join(files) or 'none'} instead of {', '.join(GRAPHS)}")
    return Manifest(
        precision=str(values["precision"]),
        fingerprint=str(values["fingerprint"]),
        methods=tuple(map(str, values["methods"])),
        grid=_pair(values["grid"]),
        num_prefix=int(values["num_prefix"]),
        image_size=_pair(values["image_size"]),
        files=files,
    )


def _pair(values: Any) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)
