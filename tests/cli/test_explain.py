"""``wordgaze explain``: the table it prints and what it writes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import wordgaze
from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.explanation.overlay import position_in_words


def explain(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["explain", *map(str, arguments)])


def test_caption_table_and_picture(model: list[str], model_folder: Path, photos: list[Path], tmp_path: Path) -> None:
    result = explain(photos[0], "-o", tmp_path / "maps.png", *model)
    explanation = Captioner.from_pretrained(model_folder, "cpu").explain(photos[0])
    first, head, *rows = result.stdout.splitlines()
    assert first == f"{photos[0]}\t{explanation.caption}"
    assert head.split() == ["word", "probability", "entropy", "peak"]
    assert len(rows) == len(explanation.words) > 1
    for row, word in zip(rows, explanation.words, strict=True):
        x, y = word.peak
        peak, place = f"{x}, {y}", position_in_words(word.peak, (120, 90))
        if not word.grounded:
            peak, place = f"({peak})", f"({place})"
        assert " ".join(row.split()) == f"{word.text} {word.probability:.3f} {word.entropy:.2f} {peak} {place}"
    assert result.stderr == "" and result.exit_code == 0
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.size == explanation.grid().size


def test_words_of_ones_own_and_a_method(model: list[str], photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "maps.json"
    result = explain(photos[0], "-o", out, "--text", "a [red] dog", "--method", "layer-0", *model)
    assert result.exit_code == 0, result.stderr
    values = json.loads(out.read_text())
    assert (values["caption"], values["method"]) == ("a red dog", "layer-0")
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["a", "red", "dog"]


def test_words_without_grounding_are_marked(model: list[str], photos: list[Path], tmp_path: Path) -> None:
    result = explain(photos[0], "-o", tmp_path / "maps.json", "--text", "a dog on the grass", *model)
    words = json.loads((tmp_path / "maps.json").read_text())["words"]
    assert [word["grounded"] for word in words if word["word"] in ("a", "on", "the")] == [False] * 3
    rows = result.stdout.splitlines()[2:]
    assert ["(" in row for row in rows] == [not word["grounded"] for word in words]


def test_raw_rows(model: list[str], model_folder: Path, photos: list[Path], tmp_path: Path) -> None:
    explain(
        photos[0],
        "-o",
        tmp_path / "maps.json",
        "--text",
        "a dog",
        "--method",
        "layer-0-head-1",
        "--raw",
        *model,
    )
    values = json.loads((tmp_path / "maps.json").read_text())
    assert values["raw"] is True and values["method"] == "layer-0-head-1"
    captioner = Captioner.from_pretrained(model_folder, "cpu")
    raw, processed = (
        captioner.explain(photos[0], "a dog", "layer-0-head-1", raw=raw).words[1].map for raw in (True, False)
    )
    np.testing.assert_allclose(values["words"][1]["map"], raw, rtol=1e-5)
    assert not np.allclose(raw, processed)


def test_the_rest_is_done_when_some_fail(model: list[str], mixed: Path, tmp_path: Path) -> None:
    result = explain(mixed, mixed / "nothere.png", "-o", tmp_path / "maps", *model)
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [f"{name}.png" for name in "bcdefg"]
    left_out, *failed = result.stderr.splitlines()
    assert left_out == "wordgaze: left out: 1 .txt"
    assert [line.split(": ")[1] for line in failed] == [str(mixed / n) for n in ("a.jpg", "d2.png", "nothere.png")]
    assert failed[2] == f"wordgaze: {mixed / 'nothere.png'}: no such file; check the path"
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("out", "flags", "message"),
    [
        ("maps.pdf", [], "maps.pdf: the name does not tell the format"),
        ("nowhere/maps.png", [], "no folder"),
        ("maps.png", ["--method", "median"], "no method 'median'"),
        (
            "maps.png",
            ["--text", "a dog", "--num-beams", "2", "--seed", "1"],
            "leave out --num-beams, --seed.",
        ),
        ("maps.png", ["--text", "a dog", "--no-sample"], "there is no search; leave out --sample."),
        ("maps.png", ["--batch-size", "2"], "No such option"),
        ("maps.png", ["--text", "..."], "holds no words"),
        ("maps.png", ["--model", "./nothere"], "does not exist"),
    ],
)
def test_a_wrong_command_ends_with_2_and_writes_nothing(
    model: list[str], photos: list[Path], tmp_path: Path, out: str, flags: list[str], message: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = explain(photos[0], "-o", tmp_path / out, *model, *flags)
    assert result.exit_code == 2 and result.stdout == ""
    assert message in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_wrong_command_is_said_before_any_photo_fails(model: list[str], mixed: Path, tmp_path: Path) -> None:
    result = explain(mixed / "a.jpg", mixed / "b.png", "-o", tmp_path / "maps", "--method", "median", *model)
    assert result.exit_code == 2 and result.stderr.startswith("wordgaze: There is no method 'median'")


def test_an_unknown_suffix_is_refused_before_a_model_is_looked_for(photos: list[Path], tmp_path: Path) -> None:
    result = explain(photos[0], "-o", tmp_path / "maps.doc", "--model", "./nothere")
    assert "maps.doc" in result.stderr and "nothere" not in result.stderr


def test_no_output_and_no_photos(model: list[str], photos: list[Path], tmp_path: Path) -> None:
    assert explain(photos[0], *model).exit_code == 2
    (tmp_path / "empty").mkdir()
    result = explain(tmp_path / "empty", "-o", tmp_path / "maps.png", *model)
    assert result.exit_code == 2 and "no photos in" in result.stderr


# --- Outputs and inputs ----------------------------------------------------------------------------------------


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OVER_INPUTS = [
    ["photos", "-o", "photos"],
    ["photos", "-o", "photos/../photos/"],
    ["photos", "-o", "linked"],
    ["photos/b.png", "-o", "photos/b.png"],
    ["photos/b.png", "-o", "photos"],
    ["photos/b.png", "-o", "link.png"],
    ["photos/b.png", "-o", "hard.png"],
    ["link.png", "-o", "photos/b.png"],
    ["linked/b.png", "-o", "photos/b.png"],
    ["photos/b.png", "photos/c.png", "-o", "linked"],
    ["photos/b.png", "photos/page.html", "-o", "photos/page.html"],
    ["photos", "--exclude", "b.*", "--exclude", "c.*", "jpegs/b.jpg", "-o", "photos"],
    ["jpegs/b.jpg", "photos", "--exclude", "*.png", "-o", "photos"],
    ["--files-from", "list.json", "-o", "list.json"],
    ["--files-from", "list.json", "-o", "photos"],
    ["photos/b.png", "--model", "model", "-o", "model/config.json"],
    ["photos/b.png", "--model", "linked-model", "-o", "model/tokenizer.json"],
]


@pytest.mark.parametrize("arguments", OVER_INPUTS)
def test_no_output_is_an_input(
    model_folder: Path,
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "page.html").write_text("no photo")
    (tmp_path / "jpegs").mkdir()
    with Image.open(photos[0]) as image:
        image.save(tmp_path / "jpegs" / "b.jpg")
    (tmp_path / "linked").symlink_to("photos")
    (tmp_path / "link.png").symlink_to("photos/b.png")
    (tmp_path / "hard.png").hardlink_to("photos/b.png")
    (tmp_path / "list.json").write_text("photos/b.png\nphotos/c.png\n")
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "linked-model").symlink_to("model")
    before = files_in(tmp_path)
    result = explain(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert "is an input" in result.stderr and len(result.stderr.splitlines()) == 1
    assert files_in(tmp_path) == before


def test_what_else_lies_in_a_model_s_folder_is_no_input(model_folder: Path, photos: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    for _ in range(2):  # the second time over the first's
        result = explain(photos[0], "--model", folder, "--device", "cpu", "-o", folder / "maps.json")
        assert result.exit_code == 0, result.stderr


def test_the_bundled_model_is_an_input(photos: list[Path]) -> None:
    config = Path(wordgaze.__file__).parent / "bundled" / "config.json"
    before = config.read_bytes()
    result = explain(photos[0], "-o", config)
    assert result.exit_code == 2 and "is an input" in result.stderr and config.read_bytes() == before


def test_stdin_from_a_file_is_an_input(photos: list[Path]) -> None:
    """``wordgaze explain - -o cat.png < cat.png``."""
    with photos[0].open("rb") as file:
        stdin = os.dup(0)
        try:
            os.dup2(file.fileno(), 0)
            result = explain("-", "-o", photos[0])
            listed = explain("--files-from", "-", photos[1], "-o", photos[0])
        finally:
            os.dup2(stdin, 0)
            os.close(stdin)
    for done in (result, listed):
        assert done.exit_code == 2
    assert "is the same file as /dev/stdin, which is an input" in result.stderr


def test_beside_the_photos_is_free(model: list[str], photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos[0].parent)
    for photo in photos[1:]:
        photo.unlink()
    for _ in range(2):  # the second time over the first's
        assert explain(".", "-o", "page.html", *model).exit_code == 0
        assert explain("b.png", "-o", "maps.png", *model).exit_code == 0
        assert explain(".", "--exclude", "maps*", "-o", "maps", *model).exit_code == 0
    again = explain(".", "-o", "maps", *model)
    assert again.exit_code == 2 and "maps/b.png is an input and would be overwritten" in again.stderr


def test_maps_among_photos_take_no_photo_s_place(model: list[str], photos: list[Path]) -> None:
    """cat.png may be another photo than cat.jpg, whose map is cat.png."""
    folder = photos[0].parent
    photo, other = folder / "b.jpg", photos[0]
    Image.open(other).save(photo)
    before = other.read_bytes()
    result = explain(photo, "-o", folder, *model)
    assert result.exit_code == 2 and other.read_bytes() == before
    assert "b.png is there already, beside the photos to explain, and is no map of wordgaze's" in result.stderr
    other.unlink()
    for _ in range(2):  # the second time over the first's
        assert explain(photo, "-o", folder, *model).exit_code == 0


@pytest.mark.parametrize(("out", "like"), [("-", "maps.png"), (".png", "maps.png"), (".html", "maps.html")])
def test_a_suffix_or_a_dash_is_no_name(photos: list[Path], out: str, like: str) -> None:
    result = explain(photos[0], "-o", out)
    assert (result.exit_code, result.stderr) == (
        2,
        f"wordgaze: The output is {out}; give it a name, like {like}.\n",
    )


def test_a_map_that_can_not_be_written_ends_the_command(
    model: list[str], photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = explain(*photos[:2], "-o", tmp_path / "maps", *model)
    assert result.exit_code == 2 and "No space left on device" in result.stderr
    assert list((tmp_path / "maps").iterdir()) == []
