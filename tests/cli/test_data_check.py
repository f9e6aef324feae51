"""`wordgaze data check` as a command: what it prints and writes, and its exit status."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.faulty_set import draw, faulty_set

from wordgaze.cli.data import SHOWN
from wordgaze.cli.main import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", "check", *map(str, arguments)])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty_set(tmp_path_factory.mktemp("faulty"))


def folder_of(folder: Path, captions: dict[str, str]) -> Path:
    folder.mkdir()
    for number, (name, caption) in enumerate(captions.items()):
        draw(folder / f"{name}.png", number)
        (folder / f"{name}.txt").write_text(caption)
    return folder


def test_all_is_written_and_told(faulty: Path, tmp_path: Path) -> None:
    page, values, clean = (tmp_path / name for name in ("page.html", "check.json", "clean.json"))
    result = run(faulty, "--html", page, "--json", values, "--fix", clean)
    assert result.exit_code == 1 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == f"{faulty}: 48 photos, 51 captions"
    assert "missing-photo: 1 missing photo, wrong; get them, or name their folder with --root" in lines
    assert f"  {faulty.parent}/photos/missing.jpg: no such file; check the path" in lines
    assert "12 wrong, 5 doubtful" in lines
    assert f"{clean} (coco): 44 photos, 44 captions" in lines and "  left out: 1 missing photo" in lines
    assert f"  its photos are in {faulty.parent}/photos: give this as root" in lines
    written = json.loads(values.read_text())
    assert (written["wrong"], written["doubtful"], len(written["findings"])) == (12, 5, 17)
    assert all(finding["file"] for finding in written["findings"])
    assert run(clean, "--root", faulty.parent / "photos").exit_code == 0
    assert page.read_text().count("<img ") == 20


def test_doubts_alone_are_no_failure_unless_strict(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", {"a": "a dog", "b": "word " * 60})
    assert run(folder).exit_code == 0
    assert run(folder, "--strict").exit_code == 1
    assert run(folder, "--strict", "--ignore", "long-caption").exit_code == 0


def test_a_sound_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", {"a": "a dog", "b": "a cat"})
    result = run(folder)
    assert result.exit_code == 0 and result.stdout == f"{folder}: 2 photos, 2 captions\nnothing is wrong\n"


def test_thousands_of_findings_are_a_few_lines(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(1100)]
    captions = [{"image_id": number, "caption": f"a dog of number {number}"} for number in range(1100)]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": captions}))
    lines = run(path).stdout.splitlines()
    assert len(lines) < 20 and f"  ... and {1100 - SHOWN:,} more (--all prints them)" in lines
    page = tmp_path / "page.html"
    assert len(run(path, "--all", "--html", page).stdout.splitlines()) > 1100
    assert page.stat().st_size < 400_000 and "and 100 more" in page.read_text()


def test_hostile_names_and_captions_stay_text(tmp_path: Path) -> None:
    name, caption = "<script>alert(1)</script>\x1b[2J\n@KINDS@", "<img src=x onerror=alert(1)> \x1b[2J"
    folder = tmp_path / "set"
    folder.mkdir()
    draw(folder / "a.png", 1)
    (folder / "a.png").rename(folder / f"{name.replace('/', '_')}.png")
    (folder / f"{name.replace('/', '_')}.txt").write_text(f"{caption}\n" + "\x1b]0;title\x07 a dog")
    result = run(folder, "--html", tmp_path / "page.html")
    assert result.exit_code == 1 and "\x1b" not in result.stdout
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "<img src=x" not in page and "&lt;script&gt;" in page and "\x1b" not in page
    assert "Content-Security-Policy" in page and "http" not in page.replace("http-equiv", "")


def test_a_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    draw(folder / "a.png", 1)
    (folder / "a.png").rename(folder / "b\udcff.png")
    result = run(folder, "--html", tmp_path / "page.html", "--json", tmp_path / "check.json")
    assert result.exit_code == 1
    assert "b\\udcff.png" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.json"], "none.json: no such file or folder"),
        ([""], "Invalid value for 'PATH': is empty"),
        ([".", "--ignore", "all"], "--ignore all: no such kind; use one of broken-file, "),
        ([".", "--against-root", "."], "--against-root applies to --against"),
        ([".", "--format", "xml"], "format is 'xml'; use auto or one of"),
        ([".", "--json", "a.txt"], "a.txt is an input"),
        ([".", "--html", "nowhere/page.html"], "There is no folder nowhere"),
        ([".", "--html", "page.json"], "--html is page.json; end it in .html or .htm"),
        ([".", "--fix", "clean.csv"], "--fix is clean.csv; end it in .json"),
        (["empty"], "empty holds no captioned photos"),
        ([".", "--split", "nope"], "there is no split 'nope'; its format has none: leave it out"),
    ],
)
def test_wrong_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    folder = folder_of(tmp_path / "set", {"a": "a dog"})
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder)
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.stderr


def test_nothing_is_written_where_nothing_is_left(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", {"a": ""})
    result = run(folder, "--fix", tmp_path / "clean.json")
    assert result.exit_code == 1 and not (tmp_path / "clean.json").exists()
    assert "is not written: no photo with a caption is left" in result.stderr


def test_photos_in_shards_get_no_copy_of_their_annotations(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", {"a": "a dog"})
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for file in folder.iterdir():
            archive.add(file, file.name)
    result = run(tmp_path / "set.tar", "--fix", tmp_path / "clean.json")
    assert result.exit_code == 2 and "--fix needs photos that are files" in result.stderr
    assert run(tmp_path / "set.tar").exit_code == 0
    result = run(tmp_path / "set.tar", "--json", tmp_path / "set.tar")
    assert result.exit_code == 2 and "is an input and would be overwritten" in result.stderr


def test_help_imports_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom wordgaze.cli.main import main\n"
        "try:\n    main(['data', 'check', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
