"""Several processes that torchrun has started for one command: each does its share, the first one has all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

_Item = TypeVar("_Item")

_LONGEST = timedelta(days=30)  # that the first may wait for the others: where one fails, torchrun ends all


@dataclass(frozen=True)
class Processes:
    """Which of ``count`` processes this is, ``rank`` 0 being the first; by default the only one."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Return this process's items: each item is one process's."""
        return items[self.rank :: self.count]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the first one; an empty list in others."""
        if self.count == 1:
            return [value]
        from torch import distributed

        values: list[Any] | None = [None] * self.count if self.is_first else None
        distributed.gather_object(value, values)
        return values or []


ALONE = Processes()


@contextmanager
def processes() -> Iterator[Processes]:
    """Connect the processes that torchrun has started; without it this is the only one."""
    # Set by torchrun alone: RANK may also be left over from a batch system.
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    from torch import cuda, distributed

    distributed.init_process_group("gloo", timeout=_LONGEST)
    local_rank = int(os.environ["LOCAL_RANK"])
    if cuda.is_available():
        # What "cuda", and no device at all, mean from here on.
        cuda.set_device(local_rank % cuda.device_count())
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank)
    finally:
        distributed.destroy_process_group()
