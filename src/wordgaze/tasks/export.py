"""Writes a model as ONNX files, which ONNX Runtime runs without torch."""

from __future__ import annotations

from pathlib import Path

from wordgaze.convert.load import load_model
from wordgaze.errors import ModelError
from wordgaze.export.write import Export, check_out, check_packages, export_folder
from wordgaze.files import AnyPath, checked_path, one_line
from wordgaze.folder import is_exported
from wordgaze.hub import resolve

BUNDLED = "bundled"
"""The name of the model that ships with wordgaze, where no folder has it."""


def export_model(source: AnyPath, out: AnyPath, precision: str = "float32") -> Export:
    """Export the model that ``source`` names to ``out``, whole or not at all.

    ``source``: a model folder, a checkpoint's, a name on the hub, or ``bundled``. ``precision`` as of
    :func:`~wordgaze.export.write.export_folder`. Raises ConfigError and ModelError.
    """
    # Before a model is downloaded or loaded for nothing.
    check_out(checked_path("OUT", out))
    check_packages()
    name = None if source == BUNDLED and not Path(BUNDLED).exists() else source
    folder = resolve(name)
    if is_exported(folder):
        raise ModelError(
            f"{one_line(folder)} is an exported model already; name the model folder that it was made from."
        )
    return export_folder(load_model(name), out, precision)
