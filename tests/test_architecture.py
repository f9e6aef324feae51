"""Reads every import of the package, and fails on one that goes against the way of the data.

Imports inside functions and under ``TYPE_CHECKING`` count like all others: a room that names a higher one knows it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "wordgaze"

# What every room may import.
GROUND: dict[str, set[str]] = {
    "errors": set(),
    "compat": set(),
    "files": {"errors"},
    "device": {"errors"},
    "signals": set(),
}


def room_table() -> dict[str, set[str]]:
    """Return the rooms that each room may import besides itself and the ground, lower rooms first."""
    rooms: dict[str, set[str]] = {"data": set(), "text": set(), "model": set()}
    rooms["generation"] = {"model"}
    rooms["explanation"] = {"data", "text", "model", "generation"}
    rooms["evaluation"] = {"text"}
    rooms["folder"] = {"data", "text", "model", "generation"}
    rooms["hub"] = {"data", "text", "model", "generation", "folder"}
    rooms["convert"] = set(rooms)
    rooms["training"] = set(rooms) - {"explanation"}
    rooms["export"] = set(rooms)
    rooms["captioning"] = {"data", "generation", "folder"}
    rooms["captioner"] = set(rooms)
    rooms["tasks"] = set(rooms)
    rooms["ray_data"] = set(rooms)
    rooms["cli"] = {*rooms, "demo"}
    rooms["demo"] = set(rooms)
    # `python -m wordgaze`
    rooms["__main__"] = {"cli"}
    return rooms


ROOMS = room_table()
# Each imports torchvision, or may.
NEED_COMPAT = {"timm", "torchvision", "lightning", "transformers"}
# The caption path never waits for transformers: only these may import it, and only inside a function.
MAY_USE_TRANSFORMERS = {"convert", "model", "training", "tasks"}


@dataclass(frozen=True)
class Import:
    """One imported module, absolute: ``wordgaze.data.photos`` or ``timm.data``."""

    module: str
    line: int
    inside_function: bool

    @property
    def room(self) -> str | None:
        """The room of an import of ours."""
        first, _, rest = self.module.partition(".")
        return rest.partition(".")[0] if first == "wordgaze" else None


def room_of(path: Path, package: Path) -> str:
    """Return the folder or file of ``package`` that ``path`` is in."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def lazy_homes(package: Path) -> dict[str, str]:
    """Return the package's own table: ``Captioner`` → ``wordgaze.captioner``."""
    for node in ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOMES":
            return dict(ast.literal_eval(node.value))
    return {}


def imports(path: Path, package: Path) -> Iterator[Import]:
    homes = lazy_homes(package)
    rooms = {child.stem for child in package.iterdir()}

    def absolute(node: ast.ImportFrom) -> str:
        if not node.level or not path.is_relative_to(package):
            return node.module or ""
        parts = ["wordgaze", *path.relative_to(package).parts[:-1]]
        return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])

    def visit(node: ast.AST, inside: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, inside)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node)
            if module != "wordgaze":
                yield Import(module, node.lineno, inside)
            else:  # `from wordgaze import compat, Captioner, __version__`
                for alias in node.names:
                    home = f"wordgaze.{alias.name}" if alias.name in rooms else homes.get(alias.name)
                    if home is not None:
                        yield Import(home, node.lineno, inside)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                text = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
                if isinstance(text, ast.Constant):
                    yield Import(str(text.value), node.lineno, inside)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def forbidden_rooms(package: Path) -> list[str]:
    """Return imports against the table, as ``room/file.py:line imports room``."""
    culprits = []
    for path in sources(package):
        room = room_of(path, package)
        allowed = {room} | (GROUND[room] if room in GROUND else set(GROUND) | ROOMS.get(room, set()))
        # The lazy root imports names of ours under TYPE_CHECKING only, which running it checks.
        if room == "__init__":
            continue
        for entry in imports(path, package):
            if entry.room is not None and entry.room not in allowed:
                culprits.append(f"{path.relative_to(package)}:{entry.line} imports {entry.room or 'wordgaze'}")
    return culprits


def imports_compat(path: Path, package: Path) -> bool:
    """Return whether importing this file imports compat, for what follows."""
    return path.exists() and any(
        entry.module == "wordgaze.compat" and not entry.inside_function for entry in imports(path, package)
    )


def missing_compat(folder: Path, package: Path) -> list[str]:
    """Return imports of what needs compat that no import of it precedes, in their file or a folder's __init__."""
    culprits = []
    for path in sources(folder):
        entries = sorted(imports(path, package), key=lambda entry: entry.line)
        ready = any(imports_compat(parent / "__init__.py", package) for parent in path.parents)
        for entry in entries:
            ready = ready or (entry.module == "wordgaze.compat" and not entry.inside_function)
            if entry.module.split(".")[0] in NEED_COMPAT and not ready:
                culprits.append(f"{path.relative_to(folder)}:{entry.line} imports {entry.module}")
    return culprits


def places_of_compat(folder: Path, package: Path) -> dict[str, list[str]]:
    """Return the files of each room of ``folder`` that import compat for what follows."""
    places: dict[str, list[str]] = {}
    for path in sources(folder):
        if imports_compat(path, package):
            places.setdefault(room_of(path, folder), []).append(str(path.relative_to(folder)))
    return places


def long_functions(path: Path, lines: int) -> list[str]:
    """Return the functions of more than ``lines`` lines, decorators not counted, as ``file.py:name has n lines``."""
    return [
        f"{path.name}:{node.name} has {length} lines"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > lines
    ]


def stray_transformers(package: Path) -> list[str]:
    culprits = []
    for path in sources(package):
        for entry in imports(path, package):
            may = room_of(path, package) in MAY_USE_TRANSFORMERS and entry.inside_function
            if entry.module.split(".")[0] == "transformers" and not may:
                culprits.append(f"{path.relative_to(package)}:{entry.line} imports {entry.module}")
    return culprits


def test_every_room_is_listed_and_every_listed_room_is_there() -> None:
    rooms = {room_of(path, PACKAGE) for path in sources(PACKAGE)}
    assert rooms == {*ROOMS, *GROUND, "__init__"}


def test_imports_go_upstream_only() -> None:
    assert forbidden_rooms(PACKAGE) == []


@pytest.mark.parametrize("folder", ["src/wordgaze", "scripts", "demo"])
def test_compat_comes_before_what_imports_torchvision(folder: str) -> None:
    assert missing_compat(ROOT / folder, PACKAGE) == []


@pytest.mark.parametrize("folder", ["src/wordgaze", "scripts", "demo", "tests"])
def test_compat_is_imported_in_one_place_a_room(folder: str) -> None:
    places = places_of_compat(ROOT / folder, PACKAGE)
    assert {room: files for room, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize("folder", ["src/wordgaze", "scripts", "demo"])
def test_no_function_has_over_60_lines_and_no_file_over_500(folder: str) -> None:
    assert [culprit for path in sources(ROOT / folder) for culprit in long_functions(path, 60)] == []
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(ROOT / folder)}
    assert {path: length for path, length in lengths.items() if length > 500} == {}


def test_transformers_stays_off_the_caption_path() -> None:
    assert stray_transformers(PACKAGE) == []


def test_a_caption_and_its_maps_load_neither_transformers_nor_lightning() -> None:
    code = (
        "import sys\n"
        "from PIL import Image\n"
        "from wordgaze import Captioner\n"
        "Captioner.from_pretrained().explain(Image.new('RGB', (64, 48), 'gray'))\n"
        "print(sorted({'transformers', 'lightning', 'gradio', 'pycocoevalcap'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_importing_wordgaze_imports_nothing_heavy() -> None:
    code = (
        "import sys, wordgaze\n"
        "dir(wordgaze)\n"
        "print(sorted(name for name in sys.modules if name.startswith('wordgaze.')), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def test_the_search_needs_no_torch() -> None:
    code = "import sys, wordgaze.generation.search\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with one file in each room, to break rules in."""
    package = tmp_path / "wordgaze"
    for room in ROOMS:
        (package / room).mkdir(parents=True)
        (package / room / "a.py").write_text("import torch\nfrom wordgaze.errors import WordgazeError\n")
    (package / "compat.py").write_text("import torch\n")
    (package / "errors.py").write_text("")
    (package / "__init__.py").write_text("_HOMES = {'Captioner': 'wordgaze.captioner'}\n")
    assert forbidden_rooms(package) == missing_compat(package, package) == stray_transformers(package) == []
    return package


@pytest.mark.parametrize(
    ("room", "code", "culprit"),
    [
        ("model", "from wordgaze.text.a import f", "text"),
        ("model", "from wordgaze import data", "data"),
        ("model", "from ..text import a", "text"),
        ("model", "import wordgaze.data.a", "data"),
        ("data", "def f():\n    from wordgaze.model import a", "model"),
        ("text", "import typing\nif typing.TYPE_CHECKING:\n    from wordgaze.model import a", "model"),
        ("generation", "from wordgaze.text import a", "text"),
        ("evaluation", "import importlib\nimportlib.import_module('wordgaze.generation.a')", "generation"),
        ("training", "from wordgaze.explanation import a", "explanation"),
        ("training", "from wordgaze import Captioner", "captioner"),
        ("convert", "from wordgaze.training import a", "training"),
        ("folder", "from wordgaze.hub import a", "hub"),
        ("hub", "from wordgaze import Captioner", "captioner"),
        ("captioning", "from wordgaze import Captioner", "captioner"),
        ("captioning", "from wordgaze.model import a", "model"),
        ("captioner", "from wordgaze.tasks import a", "tasks"),
        ("tasks", "from wordgaze.cli import a", "cli"),
    ],
)
def test_a_way_back_is_found(package: Path, room: str, code: str, culprit: str) -> None:
    (package / room / "b.py").write_text(code)
    assert forbidden_rooms(package) == [f"{room}/b.py:{len(code.splitlines())} imports {culprit}"]


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("explanation", "from wordgaze.generation import a\nfrom wordgaze import compat"),
        ("training", "from wordgaze.evaluation.a import f"),
        ("tasks", "from wordgaze import Captioner, __version__\nfrom . import a"),
        ("cli", "from wordgaze.demo import a\nfrom wordgaze.tasks import a"),
    ],
)
def test_the_way_forth_is_free(package: Path, room: str, code: str) -> None:
    (package / room / "b.py").write_text(code)
    assert forbidden_rooms(package) == []


@pytest.mark.parametrize(
    "code",
    [
        "import timm",
        "from timm.data import resolve_model_data_config",
        "import lightning.pytorch as pl",
        "def f():\n    from torchvision.transforms import v2",
        "import torchvision\nfrom wordgaze import compat",
        "def f():\n    from wordgaze import compat\n\ndef g():\n    import timm",
    ],
)
def test_a_missing_or_late_compat_is_found(package: Path, code: str) -> None:
    (package / "model" / "b.py").write_text(code)
    assert len(missing_compat(package, package)) == 1


def test_compat_once_for_a_folder_is_fine(package: Path) -> None:
    (package / "model" / "__init__.py").write_text("from wordgaze import compat")
    (package / "model" / "inner").mkdir()
    (package / "model" / "inner" / "b.py").write_text("import timm")
    (package / "data" / "b.py").write_text("import timm")
    assert missing_compat(package, package) == ["data/b.py:1 imports timm"]


def test_compat_first_is_fine(package: Path) -> None:
    (package / "model" / "b.py").write_text(
        "from wordgaze import compat\nimport timm\ndef f():\n    import torchvision"
    )
    assert missing_compat(package, package) == []


def test_a_second_place_for_compat_is_found(package: Path) -> None:
    (package / "model" / "__init__.py").write_text("from wordgaze import compat as compat")
    (package / "model" / "inner").mkdir()
    (package / "model" / "inner" / "b.py").write_text("import wordgaze.compat")
    (package / "data" / "b.py").write_text("def f():\n    from wordgaze import compat")
    assert places_of_compat(package, package) == {"model": ["model/__init__.py", "model/inner/b.py"]}


def test_a_long_function_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("@decorated\nasync def f():\n    a\n    b\n\nclass C:\n    def g():\n        a")
    assert long_functions(tmp_path / "a.py", 2) == ["a.py:f has 3 lines"]
    assert long_functions(tmp_path / "a.py", 3) == []


@pytest.mark.parametrize(
    ("room", "code", "strays"),
    [
        ("model", "import transformers", 1),
        ("captioner", "def f():\n    from transformers import GPT2LMHeadModel", 1),
        ("model", "def f():\n    from transformers import GPT2LMHeadModel", 0),
    ],
)
def test_transformers_only_inside_functions_of_few_rooms(package: Path, room: str, code: str, strays: int) -> None:
    (package / room / "b.py").write_text(code)
    assert len(stray_transformers(package)) == strays
