"""Makes ``import torchvision`` work with a torch that it was not linked against.

PyPI's torchvision for Linux is linked against CUDA torch. With a CPU-only torch its native part does not load, and
importing it (and so timm and Lightning) fails with ``operator torchvision::nms does not exist``. Import this module
before them: it declares the two missing schemas, and only when the native part can't load. Nothing of ours calls them.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from pathlib import Path

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# The schemas live as long as this object.
_library: torch.library.Library | None = None


def _torchvision_folder() -> Path | None:
    """Return where torchvision is installed, without importing it."""
    spec = importlib.util.find_spec("torchvision")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _native_part_loads(folder: Path) -> bool:
    """Return whether torchvision's compiled operators load with this torch.

    This looks and loads as ``torchvision/extension.py`` does: if our answer were no and its own yes, it would define
    the same namespace a second time, and the process would end.
    """
    # Windows.
    if hasattr(os, "add_dll_directory"):
        os.add_dll_directory(str(folder))
    loader = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    spec = importlib.machinery.FileFinder(str(folder), loader).find_spec("_C")
    if spec is None or spec.origin is None:
        return False
    try:
        torch.ops.load_library(spec.origin)
    except OSError:
        return False
    return True


def declare_missing_operators() -> bool:
    """Declare ``torchvision::nms`` and ``qnms`` if torchvision can't; return whether they are ours."""
    global _library
    folder = _torchvision_folder()
    # The operator may exist already: from torchvision, or from a program that works around the same problem.
    if _library is None and folder and not _native_part_loads(folder) and not hasattr(torch.ops.torchvision, "nms"):
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(name + _SCHEMA)
    return _library is not None


def declares_operators() -> bool:
    """Return whether the two operators are ours because torchvision's native part does not load."""
    return _library is not None


def torchvision_status() -> str:
    """Return a line for ``wordgaze doctor``: how torchvision works with this torch."""
    if _torchvision_folder() is None:
        return "missing"
    if declares_operators():
        return "its native part does not load with this torch; wordgaze works without it"
    return "native part loads"


declare_missing_operators()
