"""What a command writes: never over what it reads, and whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from wordgaze.errors import ConfigError
from wordgaze.files import (
    check_output_folder,
    check_outputs,
    lock_file,
    one_line,
    remove_leftovers,
    write_text,
    write_whole,
)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    file = tmp_path / "photos" / "cat.png"
    file.write_bytes(b"cat")
    return file


def symlink(photo: Path) -> Path:
    link = photo.parent.parent / "link.png"
    link.symlink_to(photo)
    return link


def hard_link(photo: Path) -> Path:
    link = photo.parent.parent / "hard.png"
    os.link(photo, link)
    return link


def through_parent(photo: Path) -> Path:
    return photo.parent / ".." / "photos" / "cat.png"


def through_linked_folder(photo: Path) -> Path:
    link = photo.parent.parent / "linked"
    link.symlink_to(photo.parent)
    return link / "cat.png"


@pytest.mark.parametrize("spell", [Path, symlink, hard_link, through_parent, through_linked_folder])
@pytest.mark.parametrize("given", [lambda photo: photo, lambda photo: photo.parent])
def test_an_output_that_is_an_input_is_refused(photo: Path, spell, given) -> None:
    with pytest.raises(ConfigError, match=r"is an input.* and would be overwritten; choose another output"):
        check_outputs([spell(photo)], [given(photo)])


def test_other_files_of_an_input_folder_may_be_written(photo: Path) -> None:
    check_outputs([photo.parent / "maps.html", photo.parent.parent / "cat.png"], [photo.parent])


def test_an_input_that_is_not_there_yet_counts_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is an input"):
        check_outputs([tmp_path / "a.json"], [tmp_path / "." / "a.json"])


def test_two_outputs_are_two_files(photo: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same file"):
        check_outputs([photo, symlink(photo)])
    with pytest.raises(ConfigError, match="same file"):
        check_outputs([tmp_path / "new.json", tmp_path / "photos" / ".." / "new.json"])
    check_outputs(["/dev/null", "/dev/null"], ["/dev/null"])


def test_an_output_needs_a_folder_and_is_none(photo: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        check_outputs([photo.parent])
    with pytest.raises(ConfigError, match="There is no folder"):
        check_outputs([photo.parent / "nowhere" / "a.json"])


def test_a_failed_write_leaves_what_was_there_and_nothing_else(photo: Path) -> None:
    def fail(file) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(photo, fail)
    assert photo.read_bytes() == b"cat" and list(photo.parent.iterdir()) == [photo]


def test_a_link_stays_a_link_and_a_mode_stays(photo: Path) -> None:
    photo.chmod(0o640)
    link = symlink(photo)
    write_text(link, "dög")
    assert link.is_symlink() and photo.read_text(encoding="utf-8") == "dög"
    assert stat.S_IMODE(photo.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    write_text(tmp_path / "new.txt", "a")
    (tmp_path / "usual.txt").write_text("a")
    assert (tmp_path / "new.txt").stat().st_mode == (tmp_path / "usual.txt").stat().st_mode


def test_what_is_no_regular_file_is_written_as_it_is() -> None:
    write_text("/dev/null", "away")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a b.jpg", "a b.jpg"), ("a\tb\nc\rd", r"a\tb\nc\rd"), ("a\\nb", r"a\\nb"), ("ü\x1b\x85", r"ü\x1b\x85")],
)
def test_a_name_on_one_line_can_be_read_back(name: str, text: str) -> None:
    assert one_line(name) == text == one_line(Path(name))
    assert text.encode("latin-1").decode("unicode_escape") == name


def test_names_in_sentences_break_no_line(tmp_path: Path) -> None:
    file = tmp_path / "a\nb.json"
    file.touch()
    for outputs, inputs in [
        ([file], [file]),
        ([file, file.with_name("a\nb.json"), tmp_path / "c\nd" / "e"], []),
    ]:
        with pytest.raises(ConfigError) as caught:
            check_outputs(outputs, inputs)
        assert "\n" not in str(caught.value)


def test_a_folder_to_be_made(photo: Path, tmp_path: Path) -> None:
    check_output_folder(tmp_path / "new" / "deep")
    check_output_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"cat\.png is not a folder, so nothing can be written there"):
        check_output_folder(photo / "new")


def test_an_output_that_may_not_be_written(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # as it is for all but root
    with pytest.raises(ConfigError, match="is not writable"):
        check_outputs([photo])
    with pytest.raises(ConfigError, match="is not writable"):
        check_outputs([photo.parent / "new.json"])
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) == photo)  # a file of ours in another's folder
    with pytest.raises(ConfigError, match="is not writable"):
        check_outputs([photo])


def test_a_link_to_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "maps.json").symlink_to("nowhere/maps.json")
    with pytest.raises(ConfigError, match=r"There is no folder .*nowhere for maps\.json"):
        check_outputs([tmp_path / "maps.json"])


def test_an_error_names_the_file_that_was_meant(photo: Path) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(photo, fail)
    assert caught.value.filename == str(photo)
    with pytest.raises(FileNotFoundError) as caught:
        write_text(photo.parent / "nowhere" / "a.json", "a")
    assert caught.value.filename == str(photo.parent / "nowhere" / "a.json")


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
def test_a_process_that_is_killed_leaves_what_was_there_and_nothing_else(photo: Path) -> None:
    def die(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    process = os.fork()
    if process == 0:
        write_whole(photo, die)
    os.waitpid(process, 0)
    assert photo.read_bytes() == b"cat" and list(photo.parent.iterdir()) == [photo]


def test_where_files_need_a_name(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    write_text(photo, "dog")
    assert photo.read_text() == "dog" and list(photo.parent.iterdir()) == [photo]


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="needs /dev/fd")
@pytest.mark.parametrize("spelling", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_an_open_file_is_written_from_where_it_stands(photo: Path, tmp_path: Path, spelling: str) -> None:
    with photo.open("ab") as file:
        path = spelling.format(file.fileno())
        if path == "link":
            path = str(tmp_path / "link")
            os.symlink(f"/dev/fd/{file.fileno()}", path)
        if not os.path.exists(path):
            pytest.skip(f"needs {spelling}")
        write_text(path, " and dog")
        file.write(b"s")
    assert photo.read_bytes() == b"cat and dogs"


@pytest.mark.skipif(os.name == "nt", reason="open files can't be removed there")
def test_what_a_killed_process_left_is_removed_and_what_is_being_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On file systems without unnamed files, a process that is killed leaves its temporary file."""
    monkeypatch.setattr("wordgaze.files._write_unnamed", lambda *_: None)
    left = tmp_path / ".wordgaze-abc.tmp"
    left.write_text("half")
    (tmp_path / ".wordgaze-folder.tmp").mkdir()
    (tmp_path / ".wordgaze-link.tmp").symlink_to("kept.txt")
    (tmp_path / "kept.txt").write_text("kept")

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        remove_leftovers([tmp_path, tmp_path / "nowhere"])

    write_whole(tmp_path / "new.txt", write)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(".wordgaze-folder.tmp", ".wordgaze-link.tmp", "kept.txt", "new.txt")
    ]
    assert (tmp_path / "new.txt").read_bytes() == b"new" and (tmp_path / "kept.txt").read_text() == "kept"


def test_a_lock_is_for_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as first, path.open("wb") as second:
        assert lock_file(first.fileno()) and lock_file(first.fileno()) and not lock_file(second.fileno())
        first.close()
        assert lock_file(second.fileno())
