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
from typing import Any

import pytest
import yaml
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
    lost = [name for name in names if not any(fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns)]
    assert lost == []


def test_the_bundled_model_is_whole_and_fits_the_wheel() -> None:
    from wordgaze.folder import CONFIDENCE, FILES

    files = {
        path.name: path.stat().st_size for path in (PACKAGE / "bundled").iterdir() if not path.name.startswith(".")
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
        assert any(part.operator == "<" for part in requirement.specifier), f"{requirement.name} has no upper bound"


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
        ("src", ["demo", "gpt2", "heif", "metrics", "onnx", "parquet", "ray", "test"]),
        ("tests", ["browser", "demo", "gpt2", "heif", "metrics", "onnx", "parquet", "ray", "tensorboard", "test"]),
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


PYTHONS = [
    match[1]
    for text in PROJECT["project"]["classifiers"]
    if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text))
]


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("asked", "found"),
    [("newest", ["3.13"]), ("all", ["3.13", "3.12"]), ("none", [])],
    ids=lambda value: str(value),
)
def test_ci_finds_other_pythons_that_run(tmp_path: Path, asked: str, found: list[str]) -> None:
    """python3.13 is on PATH; python3.12 there is pyenv's stand-in, which does not run, and pyenv has one that does."""

    def stand_in(version: str) -> str:  # says yes to the one question that names its version
        return f'case "$2" in *{version}*) exit 0 ;; esac; exit 1'

    home, path = tmp_path / "home", tmp_path / "bin"
    write_script(path / "python3", stand_in("3.11"))
    write_script(path / "python3.13", stand_in("3.13"))
    write_script(path / "python3.12", "exit 127")
    pyenv = home / ".pyenv" / "versions" / "3.12.9" / "bin" / "python3"
    write_script(pyenv, stand_in("3.12"))
    environment = {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(home), "WORDGAZE_PYTHONS": asked}
    done = subprocess.run([ROOT / ".ci/run", "--pythons"], capture_output=True, text=True, env=environment)
    places = {"3.13": path / "python3.13", "3.12": pyenv}
    assert done.stdout.splitlines() == [f"{version} {places[version]}" for version in found], done.stderr


def test_the_workflow_runs_the_script_with_every_python_that_is_claimed() -> None:
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    (job,) = read_yaml(".github/workflows/ci.yml")["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


def read_yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_an_issue_form_is_one_that_github_takes(name: str) -> None:
    form = read_yaml(f".github/ISSUE_TEMPLATE/{name}")
    assert form["name"] and form["description"]
    inputs = [part for part in form["body"] if part["type"] != "markdown"]
    assert inputs and {part["type"] for part in inputs} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert len({part["id"] for part in inputs}) == len(inputs)
    assert all(part["attributes"]["label"] for part in inputs)


def test_the_citation_is_of_this_version() -> None:
    """What Citation File Format 1.2.0 requires, and the same facts as in pyproject.toml."""
    citation, project = read_yaml("CITATION.cff"), PROJECT["project"]
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["type"] == "software"
    assert citation["title"] == project["name"]
    assert citation["version"] == wordgaze.__version__
    assert citation["authors"] == project["authors"]
    assert citation["abstract"] == project["description"]
    assert citation["keywords"] == project["keywords"]
    assert citation["license"] == project["license"]


def unpickles(tree: ast.AST) -> bool:
    """Whether code could make any Python objects of a file: pickle, torch.load and their like.

    torch.load with ``weights_only=True`` makes tensors alone, and to catch pickle's error is no use of it.
    """
    nodes = list(ast.walk(tree))
    imported = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules = {alias.name for alias in imported if (alias.name, alias.asname) != ("pickle", None)}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    of_pickle = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    of_pickle = {name for name in of_pickle if name.startswith("pickle.")} - {"pickle.UnpicklingError"}
    calls = {
        ast.unparse(node.func)
        for node in nodes
        if isinstance(node, ast.Call) and ("weights_only", "True") not in arguments(node)
    }
    keywords = {argument for node in nodes if isinstance(node, ast.Call) for argument in arguments(node)}
    return bool(
        modules & {"pickle", "dill", "joblib", "shelve", "marshal"}
        or of_pickle
        or calls & {"torch.load", "yaml.load", "eval", "exec"}
        or any(name == "allow_pickle" and value != "False" for name, value in keywords)
    )


def arguments(call: ast.Call) -> set[tuple[str | None, str]]:
    """Return the keyword arguments of a call, as they are written."""
    return {(word.arg, ast.unparse(word.value)) for word in call.keywords}


def test_only_training_unpickles_as_security_says() -> None:
    found = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if unpickles(ast.parse(path.read_text(encoding="utf-8"))) and "train" not in path.stem
    }
    assert found <= {"training"}
    assert unpickles(ast.parse("import torch\ntorch.load('a.ckpt')"))  # the net would hold one
    assert unpickles(ast.parse("torch.load('a.ckpt', weights_only=False)"))
    assert unpickles(ast.parse("import pickle\npickle.loads(data)"))
    assert unpickles(ast.parse("numpy.load('a.npy', allow_pickle=True)"))


def test_security_names_the_limit_of_photos() -> None:
    from wordgaze.data.photos import MAX_PIXELS

    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert f"more than {MAX_PIXELS // 10**6} million pixels is refused" in text
