"""The commands and code of README and docs/ are run, and the outputs that they show are compared."""

import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripts.docs.pages import WRITTEN, blocks, scores
from scripts.experiments import tiny_checkpoints

from wordgaze import Captioner
from wordgaze.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
CARD = ROOT / "src/wordgaze/bundled/README.md"
TWO_LINES = [
    "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt . && "
    ".venv/bin/wordgaze explain demo/kingfisher.jpg -o maps.png",
    '.venv/bin/pip install -c constraints.txt -e ".[test]" && .venv/bin/pytest',
]
EXPLAIN = "wordgaze explain demo/kingfisher.jpg -o maps.png"
load = cache(Captioner.from_pretrained)
"""The bundled model, loaded once for all commands and code."""


def name_of(case: object) -> str:
    return case.name if isinstance(case, Path) else str(case)


@pytest.fixture(scope="session")
def blip(tmp_path_factory):
    """Write a small BLIP, which stands in for those of the hub."""
    folder = tmp_path_factory.mktemp("hub") / "blip"
    tiny_checkpoints.blip(folder)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch, request):
    """A folder with what the pages' commands name: photos, configs, captions, boxes and results, a few of each."""
    for name, target in (("demo", "demo"), ("configs", "configs"), ("photos", "demo"), ("PHOTOS", "demo")):
        (tmp_path / name).symlink_to(ROOT / target)
    said = ["a bird on a branch", "a blue and orange bird sits on a branch", "a bird is standing on a branch"]
    images = [{"id": 1, "file_name": "kingfisher.jpg", "width": 720, "height": 480}]
    references = {"images": images, "annotations": [{"image_id": 1, "caption": caption} for caption in said]}
    box = {"id": 1, "image_id": 1, "category_id": 16, "bbox": [100, 80, 380, 430]}
    boxes = {"images": images, "categories": [{"id": 16, "name": "bird"}], "annotations": [box]}
    files = {
        "captions_val.json": references,
        "captions_train.json": references,
        "references.json": references,
        "instances_val.json": boxes,
        "results.json": [{"image_id": 1, "caption": "a bird on a branch"}],
        "others.json": [{"image_id": 1, "caption": "a dog"}],
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Captioner, "from_pretrained", load)
    hub = lambda *_, **__: str(request.getfixturevalue("blip"))  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    return tmp_path


def run(line):
    """Run a line of a page in this process, with the pipes and files that it names; return click's result."""
    given, _, command = line.rpartition(" | ")
    command, _, file = command.partition(" < ")
    command, _, _ = command.partition(" > ")
    content = None
    if given:
        content = subprocess.run(given, shell=True, capture_output=True, check=True).stdout
    elif file:
        content = Path(file).read_bytes()
    return CliRunner().invoke(main, shlex.split(command)[1:], input=content)


def check_training(line):
    """Whole runs are in test_configs; here: the configs and the overrides are valid."""
    from wordgaze.training.config_file import parse_config

    configs, overrides, parts = [], [], iter(shlex.split(line)[2:])
    for part in parts:
        if part == "--config":
            configs.append(next(parts))
        elif part == "--out":
            next(parts)
        else:
            overrides.append(part)
    assert parse_config(configs, overrides).train.epochs > 0


BLOCKS = [block for page in PAGES for block in blocks(page)]
OUTPUTS = list(dict.fromkeys(block for block in BLOCKS if block.kind == "bash" and block.output is not None))
COMPARED = {line for block in OUTPUTS for line in block.commands()}
COMMANDS_SHOWN = list(dict.fromkeys(line for block in BLOCKS for line in block.commands() if line not in COMPARED))
FAILING = {"doctor": (0, 1), "nowhere.jpg": (1,), "check captions_train.json": (1,)}


@pytest.mark.parametrize("line", COMMANDS_SHOWN)
def test_every_command_runs(line, folder, request):
    if line.startswith("wordgaze train "):
        check_training(line)
        return
    if "--model exported" in line:
        (folder / "exported").symlink_to(request.getfixturevalue("exported_folder"))
    if line.startswith(("wordgaze bench", "wordgaze export")):
        # They take long; tests/cli/test_bench.py and tests/export run them on a small model.
        name, *arguments = shlex.split(line)[1:]
        main.get_command(None, name).make_context(name, arguments)
        return
    if line.startswith("wordgaze data coco"):
        # It needs the network; tests/tasks/test_data_coco.py runs it on a server of its own.
        main.get_command(None, "data").commands["coco"].make_context("coco", shlex.split(line)[3:])
        return
    result = run(line)
    [expected] = [codes for word, codes in FAILING.items() if word in line] or [(0,)]
    assert result.exit_code in expected, result.output
    assert result.output


def compared(text):
    """Split an output; of explain's table take the first three columns, since a peak may lie a patch further."""
    lines = [line.split() for line in text.splitlines()]
    if "entropy" in text:
        return [lines[0], *(line[:3] for line in lines[1:])]
    return lines


def check_same(found, shown):
    """Words to the letter; fractions may differ in their last digit from processor to processor."""
    for line, line_shown in zip(compared(found), compared(shown), strict=True):
        for word, expected in zip(line, line_shown, strict=True):
            if re.fullmatch(r"\d+\.\d+", expected):
                assert float(word) == pytest.approx(float(expected), abs=0.03)
            else:
                assert word == expected


@pytest.mark.parametrize("block", OUTPUTS, ids=lambda block: block.commands()[0])
def test_the_outputs_shown_are_true(block, folder):
    results = [run(line) for line in block.commands()]
    assert results and not any(result.exit_code for result in results)
    check_same("".join(result.stdout for result in results), block.output)


CODE = [block for page in WRITTEN if page != README for block in blocks(page) if block.kind == "python"]


@pytest.mark.parametrize("block", CODE, ids=lambda block: block.output.splitlines()[0])
def test_the_python_code_prints_what_is_shown(block, folder):
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(block.body, "page", "exec"), {"__name__": "page"})
    check_same(printed.getvalue(), block.output)


def test_the_readme_s_python_runs_in_a_process_of_its_own(folder):
    [block] = [block for block in blocks(README) if block.kind == "python"]
    done = subprocess.run([sys.executable, "-c", block.body], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"demo/kingfisher.jpg\t{done.stdout}" in blocks(README)[0].output
    assert (folder / "maps.png").stat().st_size > 10_000
    assert done.stderr == ""


def test_the_first_block_is_the_two_lines_and_stands_on_the_first_screen():
    first = blocks(README)[0]
    assert (first.kind, first.body) == ("bash", "\n".join(TWO_LINES) + "\n")
    assert TWO_LINES[1] in TEXT.splitlines()[:40]
    assert first.commands() == [EXPLAIN] and first.output


def test_the_readme_s_photo_is_the_demo_s():
    photo = (ROOT / "demo/kingfisher.jpg").read_bytes()
    assert photo == (ROOT / "src/wordgaze/demo/kingfisher.jpg").read_bytes()


def test_the_scores_are_the_cards():
    assert len(scores().splitlines()) == 4
    assert scores() in (ROOT / "docs/bundled-model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [README, ROOT / "docs/bundled-model.md"], ids=name_of)
def test_how_often_captions_are_right_is_the_cards(page):
    card, text = CARD.read_text(encoding="utf-8"), " ".join(page.read_text(encoding="utf-8").split())
    right = re.search(r"- all: .*?, right (\d+% \(\d+ to \d+\));", card)[1]
    assert right in text
    photos = sum(int(row.split("|")[2]) for row in scores().splitlines()[2:])
    assert page != README or f"{photos:,} photos" in text


@pytest.mark.parametrize("page", [README, ROOT / "docs/bundled-model.md"], ids=name_of)
def test_the_model_s_size_is_its_size(page):
    text = " ".join(page.read_text(encoding="utf-8").split())
    [parameters] = re.findall(r"(\d+\.\d M) parameters", " ".join(CARD.read_text(encoding="utf-8").split()))
    megabytes = round(CARD.with_name("model.safetensors").stat().st_size / 1e6)
    assert f"{parameters} parameters in {megabytes} MB" in text


NAMED = [
    (page, " ".join(span.split()))
    for page in (*PAGES, ROOT / "CONTRIBUTING.md", CARD)
    for span in re.findall(r"`(wordgaze [a-z]+ [^`]*)`", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "span"), NAMED, ids=name_of)
def test_every_flag_named_in_prose_is_one_of_its_command(page, span):
    name = span.split()[1]
    assert name in COMMANDS
    known = {flag for option in main.get_command(None, name).params for flag in (*option.opts, *option.secondary_opts)}
    flags = re.findall(r"(?<=\s)--[\w-]+(?![\w.])", span)
    assert set(flags) <= known | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if path.startswith("https:"):
            continue
        file = page.parent / path if path else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in [re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings]
