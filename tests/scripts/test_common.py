"""What scripts share: templates, tables, times, digests; and that scripts are where the documents say."""

from __future__ import annotations

import ast
import re
from hashlib import sha256
from pathlib import Path

import pytest
from scripts.common import timing
from scripts.common.digest import hex_digest
from scripts.common.markdown import table
from scripts.common.template import Parts

from scripts import ROOT

SCRIPTS = [
    path for path in (ROOT / "scripts").rglob("*.py") if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
]
NAMED = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "NOTICE")),
    *(ROOT / "docs").glob("*.md"),
    *(path for path in (ROOT / "src").rglob("*") if path.suffix in (".py", ".md")),
    *(path for path in (ROOT / "scripts").rglob("*") if path.suffix in (".py", ".md")),
]


def test_a_part_takes_the_values_that_it_names_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "prose.md"
    path.write_text("About this file.\n\n<!-- part: one -->\n$name has $count.\n\n<!-- part: other -->\nNone.\n")
    parts = Parts(path)
    assert parts.fill("one", name="$count", count=2) == "$count has 2."
    assert parts.fill("other") == "None."
    with pytest.raises(KeyError, match="count"):
        parts.fill("one", name="a")
    with pytest.raises(ValueError, match="no place for more"):
        parts.fill("one", name="a", count=1, more=2)
    with pytest.raises(KeyError):
        parts.fill("third")


@pytest.mark.parametrize(
    ("numbers_from", "rule"),
    [(None, "| --- | --- | --- |"), (1, "| --- | --: | --: |"), (0, "| --: | --: | --: |")],
)
def test_numbers_of_a_table_stand_right(numbers_from: int | None, rule: str) -> None:
    assert table("abc", [(1, "x", 2.5)], numbers_from) == f"| a | b | c |\n{rule}\n| 1 | x | 2.5 |"


def test_times_are_of_the_work_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lengths = [0.0], iter([9, 9, 3, 1, 4, 1, 5, 9, 2, 6])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def work() -> int:
        clock[0] += (length := next(lengths))
        return length

    assert timing.median_seconds(work, at_least=14.5) == 3.5  # 3, 1, 4, 1, 5, 9: the first two warm up
    assert timing.fastest(2, work) == (2, 6)


def test_a_digest_is_of_all_contents_in_order() -> None:
    assert hex_digest(b"a", b"bc") == sha256(b"abc").hexdigest() != hex_digest(b"bc", b"a")


def test_nothing_lies_loose() -> None:
    assert [path.name for path in (ROOT / "scripts").iterdir() if path.is_file()] == ["__init__.py"]


def test_every_script_says_how_it_is_called() -> None:
    assert len(SCRIPTS) >= 12
    for path in SCRIPTS:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert f"python -m {module}" in about, path


def test_every_script_that_is_named_is_there() -> None:
    """A place that a document or a sentence names, as a path or a module."""
    found = set()
    for path in NAMED:
        for name in re.findall(r"(?<![\w/.-])scripts[./][\w./]*\w", path.read_text(encoding="utf-8")):
            target = ROOT / (name if "/" in name else name.replace(".", "/"))
            assert target.exists() or target.with_suffix(".py").is_file() or is_member(target), f"{path}: {name}"
            found.add(name)
    assert {"scripts.experiments.parity", "scripts/docs/pages.py"} <= found


def is_member(target: Path) -> bool:
    """Whether a dotted name is that of something in a module: ``scripts.common.markdown.table``."""
    module = target.parent.with_suffix(".py")
    return module.is_file() and target.name in module.read_text(encoding="utf-8")
