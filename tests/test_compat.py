"""torchvision with a torch that it was not linked against, each case in a process of its own.

The installed torchvision shows the case of this machine; stand-ins on ``sys.path`` show both cases everywhere.
"""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# Like torchvision's own __init__: it fails unless somebody has declared the operator.
STAND_IN = """
import torch

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
"""


def run(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def stand_in(folder: Path, native: Path | bytes | None) -> Path:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(STAND_IN)
    target = package / f"_C{importlib.machinery.EXTENSION_SUFFIXES[-1]}"
    if isinstance(native, bytes):
        target.write_bytes(native)
    elif native is not None:
        shutil.copy(native, target)
    return folder


def loadable_library() -> Path:
    spec = find_spec("safetensors._safetensors_rust")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin)


@pytest.mark.parametrize("native", [b"not a library", None], ids=["broken", "absent"])
def test_declares_both_schemas_where_the_native_part_does_not_load(tmp_path: Path, native: bytes | None) -> None:
    path = stand_in(tmp_path, native)
    bare = run("import torchvision", path)
    assert "torchvision::nms does not exist" in bare.stderr

    done = run(
        "from wordgaze import compat\n"
        "import torch, torchvision\n"
        "print(torch.ops.torchvision.nms.default._schema)\n"
        "print(torch.ops.torchvision.qnms.default._schema)\n"
        # A second call declares nothing twice.
        "print(compat.declare_missing_operators())\n"
        "print(compat.torchvision_status())\n",
        path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "torchvision::qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "True",
        "its native part does not load with this torch; wordgaze works without it",
    ]


def test_declares_nothing_where_the_native_part_loads(tmp_path: Path) -> None:
    done = run(
        "from wordgaze import compat\n"
        "import torch\n"
        "print(hasattr(torch.ops.torchvision, 'nms'), compat.torchvision_status())\n",
        stand_in(tmp_path, loadable_library()),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False native part loads"


def test_leaves_an_operator_alone_that_is_there_already(tmp_path: Path) -> None:
    done = run(
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "from wordgaze import compat\n"
        "import torchvision\n"
        "print(compat._library)\n",
        stand_in(tmp_path, b"not a library"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "None"


def test_a_missing_torchvision_is_no_failure(tmp_path: Path) -> None:
    done = run(
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'torchvision' else found(name, *a)\n"
        "from wordgaze import compat\n"
        "import torch\n"
        "print(hasattr(torch.ops.torchvision, 'nms'), compat.torchvision_status())\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False missing"


def test_the_installed_torchvision_and_timm_import() -> None:
    done = run(
        "from wordgaze import compat\n"
        "import timm, torchvision\n"
        "from torchvision.transforms import v2\n"
        "print(compat._library is None, torchvision.extension._has_ops())\n"
    )
    assert done.returncode == 0, done.stderr
    ours_absent, native_present = done.stdout.split()
    assert ours_absent == native_present
