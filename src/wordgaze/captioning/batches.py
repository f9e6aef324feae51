"""How many photos a model takes at a time: chosen by its memory, and fewer where that runs out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wordgaze.errors import is_out_of_memory

AUTO = "auto"
# On a CPU more photos at a time are hardly faster, as `wordgaze bench` shows.
_MOST_ON_CPU, _MOST = 16, 64
_SHARE_OF_FREE_MEMORY = 0.5

Input = TypeVar("Input")
Output = TypeVar("Output")


class BatchSize:
    """How many photos are captioned at a time: ``photos``.

    With ``shrinks`` it is halved where a batch takes more memory than there is, and stays so.
    """

    def __init__(self, photos: int, *, shrinks: bool = False) -> None:
        self.photos, self.shrinks = photos, shrinks

    def growing(self) -> Iterator[int]:
        """Yield sizes that double from 1 up to ``photos``: the first photo's caption waits for no other photo."""
        size = 1
        while True:
            yield min(size, self.photos)
            size = min(2 * size, self.photos)

    def constant(self) -> Iterator[int]:
        """Yield ``photos``, as it is at the time."""
        while True:
            yield self.photos

    def run(self, inputs: Sequence[Input], work: Callable[[Sequence[Input]], list[Output]]) -> list[Output]:
        """Return an output for each input; ``work`` gets at most ``photos`` of them at a time."""
        outputs: list[Output] = []
        while len(outputs) < len(inputs):
            outputs += self._work_or_shrink(inputs[len(outputs) : len(outputs) + self.photos], work)
        return outputs

    def _work_or_shrink(self, batch: Sequence[Input], work: Callable[[Sequence[Input]], list[Output]]) -> list[Output]:
        try:
            return work(batch)
        except Exception as error:
            if not self.shrinks or len(batch) == 1 or not is_out_of_memory(error):
                raise
        # After the handler: until its end the error holds the tensors of the batch that failed.
        _release_memory()
        self.photos = min(self.photos, len(batch) // 2)  # another thread may have gone further
        return []


def auto_batch_size(photo_bytes: int, device: Any) -> int:
    """Return how many photos of ``photo_bytes`` each half of the device's free memory holds, at most a useful number.

    ``device``: a torch device, or its name.
    """
    kind = str(device).partition(":")[0]
    most = _MOST_ON_CPU if kind == "cpu" else _MOST
    free = free_memory(device)
    return most if free is None else max(1, min(most, int(_SHARE_OF_FREE_MEMORY * free) // photo_bytes))


def free_memory(device: Any) -> int | None:
    """Return how many bytes of memory the device could give now; None where the system does not say."""
    if str(device).startswith("cuda"):
        import torch

        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        [available] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):  # not Linux
        return None
    try:  # a container's limit; "max" where it has none of its own
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")) for name in _CGROUP)
    except (OSError, ValueError):
        return available
    return min(available, max(limit - used, 0))


_CGROUP = ("memory.max", "memory.current")


def _release_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later: pieces too small for the next batch."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
