"""``.ci/run`` on a checkout of a few lines, with stand-ins for Python and the tools."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = """```bash
python3 first && mkdir -p .venv/bin && cp $TMPDIR/tools/* .venv/bin && echo picture > maps.png
python3 second && echo '7 passed'
```
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(folder: Path, **does: str) -> subprocess.CompletedProcess[str]:
    """Run the script; ``does`` says by version and line what a Python does, for instance ``v13_second="exit 1"``."""
    checkout = folder / "checkout"
    (checkout / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci")
    (checkout / "README.md").write_text(README)
    (checkout / "pyproject.toml").write_text('"Programming Language :: Python :: 3.13",\n')
    for version, name in (("11", "python3"), ("13", "python3.13")):
        lines = [f"{line}) {does.get(f'v{version}_{line}', ':')} ;;" for line in ("first", "second")]
        script = f"""if [ "$1" = -c ]; then case "$2" in *3.{version}*) exit 0 ;; esac; exit 1; fi
            echo "3.{version} $1"
            case "$1" in {" ".join(lines)} esac"""
        write_script(folder / "bin" / name, script)
    for program in ("chromium", "exiftool"):
        write_script(folder / "bin" / program, "")
    (folder / "tmp").mkdir()
    for tool in ("pip", "pytest", "ruff", "mypy"):
        write_script(folder / "tmp" / "tools" / tool, does.get(tool, ""))
    environment = {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "WORDGAZE_SCREENSHOTS": str(folder),
    }
    script = checkout / ".ci" / "run"
    done = subprocess.run([script], capture_output=True, text=True, env=environment, timeout=50)
    assert [path.name for path in (folder / "tmp").iterdir()] == ["tools"]  # nothing is left behind
    return done


@pytest.mark.parametrize(
    ("does", "failed"),
    [
        ({}, []),
        ({"v13_first": "exit 1"}, ["first lines of other Pythons"]),
        ({"v13_second": "exit 1"}, ["second lines of other Pythons"]),
        ({"mypy": "exit 1"}, ["mypy"]),
        ({"v13_second": "exit 1", "mypy": "exit 1"}, ["mypy", "second lines of other Pythons"]),
        ({"pip": "exit 1"}, ["tools"]),
    ],
    ids=str,
)
def test_every_failure_is_told_and_counts(tmp_path: Path, does: dict[str, str], failed: list[str]) -> None:
    done = run(tmp_path, **does)
    assert done.returncode == bool(failed), done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("failed: ")] == [f"failed: {name}" for name in failed]
    assert last == "7 passed"
    ran = [line for line in lines if line in ("3.11 first", "3.11 second", "3.13 first", "3.13 second")]
    assert (
        sorted(ran)
        == [f"3.{version}" for version in ("11 first", "11 second", "13 first", "13 second")][
            : 3 if "v13_first" in does else 4
        ]
    )


def test_what_runs_in_the_background_ends_with_the_script(tmp_path: Path) -> None:
    """A pipe is closed at its writing end when the last process that had it open is gone."""
    pipe, started = tmp_path / "pipe", tmp_path / "started"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    done = run(
        tmp_path,
        v13_first=f"exec 9> {pipe}; touch {started}; sleep 600",
        v11_second=f"until [ -e {started} ]; do sleep 0.1; done; exit 1",
    )
    assert done.returncode == 1
    assert select.select([reading], [], [], 20)[0] == [reading]
    assert os.read(reading, 1) == b""
    os.close(reading)
