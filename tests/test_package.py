"""What is shipped: the public names, the version, the bundled files, the dependencies, the two lines of the README."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib import import_module, metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import wordgaze

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "wordgaze"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    split = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in split)
    return {name: version for name, version in split}


def requirements(extras: Iterable[str]) -> list[Requirement]:
    """What an installation with these extras asks for."""
    texts = [*PROJECT["project"]["dependencies"], *chain.from_iterable(EXTRAS[extra] for extra in extras)]
    return [requirement for requirement in map(Requirement, texts) if requirement.name != "wordgaze"]


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert wordgaze.__all__ == sorted(wordgaze.__all__)
    assert dir(wordgaze) == wordgaze.__all__
    for name in wordgaze.__all__:
        assert getattr(wordgaze, name).__name__ == name if name != "__version__" else wordgaze.__version__
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = wordgaze.Nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_the_all_of_every_room_is_sorted_and_there(path: Path) -> None:
    module = import_module(".".join(path.relative_to(PACKAGE.parent).parent.parts))
    names = getattr(module, "__all__", [])
    assert list(names) == sorted(names)
    assert all(hasattr(module, name) for name in names)


def test_the_version_is_that_of_the_installation_and_of_the_changelog() -> None:
    assert metadata.version("wordgaze") == wordgaze.__version__
    assert f"## {wordgaze.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()


def test_every_file_that_is_no_python_is_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["wordgaze"]
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = [path.relative_to(PACKAGE).as_posix() for path in files if path.suffix != ".py"]
    assert "py.typed" in names
    # fnmatch's star crosses folders, setuptools' does not.
    lost = [
        name
        for name in names
        if not any(fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns)
    ]
    assert lost == []


def test_the_bundled_model_is_whole_and_fits_the_wheel() -> None:
    from wordgaze.hub import CONFIDENCE, FILES

    files = {
        path.name: path.stat().st_size
        for path in (PACKAGE / "bundled").iterdir()
        if not path.name.startswith(".")
    }
    assert set(files) == {*FILES, CONFIDENCE}
    assert sum(files.values()) <= 40_000_000


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder.name for folder in folders if not (folder / "__init__.py").exists()] == []


def test_constraints_pin_every_requirement_within_its_bounds() -> None:
    found = pins()
    assert list(found) == sorted(found)
    for requirement in requirements(EXTRAS):
        assert found[canonicalize_name(requirement.name)] in requirement.specifier, requirement.name
        assert any(part.operator == "<" for part in requirement.specifier), (
            f"{requirement.name} has no upper bound"
        )


def test_constraints_hold_on_every_platform_and_keep_out_pre_releases() -> None:
    for name, version in pins().items():
        assert not name.startswith(("nvidia", "cuda", "triton")), name  # torch's own business
        assert re.fullmatch(r"\d+(\.\d+)*", version), f"{name}=={version} is local or a pre-release"


def third_party(folder: Path) -> set[str]:
    modules = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add((node.module or "").partition(".")[0])
    return modules - set(sys.stdlib_module_names) - {"wordgaze"}


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("src", ["demo", "gpt2", "heif", "metrics", "test"]),
        ("tests", ["browser", "demo", "gpt2", "heif", "metrics", "test"]),
        ("demo", ["demo"]),
    ],
)
def test_whatever_is_imported_is_declared(folder: str, extras: list[str]) -> None:
    names = {canonicalize_name(requirement.name) for requirement in requirements(extras)}
    if "gradio" in names:
        names.add("gradio-client")  # gradio asks for the one version that fits it
    homes = metadata.packages_distributions()
    ours = {folder, "scripts", *(path.stem for path in (ROOT / folder).rglob("*.py"))}
    for module in third_party(ROOT / folder) - ours:
        homes_of_module = {canonicalize_name(home) for home in homes.get(module, [module])}
        assert homes_of_module & names, f"{folder} imports {module}, which pyproject.toml does not name"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_ci_runs_the_two_lines_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    done = subprocess.run([str(script), "--lines"], capture_output=True, text=True)
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1]
    assert done.stdout.splitlines() == block.splitlines()[1:], done.stderr
