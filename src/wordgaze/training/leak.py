"""Photos that are trained on and validated on, by what is in their files: their scores would be too good."""

from __future__ import annotations

import filecmp
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from wordgaze.data.captions import CaptionSet

_END = 4096


def find_leaks(training: Iterable[Path], validation: Iterable[Path]) -> dict[Path, Path]:
    """Return the photos of ``validation`` that are also in ``training``, each with its file there.

    The same bytes under another name count, too. Of large sets few files are read: those whose length is that of
    another.
    """
    held_out = defaultdict(list)
    for path in dict.fromkeys(validation):
        if (size := _size(path)) is not None:
            held_out[size].append(path)
    leaks: dict[Path, Path] = {}
    ends: dict[Path, int] = {}
    for path in dict.fromkeys(training):
        for other in held_out.get(_size(path) or -1, ()):
            if other not in leaks and _is_same(path, other, ends):
                leaks[other] = path
    return leaks


def describe_leaks(
    training: CaptionSet, validation: Mapping[str, CaptionSet], ignored: Callable[[Path], bool]
) -> Iterator[str]:
    """Yield a warning for each set with photos that are trained on; ``ignored`` are those that we have drawn."""
    trained = [photo.path for photo in training if not ignored(photo.path)]
    for name, photos in validation.items():
        leaks = find_leaks(trained, (photo.path for photo in photos if not ignored(photo.path)))
        if leaks:
            path, there = next(iter(leaks.items()))
            example = str(path) if path == there else f"{path}, which is {there}"
            yield (
                f"WARNING: {len(leaks):,} of the {len(photos):,} photos of {name!r} are trained on, such as {example}: "
                "its scores will be too good; take them out of one of the two sets, for example by its `exclude`."
            )


def _size(path: Path) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _is_same(path: Path, other: Path, ends: dict[Path, int]) -> bool:
    if path == other:
        return True
    try:
        return _checksum(path, ends) == _checksum(other, ends) and filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False


def _checksum(path: Path, ends: dict[Path, int]) -> int:
    """Return the checksum of a file's beginning and end; ``ends`` holds those that are known."""
    if path not in ends:
        with path.open("rb") as file:
            value = zlib.crc32(file.read(_END))
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
            ends[path] = zlib.crc32(file.read(_END), value)
    return ends[path]
