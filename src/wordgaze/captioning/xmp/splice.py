"""Changes as ranges to replace, so that every other byte stays by construction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from wordgaze.errors import PhotoError

_STEP = 1024**2


class Splice(NamedTuple):
    """Bytes to put in place of those from ``start`` to ``end``; nothing is replaced where both are the same."""

    start: int
    end: int
    data: bytes


def spliced(data: bytes, splices: Iterable[Splice]) -> bytes:
    """Return ``data`` with its replacements; those at one place stay in their order."""
    parts, position = [], 0
    for splice in _in_order(splices):
        parts += [data[position : splice.start], splice.data]
        position = splice.end
    return b"".join([*parts, data[position:]])


def copy_spliced(source: BinaryIO, splices: Iterable[Splice], target: BinaryIO) -> None:
    """Copy a file with its replacements, a part at a time."""
    position = 0
    for splice in _in_order(splices):
        for part in _parts(source, position, splice.start):
            target.write(part)
        target.write(splice.data)
        position = splice.end
    source.seek(position)
    while part := source.read(_STEP):
        target.write(part)


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """Return ``size`` bytes; raise PhotoError where the file ends before."""
    data = file.read(size)
    if len(data) < size:
        raise PhotoError("is cut short in its metadata, so no alt text is written into it; get the file again")
    return data


def _in_order(splices: Iterable[Splice]) -> list[Splice]:
    ordered = sorted(splices, key=lambda splice: (splice.start, splice.end))
    assert all(first.end <= second.start for first, second in pairwise(ordered)), "replacements overlap"
    return ordered


def _parts(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    while start < end:
        part = file.read(min(_STEP, end - start))
        if not part:
            raise PhotoError("became shorter while it was read; try again when nothing else writes it")
        start += len(part)
        yield part
