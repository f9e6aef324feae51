"""Where explanations go, and that none is lost or written over."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.model_folder import draw_photo

from wordgaze.captioner import Captioner
from wordgaze.errors import ConfigError
from wordgaze.tasks.explain_files import explain_files, plan_output


def run(captioner: Captioner, files: list[Path], out: Path, text: str | None = "a red dog") -> list[str | None]:
    return [result.error for result in explain_files(captioner, files, plan_output(out, files), text)]


def test_one_photo_is_one_file(captioner: Captioner, photos: list[Path], tmp_path: Path) -> None:
    for suffix in (".png", ".html", ".json", ".npz"):
        assert run(captioner, photos[:1], tmp_path / f"maps{suffix}") == [None]
        assert (tmp_path / f"maps{suffix}").is_file()
    values = json.loads((tmp_path / "maps.json").read_text())
    assert values["file"] == str(photos[0]) and values["caption"] == "a red dog"


@pytest.mark.parametrize(("out", "suffix"), [("maps", ".png"), ("maps.png", ".png"), ("maps.npz", ".npz")])
def test_several_photos_are_a_folder(
    captioner: Captioner, photos: list[Path], tmp_path: Path, out: str, suffix: str
) -> None:
    run(captioner, photos, tmp_path / out)
    assert sorted(path.name for path in (tmp_path / out).iterdir()) == [f"{name}{suffix}" for name in "bcdefg"]


def test_photos_of_the_same_name_do_not_collide(captioner: Captioner, tmp_path: Path) -> None:
    files = []
    for number, name in enumerate(["cat.png", "cat.bmp", "more/cat.png", "more/CAT.bmp", "more/cat-2.png"]):
        (tmp_path / "more").mkdir(exist_ok=True)
        files.append(draw_photo(tmp_path / name, number))
    output = plan_output(tmp_path / "out", files)
    assert output.names == ("cat.png", "cat-2.png", "cat-3.png", "CAT-4.png", "cat-2-2.png")
    run(captioner, files, tmp_path / "out.npz")
    maps = [np.load(tmp_path / "out.npz" / name.replace("png", "npz"))["maps"] for name in output.names]
    for file, found in zip(files, maps, strict=True):
        words = captioner.explain(file, "a red dog").words
        assert np.allclose(found, [word.map for word in words])


def test_several_photos_in_one_json_with_the_failures(captioner: Captioner, mixed: Path, tmp_path: Path) -> None:
    files = [mixed / name for name in ("b.png", "d2.png", "c.png")]
    errors = run(captioner, files, tmp_path / "maps.json", text=None)
    values = json.loads((tmp_path / "maps.json").read_text(encoding="utf-8"))
    assert [value["file"] for value in values] == list(map(str, files))
    assert values[1] == {"file": str(files[1]), "error": errors[1]}
    assert values[2]["caption"] == captioner.caption(files[2]).text


def test_several_photos_in_one_page(captioner: Captioner, mixed: Path, tmp_path: Path) -> None:
    run(captioner, [mixed / name for name in ("b.png", "d2.png", "c.png")], tmp_path / "maps.html")
    page = (tmp_path / "maps.html").read_text(encoding="utf-8")
    assert len(re.findall("<article>", page)) == 2 and page.index("b.png") < page.index("c.png")


def test_all_have_failed(captioner: Captioner, mixed: Path, tmp_path: Path) -> None:
    for suffix in (".png", ".html", ".npz"):
        assert None not in run(captioner, [mixed / "a.jpg"], tmp_path / f"maps{suffix}")
        assert not (tmp_path / f"maps{suffix}").exists()


def test_an_existing_folder_takes_even_one_photo(captioner: Captioner, photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run(captioner, photos[:1], tmp_path / "out")
    with Image.open(tmp_path / "out" / "b.png") as picture:
        assert picture.size != (120, 90)  # the grid, not the photo


def test_an_output_that_can_not_be_is_refused(tmp_path: Path) -> None:
    one, two = [Path("a.jpg")], [Path("a.jpg"), Path("b.jpg")]
    (tmp_path / "file.png").touch()
    (tmp_path / "page.html").mkdir()
    (tmp_path / "nowhere-link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "nowhere-link.png").symlink_to(tmp_path / "nowhere" / "maps.png")
    for out, files, message in [
        ("file.png/sub", one, r"file\.png is not a folder, so nothing can be written there"),
        ("file.png/", one, r"is a file, and 1 photo needs a folder"),
        ("nowhere-link", one, r"is a link that leads nowhere"),
        ("nowhere-link/sub", one, r"is a link that leads nowhere"),
        ("nowhere-link.png", one, r"There is no folder .*nowhere"),
        ("maps.pdf", one, r"maps\.pdf: the name does not tell"),
        ("maps.jpg", two, r"maps\.jpg: the name does not tell"),
        ("file.png", two, r"is a file, and 2 photos need a folder"),
        ("page.html", one, r"is a folder, and a \.html file"),
        ("nowhere/maps.png", one, r"no folder .*nowhere"),
    ]:
        with pytest.raises(ConfigError, match=message):
            plan_output(f"{tmp_path}/{out}", files)
    with pytest.raises(ConfigError, match="output's name is empty"):
        plan_output("", one)


def test_an_output_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.png").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # as it is for all but root
    for out, message in [
        ("file.png", r"file\.png is not writable"),
        ("new.png", "is not writable"),
        ("new", "is not writable"),
        ("new/deep", "is not writable"),
    ]:
        with pytest.raises(ConfigError, match=message):
            plan_output(tmp_path / out, [Path("a.jpg")])


def test_folders_are_made(captioner: Captioner, photos: list[Path], tmp_path: Path) -> None:
    assert plan_output(tmp_path / "a", photos[:1]).names == ("b.png",)
    run(captioner, photos[:1], tmp_path / "new" / "deep")
    assert (tmp_path / "new" / "deep" / "b.png").is_file()
    assert plan_output(f"{tmp_path}/maps.npz/", photos[:1]).names == ("b.npz",)


def test_names_of_many_photos(tmp_path: Path) -> None:
    """A folder for each photo, with an ``image.jpg``: looking for each name from the first would take minutes."""
    names = plan_output(tmp_path / "out", [Path(str(n), "image.jpg") for n in range(20_000)]).names
    assert names is not None and names[-1] == "image-20000.png" and len(set(names)) == 20_000


def test_names_that_some_disks_take_for_one(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9.jpg", "cafe\u0301.jpg"
    assert plan_output(tmp_path, [Path(composed), Path(decomposed), Path("CAFÉ.jpg")]).names == (
        "caf\u00e9.png",
        "cafe\u0301-2.png",
        "CAFÉ-3.png",
    )


def test_stdin_has_a_name(tmp_path: Path) -> None:
    assert plan_output(tmp_path, ["-", Path("-"), Path("stdin.jpg")]).names == (
        "stdin.png",
        "-.png",
        "stdin-2.png",
    )
