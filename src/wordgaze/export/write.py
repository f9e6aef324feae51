"""A model → an exported folder, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from wordgaze.errors import ConfigError, ModelError, shown
from wordgaze.explanation.methods import METHODS, available_methods
from wordgaze.export.compare import Difference, compare
from wordgaze.export.manifest import GRAPHS, PRECISIONS, Manifest
from wordgaze.files import AnyPath, check_output_folder, checked_path, one_line
from wordgaze.folder import CONFIDENCE, CONFIG, EXPORT, WEIGHTS, ModelParts, save_folder
from wordgaze.model.caption_model import CaptionModel

NEEDED = ("onnx", "onnxscript", "onnxruntime")
_TEMPORARY = ".exporting-"
_TOLERANCE = 0.01  # rounding moves a thousandth of it, a graph that is wrong a hundred times it


@dataclass(frozen=True)
class Export:
    """What was written, and how far from the model it computes."""

    manifest: Manifest
    difference: Difference

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        megabytes = sum(self.manifest.files.values()) / 1e6
        return (
            f"{self.manifest.precision}, {megabytes:.1f} MB; states within {self.difference.states:.1g} standard "
            f"deviations of PyTorch's, log-probabilities within {self.difference.log_probabilities:.1g}"
        )


def export_folder(parts: ModelParts, out: AnyPath, precision: str = "float32") -> Export:
    """Write a model on the CPU as ONNX files, with all that its folder holds but the weights, whole or not at all.

    ``precision``: ``float32``, or ``int8`` for the matrices of ViT and decoder. Raises ConfigError for another, and
    ModelError where a package is missing, the model can't be exported or what was exported computes something else,
    and where ``out`` holds anything but an exported model.
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ConfigError(f"precision is {shown(precision)}; choose {' or '.join(PRECISIONS)}.")
    out = checked_path("OUT", out)
    check_out(out)
    check_packages()
    missing = [path for path in (out, *out.parents) if not path.exists()]
    try:
        return _write(parts, out, precision)
    except BaseException as error:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise ModelError(
                f"The model can't be exported to {one_line(out)}: {reason}; choose another folder."
            ) from error
        raise


def check_out(out: AnyPath) -> None:
    """Raise ConfigError or ModelError where an exported model may not be written into ``out``."""
    out = Path(out)
    check_output_folder(out)
    if not out.is_dir():
        return
    others = [path.name for path in out.iterdir() if not path.name.startswith(_TEMPORARY)]
    if others and (EXPORT not in others or WEIGHTS in others):
        raise ModelError(
            f"{one_line(out)} is not empty, and no exported model; choose another folder, or an empty one."
        )


def check_packages() -> None:
    """Raise ModelError where a package that exports is not installed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ModelError(
            f'Exporting needs {", ".join(missing)}, not installed here; run `pip install "wordgaze[onnx]"`.'
        )


def fingerprint(model: CaptionModel) -> str:
    """Return what tells a model's weights from others: of their names, shapes and float32 values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def _write(parts: ModelParts, out: Path, precision: str) -> Export:
    from wordgaze.export.onnx_files import write_onnx_files

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=out) as temporary:
        new = Path(temporary)
        save_folder(parts, new)
        (new / WEIGHTS).unlink()
        model = parts.model.eval()
        size = parts.preprocessing.size
        write_onnx_files(model, size, new)
        if precision == "int8":
            from wordgaze.export.quantize import quantize_files

            quantize_files(new)
        layers = parts.model.config.decoder.layers
        manifest = Manifest(
            precision=precision,
            fingerprint=fingerprint(model),
            methods=tuple(name for name in available_methods(layers) if name not in METHODS or not METHODS[name].needs),
            grid=model.grid,
            num_prefix=model.num_prefix,
            image_size=size,
            files={name: (new / name).stat().st_size for name in GRAPHS},
        )
        (new / EXPORT).write_text(manifest.to_json(), encoding="utf-8")
        difference = compare(model, size, new)
        if precision == "float32" and not difference.largest < _TOLERANCE:
            raise ModelError(
                f"What ONNX Runtime computes is not what this model does ({difference}), so nothing was exported; "
                "please report it, with the model's config.json."
            )
        _replace_all(new, out)
    return Export(manifest, difference)


def _replace_all(new: Path, out: Path) -> None:
    """Move the files of ``new`` to ``out``; until the last is there, no mixture of two models can be loaded."""
    for path in new.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    (out / CONFIG).unlink(missing_ok=True)
    (out / CONFIDENCE).unlink(missing_ok=True)
    names = sorted(path.name for path in new.iterdir())
    # An interrupted export leaves its manifest, by which the next one knows the folder.
    for name in sorted(names, key=lambda name: (name != EXPORT, name == CONFIG)):
        os.replace(new / name, out / name)
