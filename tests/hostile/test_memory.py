"""No hostile photo takes more than a gigabyte, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hostile.kind import Kind
from tests.hostile.table import KINDS
from tests.hostile.test_photos import made

from scripts import ROOT

ALL = [kind for kinds in KINDS.values() for kind in kinds if not kind.for_root]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peaks are reset in /proc")
@pytest.mark.parametrize("is_large", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_kind_takes_more_than_a_gigabyte(is_large: bool, tmp_path: Path) -> None:
    files: dict[str, Kind] = {}
    for number, kind in enumerate(kind for kind in ALL if kind.is_large == is_large):
        (tmp_path / f"{number}").mkdir()
        files[str(made(kind, tmp_path / f"{number}"))] = kind
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.hostile.measure", *files]
    run = subprocess.run(command, capture_output=True, timeout=300, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-2000:]
    taken = {files[file].what: taken for file, taken in json.loads(run.stdout).items()}
    assert len(taken) == len(files)
    assert {what: size for what, size in taken.items() if size > (1e9 if is_large else 300e6)} == {}


def test_permissions_are_said(tmp_path: Path) -> None:
    """In a child without root's rights, since root may read everything."""
    kinds = KINDS["Permissions"]
    for kind in kinds:
        made(kind, tmp_path)
    tmp_path.chmod(0o755)
    program = (
        "import os, sys\n"
        "from wordgaze.data.photos import open_photo\n"
        "from wordgaze.errors import PhotoError\n"
        "if os.getuid() == 0:\n"
        "    os.setgid(65534)\n"
        "    os.setuid(65534)\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        open_photo(name)\n"
        "        print('read')\n"
        "    except PhotoError as error:\n"
        "        print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    # By relative names: the folders above pytest's are open to its user alone.
    command = [sys.executable, "-c", program, *(str(kind.name) for kind in kinds)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    if run.returncode:
        pytest.skip(f"a child without root's rights can't run here: {run.stderr[-200:]}")
    assert run.stdout.splitlines() == [kind.words for kind in kinds]
