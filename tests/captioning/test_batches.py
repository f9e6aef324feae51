"""How many photos at a time: chosen by the memory, fewer where it runs out, and the same captions in any case."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from wordgaze.captioner import Captioner
from wordgaze.captioning import batches, checks
from wordgaze.captioning.batches import BatchSize, auto_batch_size
from wordgaze.captioning.pipeline import ReadPhoto, caption_photos
from wordgaze.cli.caption import command
from wordgaze.errors import ConfigError
from wordgaze.generation.caption import Caption
from wordgaze.tasks.caption_files import caption_files

OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
]


def limited(most: int, sizes: list[int], error: Exception) -> Callable[[Sequence[int]], list[int]]:
    """Return work that has memory for ``most`` inputs at a time; ``sizes`` gets how many it was given."""

    def work(inputs: Sequence[int]) -> list[int]:
        sizes.append(len(inputs))
        if len(inputs) > most:
            raise error
        return [10 * value for value in inputs]

    return work


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: f"{type(error).__name__}-{str(error)[:3]}")
def test_a_batch_that_is_too_large_is_halved_and_that_is_remembered(error: Exception) -> None:
    sizes: list[int] = []
    batch_size = BatchSize(16, shrinks=True)
    assert batch_size.run(range(20), limited(5, sizes, error)) == list(range(0, 200, 10))
    assert sizes == [16, 8, 4, 4, 4, 4, 4] and batch_size.photos == 4
    assert batch_size.run(range(5), limited(5, sizes, error)) == [0, 10, 20, 30, 40]
    assert sizes[7:] == [4, 1]


def test_one_photo_too_large_and_other_errors_come_through() -> None:
    for error, most, shrinks in (
        (MemoryError(), 0, True),
        (MemoryError(), 3, False),
        (RuntimeError("shapes do not match"), 3, True),
        (KeyboardInterrupt(), 3, True),
    ):
        with pytest.raises(type(error)) as raised:
            BatchSize(8, shrinks=shrinks).run(range(8), limited(most, [], error))  # type: ignore[arg-type]
        assert raised.value is error


def test_nothing_of_the_failed_batch_is_held_while_the_smaller_one_runs() -> None:
    held: list[weakref.ref[Tensor]] = []

    def work(inputs: Sequence[int]) -> list[int]:
        assert not [tensor for tensor in held if tensor() is not None]
        activations = torch.zeros(len(inputs))
        held.append(weakref.ref(activations))
        if len(inputs) > 1:
            raise MemoryError
        return list(inputs)

    assert BatchSize(4, shrinks=True).run(range(4), work) == [0, 1, 2, 3]
    assert len(held) == 6


def test_the_first_photo_waits_for_no_other() -> None:
    taken: list[int] = []
    sizes: list[int] = []

    def caption(pixel_values: Tensor) -> list[Caption]:
        sizes.append(len(pixel_values))
        return [Caption(str(int(pixels[0, 0, 0])), 0.0, ()) for pixels in pixel_values]

    def photos() -> Any:
        for number in range(30):
            taken.append(number)
            yield ReadPhoto(number, torch.full((3, 1, 1), number))

    results = caption_photos(photos(), caption, BatchSize(8), first_at_once=True)
    assert str(next(results).caption) == "0" and taken == [0]
    assert [str(result.caption) for result in results] == [str(number) for number in range(1, 30)]
    assert sizes == [1, 2, 4, 8, 8, 7]


def test_the_command_prints_the_first_caption_at_once(
    captioner: Captioner, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = captioner.caption_pixels

    def caption_pixels(pixel_values: Tensor, options: Any) -> list[Caption]:
        sizes.append(len(pixel_values))
        return real(pixel_values, options)

    monkeypatch.setattr(captioner, "caption_pixels", caption_pixels)
    monkeypatch.setattr(Captioner, "from_pretrained", lambda *_, **__: captioner)
    result = CliRunner().invoke(command, [str(photos[0].parent), "--batch-size", "4"])
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 6
    assert sizes == [1, 2, 3]


def test_sizes_grow_to_what_the_memory_has_been_found_to_hold() -> None:
    batch_size = BatchSize(16, shrinks=True)
    sizes = batch_size.growing()
    assert list(islice(sizes, 4)) == [1, 2, 4, 8]
    batch_size.photos = 3
    assert list(islice(sizes, 2)) == [3, 3]


@pytest.mark.parametrize(
    ("free", "device", "expected"),
    [
        (None, "cpu", 16),  # the system does not say
        (10**12, "cpu", 16),
        (10**12, "cuda:1", 64),
        (10_000, torch.device("cpu"), 5),
        (10_000, torch.device("cuda"), 5),
        (1_999, "cpu", 1),
        (0, "mps", 1),
    ],
)
def test_half_of_the_free_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch, free: int | None, device: Any, expected: int
) -> None:
    monkeypatch.setattr(batches, "free_memory", lambda _: free)
    assert auto_batch_size(1000, device) == expected


def test_free_memory_is_part_of_the_machines() -> None:
    free, total = batches.free_memory("cpu"), checks.total_memory(torch.device("cpu"))
    assert free is None or total is None or 0 < free < total


# --- The captioner's own ----------------------------------------------------------------------------------------


@pytest.fixture
def small_memory(captioner: Captioner, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let ``captioner`` run out of memory beyond two photos at a time; return how many it was given each time."""
    sizes: list[int] = []
    real = captioner.caption_pixels

    def caption_pixels(pixel_values: Tensor, options: Any) -> list[Caption]:
        sizes.append(len(pixel_values))
        if len(pixel_values) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pixel_values, options)

    monkeypatch.setattr(captioner, "caption_pixels", caption_pixels)
    return sizes


def test_captions_are_those_of_any_batch_size_and_the_size_is_remembered(
    captioner: Captioner, photos: list[Path], small_memory: list[int]
) -> None:
    expected = [str(caption) for caption in captioner.caption(photos, batch_size=1)]
    small_memory.clear()
    assert [str(caption) for caption in captioner.caption(photos)] == expected
    assert small_memory == [6, 3, 1, 1, 1, 1, 1, 1]
    small_memory.clear()
    assert [str(result.caption) for result in caption_files(captioner, photos, first_at_once=True)] == expected
    assert small_memory == [1, 1, 1, 1, 1, 1]
    # More beams need another amount of memory; a stated size is the caller's own affair.
    small_memory.clear()
    captioner.caption(photos, num_beams=3)
    assert small_memory[0] == 6
    with pytest.raises(torch.OutOfMemoryError):
        captioner.caption(photos, batch_size=6)


def test_a_batch_size_is_auto_or_a_number(captioner: Captioner) -> None:
    assert 1 <= captioner.check_batch("auto") <= 16
    for wrong in ("many", "4", 2.5, None):
        with pytest.raises(ConfigError, match=r"batch_size=.*auto or a whole number of at least 1"):
            captioner.check_batch(wrong)  # type: ignore[arg-type]
