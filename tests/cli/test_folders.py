"""Folders as people have them: what is captioned, what is said of the rest, and the exit status."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.model_folder import draw_photo

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "
HIDDEN_HINT = " (--hidden takes what is hidden)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captioner: Captioner) -> Path:
    """The current folder, with one photo in it; every command gets the same small model."""
    monkeypatch.setattr(Captioner, "from_pretrained", lambda *_, **__: captioner)
    monkeypatch.chdir(tmp_path)
    draw_photo(tmp_path / "one.png", 1)
    return tmp_path


def run(command: str, *arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)], input=stdin)


def put(path: Path, data: bytes = b"whatever") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_photo(path, 2)


def mac_stick(folder: Path) -> None:
    put(folder / "._one.png", APPLE_DOUBLE)
    put(folder / ".DS_Store")
    put(folder / "__MACOSX" / "._one.png", APPLE_DOUBLE)
    photo(folder / ".Trashes" / "501" / "old.png")
    put(folder / ".Spotlight-V100" / "store.db")


def synology(folder: Path) -> None:
    photo(folder / "@eaDir" / "one.png" / "SYNOPHOTO_THUMB_M.jpg")
    photo(folder / "2019" / "two.png")
    photo(folder / "2019" / "@eaDir" / "two.png" / "SYNOPHOTO_THUMB_M.jpg")
    photo(folder / "#recycle" / "gone.png")
    photo(folder / "#snapshot" / "one.png")


def qnap(folder: Path) -> None:
    photo(folder / ".@__thumb" / "one.png")
    photo(folder / "@Recycle" / "gone.png")


def windows_disk(folder: Path) -> None:
    photo(folder / "$RECYCLE.BIN" / "S-1-5-21" / "$RABC.png")
    photo(folder / "$Recycle.Bin" / "S-1-5-22" / "$RABC.png")
    (folder / "System Volume Information").mkdir()
    put(folder / "Thumbs.db")
    put(folder / "desktop.ini")


def linux_disk(folder: Path) -> None:
    photo(folder / ".thumbnails" / "normal" / "one.png")
    photo(folder / ".Trash-1000" / "files" / "gone.png")
    (folder / "lost+found").mkdir()


def odd_names(folder: Path) -> None:
    for name in (
        "a\tb.png",
        "c\nd.png",
        "e\rf.png",
        "g\\nh.png",
        "-i.png",
        "j k.png",
        "ü😀.png",
        "UPPER.PNG",
    ):
        photo(folder / name)


def other_kinds(folder: Path) -> None:
    for name in (
        "a.dng",
        "b.DNG",
        "c.jxl",
        "d.svg",
        "e.tar.gz",
        "noext",
        "Mr. Smith at the lake",
        "one.png~",
    ):
        put(folder / name)


def many_kinds(folder: Path) -> None:
    for number in range(12):
        put(folder / f"file.x{number:02}")


def special(folder: Path) -> None:
    os.mkfifo(folder / "fifo.jpg")
    (folder / "null.jpg").symlink_to("/dev/null")
    photo(folder / "folder.jpg" / "inside.png")
    (folder / "loop").symlink_to(".")
    (folder / "link.png").symlink_to("one.png")


def links_to_nowhere(folder: Path) -> None:
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "self.jpg").symlink_to("self.jpg")


def nothing(folder: Path) -> None:
    pass


LEFT_OUT = "wordgaze: left out: "
CASES: list[tuple[Callable[[Path], None], list[str], list[str], list[str], int]] = [
    (nothing, [], ["one.png"], [], 0),
    (mac_stick, [], ["one.png"], [f"{LEFT_OUT}1 hidden photo, 3 hidden folders{HIDDEN_HINT}"], 0),
    (synology, [], ["2019/two.png", "one.png"], [f"{LEFT_OUT}4 hidden folders{HIDDEN_HINT}"], 0),
    (qnap, [], ["one.png"], [f"{LEFT_OUT}2 hidden folders{HIDDEN_HINT}"], 0),
    (windows_disk, [], ["one.png"], [f"{LEFT_OUT}1 .db, 1 .ini, 3 hidden folders{HIDDEN_HINT}"], 0),
    (linux_disk, [], ["one.png"], [f"{LEFT_OUT}3 hidden folders{HIDDEN_HINT}"], 0),
    (
        linux_disk,
        ["--hidden"],
        [".Trash-1000/files/gone.png", ".thumbnails/normal/one.png", "one.png"],
        [],
        0,
    ),
    (
        mac_stick,
        ["--hidden"],
        [".Trashes/501/old.png", "one.png"],
        [f"{LEFT_OUT}1 .db, 1 without a suffix"]
        + [f"wordgaze: {name}: is not a photo" for name in ("._one.png", "__MACOSX/._one.png")],
        1,
    ),
    (
        odd_names,
        [],
        [
            *(
                "-i.png",
                "UPPER.PNG",
                r"a\tb.png",
                r"c\nd.png",
                r"e\rf.png",
                r"g\\nh.png",
                "j k.png",
                "one.png",
            ),
            "ü😀.png",
        ],
        [],
        0,
    ),
    (
        other_kinds,
        [],
        ["one.png"],
        [f"{LEFT_OUT}2 .dng, 1 .gz, 1 .jxl, 1 .svg, 1 without a suffix, 2 of other kinds"],
        0,
    ),
    (
        many_kinds,
        [],
        ["one.png"],
        [LEFT_OUT + ", ".join(f"1 .x{number:02}" for number in range(8)) + ", 4 of other kinds"],
        0,
    ),
    (
        special,
        [],
        ["folder.jpg/inside.png", "link.png", "one.png"],
        [f"{LEFT_OUT}1 link to a folder, 2 pipes, sockets or devices"],
        0,
    ),
    (
        links_to_nowhere,
        [],
        ["one.png"],
        [
            "wordgaze: gone.jpg: is a link that leads nowhere",
            "wordgaze: self.jpg: can't be opened",
        ],
        1,
    ),
    (
        synology,
        ["--exclude", "20*/", "--hidden"],
        ["#recycle/gone.png", "#snapshot/one.png", "@eaDir/one.png/SYNOPHOTO_THUMB_M.jpg", "one.png"],
        [f"{LEFT_OUT}1 excluded folder"],
        0,
    ),
    (
        synology,
        ["--exclude", "one.*"],
        ["2019/two.png"],
        [f"{LEFT_OUT}4 hidden folders, 1 excluded photo"],
        0,
    ),
]


@pytest.mark.parametrize(("build", "flags", "captioned", "told", "status"), CASES)
def test_a_folder(
    folder: Path,
    build: Callable[[Path], None],
    flags: list[str],
    captioned: list[str],
    told: list[str],
    status: int,
) -> None:
    build(folder)
    result = run("caption", ".", *flags)
    lines = result.stdout.removesuffix("\n").split("\n")
    assert all(line.count("\t") == 1 for line in lines)
    assert [line.split("\t")[0] for line in lines] == captioned
    found = result.stderr.splitlines()
    assert len(found) == len(told), result.stderr
    for line, expected in zip(found, told, strict=True):
        assert line.startswith(expected)
    assert result.exit_code == status


def test_explain_takes_the_same_photos(folder: Path) -> None:
    mac_stick(folder)
    odd_names(folder)
    captioned, explained = run("caption", "."), run("explain", ".", "-o", "maps")
    names = [line.split("\t")[0] for line in captioned.stdout.splitlines()]
    assert [line.split("\t")[0] for line in explained.stdout.split("\n") if "\t" in line] == names
    assert explained.stderr == captioned.stderr and (captioned.exit_code, explained.exit_code) == (0, 0)
    assert len(list((folder / "maps").iterdir())) == len(names)


@pytest.mark.parametrize(
    ("paths", "captioned"),
    [
        ([".thumbnails"], [".thumbnails/normal/one.png"]),
        ([".Trash-1000/files", "lost+found"], [".Trash-1000/files/gone.png", "lost+found/inode.png"]),
        ([".hidden.png", "."], [".hidden.png", "one.png"]),
    ],
)
def test_what_is_named_is_taken(folder: Path, paths: list[str], captioned: list[str]) -> None:
    linux_disk(folder)
    photo(folder / "lost+found" / "inode.png")
    photo(folder / ".hidden.png")
    result = run("caption", *paths)
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == captioned


def test_json_has_names_as_they_are(folder: Path) -> None:
    odd_names(folder)
    (folder / "bad\nphoto.png").write_bytes(b"no photo")
    result = run("caption", ".", "--json")
    names = {json.loads(line)["file"] for line in result.stdout.splitlines()}
    assert names == {path.name for path in folder.iterdir()}
    assert result.stderr == "" and result.exit_code == 1
    assert run("caption", ".").stderr.startswith(r"wordgaze: bad\nphoto.png: is not a photo")


def test_a_folder_of_other_files_is_a_wrong_command(folder: Path) -> None:
    other = folder / "raw\nfiles"
    for name in ("a.dng", "b.dng", ".c.jpg"):
        put(other / name)
    result = run("caption", other)
    assert result.exit_code == 2 and result.stdout == ""
    named = str(other).replace("\n", r"\n")
    assert result.stderr == (
        f"wordgaze: There are no photos in {named} (left out: 2 .dng, 1 hidden photo); "
        "name photos, or a folder that holds some, or include hidden ones (--hidden).\n"
    )


def test_folders_that_hold_nothing_but_companions_are_no_failure(folder: Path) -> None:
    """``wordgaze caption stick/*`` names them."""
    put(folder / "a" / "._one.png", APPLE_DOUBLE)
    photo(folder / "b" / "c" / "two.png")
    assert run("caption", "a", "one.png").exit_code == 0
    assert run("caption", "b", "one.png", "--exclude", "c").exit_code == 0
    (folder / "empty").mkdir()
    result = run("caption", "empty", "one.png")
    assert result.exit_code == 1 and result.stderr.startswith("wordgaze: empty: is a folder without photos")


def test_a_photo_that_breaks_while_it_is_read_stops_nothing(folder: Path) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs a file that fails when it is read")
    photo(folder / "one.png")
    result = run("caption", "/proc/self/mem", "one.png")
    assert result.exit_code == 1 and result.stdout.startswith("one.png\t")
    assert result.stderr.startswith("wordgaze: /proc/self/mem: can't be read (Input/output error)")


# --- Not a folder ----------------------------------------------------------------------------------------------


def test_a_photo_on_stdin(folder: Path) -> None:
    data = (folder / "one.png").read_bytes()
    expected = run("caption", "one.png").stdout.replace("one.png", "-")
    result = run("caption", "-", stdin=data)
    assert (result.stdout, result.stderr, result.exit_code) == (expected, "", 0)
    assert json.loads(run("caption", "-", "--json", stdin=data).stdout)["file"] == "-"
    both = run("caption", "one.png", "-", stdin=b"")
    assert both.exit_code == 1 and both.stderr.startswith("wordgaze: -: is empty (0 bytes)")


@pytest.mark.parametrize(("out", "written"), [("maps.html", "maps.html"), ("maps", "maps/stdin.png")])
def test_stdin_explained(folder: Path, out: str, written: str) -> None:
    result = run("explain", "-", "-o", out, stdin=(folder / "one.png").read_bytes())
    assert result.stdout.startswith("-\t") and result.exit_code == 0, result.stderr
    assert (folder / written).is_file()


@pytest.mark.parametrize(
    "arguments", [["-", "-"], ["-", "--files-from", "-"], ["--files-from", "-", "--files-from", "-"]]
)
@pytest.mark.parametrize("command", [["caption"], ["explain", "-o", "maps"]])
def test_stdin_is_read_once(folder: Path, command: list[str], arguments: list[str]) -> None:
    result = run(*command, *arguments, stdin=b"one.png\n")
    assert result.exit_code == 2 and "stdin can be read only once" in result.stderr and result.stdout == ""


def test_a_file_of_that_name_is_no_stdin(folder: Path) -> None:
    (folder / "one.png").rename("-")
    (folder / "list").write_text("-\n")
    for arguments in (["./-"], ["--files-from", "list"]):
        result = run("caption", *arguments, stdin=b"no photo")
        assert result.stdout.startswith("-\t") and result.exit_code == 0


def test_addresses_are_not_fetched(folder: Path) -> None:
    address = "https://example.com/cat.jpg"
    result = run("caption", address, "one.png")
    assert result.stderr.startswith(f"wordgaze: {address}: is an address, and addresses are not fetched; download")
    assert result.stdout.startswith("one.png\t") and result.exit_code == 1
    assert json.loads(run("caption", address, "--json").stdout)["file"] == address
    result = run("explain", address, "one.png", "-o", "maps.json")
    assert result.stderr.startswith(f"wordgaze: {address}: is an address") and result.exit_code == 1
    assert [value["file"] for value in json.loads((folder / "maps.json").read_text())] == [address, "one.png"]


@pytest.mark.parametrize("stdin", [b"sub\none.png\n", b"sub\0one.png\0", b"sub\r\n\r\none.png"])
def test_a_list_of_files(folder: Path, stdin: bytes) -> None:
    photo(folder / "sub" / "two.png")
    expected = run("caption", "one.png", "sub", "one.png")
    assert run("caption", "one.png", "--files-from", "-", stdin=stdin).stdout == expected.stdout
    put(folder / "list", stdin)
    result = run("explain", "--files-from", "list", "-o", "maps", "--exclude", "two.*")
    assert [line.split("\t")[0] for line in result.stdout.splitlines() if "\t" in line] == ["one.png"]


def test_a_pipe_without_a_writer_stops_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordgaze.data.streams.WRITER_TIMEOUT", 0.05)
    os.mkfifo(folder / "fifo.png")
    result = run("caption", "fifo.png", "one.png")
    assert result.stderr.startswith("wordgaze: fifo.png: is a pipe that nothing is written to")
    assert result.stdout.startswith("one.png\t") and result.exit_code == 1


# --- Warnings --------------------------------------------------------------------------------------------------


@pytest.fixture
def cut(folder: Path) -> str:
    """A photo that lacks its last bytes."""
    Image.effect_noise((200, 200), 90).convert("RGB").save(folder / "whole.jpg")
    (folder / "cut\tshort.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-40])
    (folder / "whole.jpg").unlink()
    return r"cut\tshort.jpg"


def test_a_warning_names_the_photo_and_fails_nothing(folder: Path, cut: str) -> None:
    result = run("caption", ".")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [cut, "one.png"]
    [line] = result.stderr.splitlines()
    assert line.startswith(f"wordgaze: {cut}: ") and result.exit_code == 0
    values = [json.loads(line) for line in run("caption", ".", "--json").stdout.splitlines()]
    assert values[0]["warnings"] == [line.removeprefix(f"wordgaze: {cut}: ")] and "warnings" not in values[1]
    explained = run("explain", ".", "-o", "maps.json")
    assert explained.stderr == result.stderr and explained.exit_code == 0
    values = json.loads((folder / "maps.json").read_text())
    assert len(values[0]["warnings"]) == 1 and "warnings" not in values[1]


def test_strict_refuses(folder: Path, cut: str) -> None:
    for command in (["caption"], ["explain", "-o", "maps"]):
        result = run(*command, ".", "--strict")
        assert result.stderr.startswith(f"wordgaze: {cut}: ") and result.exit_code == 1
        assert [line.split("\t")[0] for line in result.stdout.splitlines() if "\t" in line] == ["one.png"]
