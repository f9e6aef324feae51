"""The README's commands and code are run, and the output it shows is compared."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from wordgaze.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
TWO_LINES = [
    "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt . && "
    ".venv/bin/wordgaze explain demo/cat.jpg -o maps.png",
    '.venv/bin/pip install -c constraints.txt -e ".[test]" && .venv/bin/pytest',
]


def test_the_first_block_is_the_two_lines_and_stands_on_the_first_screen():
    assert BLOCKS[0] == ("bash", "\n".join(TWO_LINES) + "\n")
    assert TWO_LINES[1] in TEXT.splitlines()[:40]


def shown():
    return next(body for kind, body in BLOCKS if kind == "text").splitlines()


def test_the_output_it_shows_is_true(tmp_path, monkeypatch):
    """Words to the letter; numbers may differ in their last digit from processor to processor."""
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, ["explain", "demo/cat.jpg", "-o", str(tmp_path / "maps.png")])
    assert result.exit_code == 0, result.output
    found, expected = result.stdout.splitlines(), shown()
    assert found[:2] == expected[:2]
    assert len(found) == len(expected) > 3
    for line, other in zip(found[2:], expected[2:], strict=True):
        (word, probability, entropy), (word_shown, *numbers) = line.split()[:3], other.split()[:3]
        assert word == word_shown
        assert [float(probability), float(entropy)] == pytest.approx([float(n) for n in numbers], abs=0.03)


COMMANDS = [
    line.split("#")[0].strip()
    for kind, body in BLOCKS[1:]
    if kind == "bash"
    for line in body.splitlines()
    if line.startswith("wordgaze ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_run_or_at_least_understood(line, tmp_path, monkeypatch):
    arguments = shlex.split(line)[1:]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "photos").symlink_to(ROOT / "demo")
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    if (
        arguments[0] == "train"
    ):  # whole runs are in test_configs; here: the config and the overrides are valid
        from wordgaze.tasks.train import parse_config

        overrides = [part for part in arguments[3:] if part not in ("--out", "runs/shapes")]
        assert parse_config(arguments[2], overrides).train.epochs > 0
        return
    result = CliRunner().invoke(main, arguments)
    if arguments[0] in ("evaluate", "grounding"):  # their files are the reader's own
        assert result.exit_code == 2
        assert re.match(
            r"wordgaze: (captions_val|instances_val|references).json: .*no such file", result.stderr, re.I
        )
    else:
        assert result.exit_code in ((0, 1) if arguments[0] == "doctor" else (0,)), result.output
        assert result.stdout


def test_the_python_code_runs(tmp_path):
    code = next(body for kind, body in BLOCKS if kind == "python")
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == shown()[0].split("\t")[1]
    assert (tmp_path / "maps.png").stat().st_size > 10_000
    assert done.stderr == ""


def test_the_scores_are_the_cards():
    card = (ROOT / "src/wordgaze/bundled/README.md").read_text(encoding="utf-8")
    section = card.partition("## Scores\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(row in TEXT for row in rows)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
