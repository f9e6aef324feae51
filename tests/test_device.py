"""Which device and precision are taken, how many threads torch starts, and what is said where the cores are taken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wordgaze import device
from wordgaze.errors import ConfigError


@pytest.fixture
def threads_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has its own threads again afterwards."""
    for name in device._VARIABLES:
        monkeypatch.setenv(name, "1")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_kept")
def test_threads_hold_for_a_torch_that_is_loaded_and_for_what_is_loaded_later() -> None:
    device.set_threads(3)
    assert torch.get_num_threads() == 3
    assert {os.environ[name] for name in device._VARIABLES} == {"3"}


@pytest.mark.parametrize(
    ("load", "cores", "threads", "said"),
    [
        (3.24, 2, 2, "(a load of 3.2 on 2 cores), so torch's 2 threads wait for each other; --threads 1"),
        (1.5, 1, 4, "(a load of 1.5 on 1 core), so torch's 4 threads"),
        (1.9, 2, 2, None),
        (2.0, 2, 2, None),  # full, and nobody waits
        (9.0, 2, 1, None),  # one thread waits for no other
    ],
)
def test_a_busy_machine_is_one_whose_load_is_above_its_cores(
    monkeypatch: pytest.MonkeyPatch, load: float, cores: int, threads: int, said: str | None
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    found = device.busy(threads)
    assert found is None if said is None else said in found


def test_a_system_that_tells_no_load_is_not_called_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert device.load() is None
    assert device.busy(64) is None


@pytest.mark.parametrize(("given", "name"), [("cpu", "cpu"), (torch.device("cpu", 0), "cpu:0")])
def test_a_device_is_known_by_torchs_name(given: object, name: str) -> None:
    assert device.find_device(given) == name


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "meta", "cpu:x", ""])
def test_a_device_that_cannot_compute_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match=f"This torch has no device '{name}'; use auto or cpu"):
        device.find_device(name)


def test_the_best_device_is_taken_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, name in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert device.find_device() == device.find_device(None) == name


@pytest.mark.parametrize("precision", device.PRECISIONS)
def test_torch_computes_in_the_precision_that_is_named(precision: str) -> None:
    square = torch.ones(2, 2)
    with device.arithmetic("cpu:0", device.check_precision(precision)):
        assert (square @ square).dtype == getattr(torch, precision)
    assert (square @ square).dtype == torch.float32


FREED = """
import numpy
from pathlib import Path
from wordgaze import device

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def share_given_back():
    block = numpy.ones(100 << 20, numpy.uint8)
    held = resident_bytes()
    del block
    return (held - resident_bytes()) / (100 << 20)

if device.keep_freed_memory():
    kept = share_given_back()
    with device.default_allocation():
        plain = share_given_back()
    print(kept, plain, share_given_back())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_freed_memory_is_kept_for_what_is_asked_for_next() -> None:
    # A process of its own: what glibc keeps depends on all that was freed before.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", FREED], env=environment, capture_output=True, text=True, check=True)
    if not done.stdout:
        pytest.skip("not glibc")
    kept, plain, kept_again = map(float, done.stdout.split())
    assert plain > 0.5 and kept < 0.1 and kept_again < 0.1


def test_other_settings_of_the_allocator_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not device.keep_freed_memory()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(os, "confstr", lambda name: (_ for _ in ()).throw(ValueError(name)), raising=False)
    assert not device.keep_freed_memory()


@pytest.mark.parametrize(
    ("kind", "can_bfloat16", "speedup", "expected"),
    [
        ("cpu", True, 1.6, "bfloat16"),
        ("cpu", True, 0.9, "float32"),  # has the instructions, and is slower with them
        ("cpu", False, 1.6, "float32"),
        ("cuda:1", True, None, "bfloat16"),
        ("cuda", False, None, "float16"),
        ("mps", False, None, "float16"),
        ("xpu", False, None, "float32"),
    ],
)
def test_auto_is_the_precision_that_a_device_is_fastest_in(
    monkeypatch: pytest.MonkeyPatch, kind: str, can_bfloat16: bool, speedup: float | None, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: can_bfloat16)
    monkeypatch.setattr(device, "fastest_precision", lambda name: "bfloat16" if can_bfloat16 else "float32")
    monkeypatch.setattr(device, "_bfloat16_speedup", lambda: speedup)
    assert device.choose_precision(device.check_precision("auto"), kind) == expected
    assert device.choose_precision("float32", kind) == "float32"


def test_the_speed_of_bfloat16_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each reading of the clock is later by one second, those around the second product by two.
    steps = iter([0, 1, 1, 3] * 10)
    monkeypatch.setattr("time.perf_counter", lambda: next(steps))
    assert device._bfloat16_speedup() == 0.5
