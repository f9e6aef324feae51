"""No hostile photo takes more than a gibibyte, nor do many together, measured in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.hostile import medium
from tests.hostile.contents import SIDE, zeros_png
from tests.hostile.kind import Kind
from tests.hostile.table import KINDS
from tests.hostile.test_photos import made

from scripts import ROOT
from wordgaze.data.memory import MOST_BYTES, MemoryGate, Reservation
from wordgaze.errors import PhotoError

ALL = [kind for kinds in KINDS.values() for kind in kinds if not kind.for_root]


def measure(*arguments: str) -> Any:
    """Return what tests/hostile/measure.py prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.hostile.measure", *arguments]
    run = subprocess.run(command, capture_output=True, timeout=300, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


resets_peaks = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peaks are reset in /proc")


@resets_peaks
@pytest.mark.parametrize("is_large", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_kind_takes_more_than_a_gibibyte(is_large: bool, tmp_path: Path) -> None:
    files: dict[str, Kind] = {}
    for number, kind in enumerate(kind for kind in ALL if kind.is_large == is_large):
        (tmp_path / f"{number}").mkdir()
        files[str(made(kind, tmp_path / f"{number}"))] = kind
    taken = {files[file].what: taken for file, (taken, _) in measure(*files).items()}
    assert len(taken) == len(files)
    assert {what: size for what, size in taken.items() if size > (MOST_BYTES if is_large else 300e6)} == {}


@resets_peaks
@pytest.mark.slow
def test_decoding_takes_no_more_than_is_kept_for_it(tmp_path: Path) -> None:
    for name, data in medium.photos().items():
        (tmp_path / name).write_bytes(data)
    measured = measure(*map(str, sorted(tmp_path.iterdir())))
    others = 24e6  # what Python itself and the decoders' libraries take when they are first used
    over = {Path(file).name: (taken, kept) for file, (taken, kept) in measured.items() if taken > kept + others}
    assert over == {} and len(measured) >= 30
    assert all(kept > 20e6 for _, kept in measured.values())


@resets_peaks
@pytest.mark.slow
@pytest.mark.parametrize("name", ["largest", "many", "cut"])
def test_photos_of_a_folder_take_no_more_than_a_gibibyte_together(tmp_path: Path, name: str) -> None:
    data, count = {
        "largest": (zeros_png(SIDE, SIDE, 8, 2), 3),
        "many": (zeros_png(5000, 5000, 8, 6), 8),
        "cut": (zeros_png(6500, 6500, 8, 2, share=0.97), 3),
    }[name]
    files = [tmp_path / f"{number}.png" for number in range(count)]
    for file in files:
        file.write_bytes(data)
    taken = measure("--together", *map(str, files))
    print(f"{count} photos: {taken / 2**20:.0f} MiB")
    assert 300e6 < taken <= MOST_BYTES


# The gate


def test_photos_that_fit_together_do_not_wait_and_others_come_in_turn() -> None:
    gate = MemoryGate(10)
    order: list[str] = []
    first_is_in, first_may_end = threading.Event(), threading.Event()

    def first(reservation: Reservation) -> None:
        reservation.grow(6)
        first_is_in.set()
        assert first_may_end.wait(10)
        order.append("first")

    def other(name: str, size: int) -> threading.Thread:
        def decode(reservation: Reservation) -> None:
            reservation.grow(size)
            assert gate.taken <= 10 or gate.taken == size
            order.append(name)

        thread = threading.Thread(target=gate.run, args=(decode,))
        thread.start()
        return thread

    begun = threading.Thread(target=gate.run, args=(first,))
    begun.start()
    assert first_is_in.wait(10)
    small = other("small", 4)
    small.join(10)
    large = other("larger than all", 99)
    while not gate.is_waited_for:
        pass
    late = other("late", 1)
    assert order == ["small"]
    first_may_end.set()
    for thread in (begun, large, late):
        thread.join(10)
    assert order == ["small", "first", "larger than all", "late"]
    assert gate.taken == 0 and not gate.is_waited_for


def test_two_photos_that_grow_do_not_wait_for_each_other() -> None:
    gate = MemoryGate(10)
    both = threading.Barrier(2, timeout=10)
    calls: list[int] = []

    def decode(reservation: Reservation) -> int:
        calls.append(reservation.size)
        if reservation.size == 0:
            reservation.grow(5)
            both.wait()
        reservation.grow(8)
        return gate.taken

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(gate.run(decode))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [8, 8] and gate.taken == 0
    assert len(calls) in (3, 4)


def test_an_error_holds_nothing_of_what_was_decoded() -> None:
    def decode(_: Reservation) -> None:
        pixels = bytearray(10)
        try:
            raise OSError(pixels)
        except OSError:
            raise PhotoError("is damaged") from None

    gate = MemoryGate(10)
    with pytest.raises(PhotoError) as caught:
        gate.run(decode)
    assert caught.value.__context__ is None
    assert [entry.name for entry in caught.traceback][-1] == "run"
    assert gate.taken == 0


def test_permissions_are_said(tmp_path: Path) -> None:
    """In a child without root's rights, since root may read everything."""
    kinds = KINDS["Permissions"]
    for kind in kinds:
        made(kind, tmp_path)
    tmp_path.chmod(0o755)
    program = (
        "import os, sys\n"
        "from wordgaze.data.photos import open_photo\n"
        "from wordgaze.errors import PhotoError\n"
        "if os.getuid() == 0:\n"
        "    os.setgid(65534)\n"
        "    os.setuid(65534)\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        open_photo(name)\n"
        "        print('read')\n"
        "    except PhotoError as error:\n"
        "        print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    # By relative names: the folders above pytest's are open to its user alone.
    command = [sys.executable, "-c", program, *(str(kind.name) for kind in kinds)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    if run.returncode:
        pytest.skip(f"a child without root's rights can't run here: {run.stderr[-200:]}")
    assert run.stdout.splitlines() == [kind.words for kind in kinds]
