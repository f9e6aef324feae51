"""From many photos to their captions: read ahead by threads, captioned in batches, returned in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from threading import Event
from typing import Any, Generic, TypeVar

import numpy as np

from wordgaze.captioning.batches import BatchSize
from wordgaze.data.draft import MaxReduction
from wordgaze.data.packed import PackedPhoto
from wordgaze.data.photos import convert_photo
from wordgaze.data.sources import photo_in
from wordgaze.data.streams import is_special
from wordgaze.errors import PhotoError, PhotoWarning, warn
from wordgaze.generation.caption import Caption

_CORES = os.cpu_count() or 1
THREADS = min(4, _CORES)

Label = TypeVar("Label")
Content = TypeVar("Content")


@dataclass(frozen=True)
class ReadPhoto(Generic[Label, Content]):
    """A photo's content as the caller wants it, or the error that reading it gave; ``warnings``: what may be wrong.

    ``label``: whatever the caller knows the photo by.
    """

    label: Label
    content: Content | None = None
    error: PhotoError | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionResult(Generic[Label]):
    """A photo's caption, or the error; ``label`` and ``warnings`` as of :class:`ReadPhoto`."""

    label: Label
    caption: Caption | None = None
    error: PhotoError | None = None
    warnings: tuple[str, ...] = ()


def read_photos(
    photos: Iterable[tuple[Label, Any]],
    make: Callable[[Any], Content],
    *,
    strict: bool = False,
    ahead: int = 0,
    max_reduction: MaxReduction | None = None,
    shares_cpu: bool = False,
) -> Generator[ReadPhoto[Label, Content]]:
    """Yield a result for each photo, in order; a photo that can't be read is a result, too, and stops nothing.

    ``photos``: labels with what :func:`wordgaze.data.photos.open_photo` takes, or a function that returns it (it is
    called where the photo is read, perhaps in a thread), or a PhotoError in its place. ``make``
    turns a photo into its content. ``strict``: refuse photos that are cut short. ``ahead``: how many photos are
    read before they are asked for, files and bytes by threads. What may change or block (an open file, an array, a
    pipe) is read as soon as it is taken from ``photos``, and with ``ahead=0`` so is everything. All decoded photos
    together take no more than :data:`wordgaze.data.memory.MOST_BYTES`. ``max_reduction``: as of ``open_photo``;
    ``make`` may then get a :class:`~wordgaze.data.draft.DraftPhoto`. ``shares_cpu``: the caller computes on the CPU
    with what it gets; on few cores threads then begin no photo meanwhile, since two that share a core are slower than
    one after the other. To end before the last photo, close the generator.
    """

    def read(label: Label, source: Any) -> ReadPhoto[Label, Content]:
        return _read(label, source, make, strict, max_reduction)

    if ahead == 0:
        for label, source in photos:
            yield read(label, source)
        return
    in_turns = shares_cpu and THREADS >= _CORES
    turn = Event()  # of the threads
    turn.set()

    def read_in_turn(label: Label, source: Any) -> ReadPhoto[Label, Content]:
        turn.wait()
        return read(label, source)

    def results(threads: ThreadPoolExecutor) -> Iterator[ReadPhoto[Label, Content]]:
        waiting: deque[Future[ReadPhoto[Label, Content]]] = deque()
        for label, source in photos:
            if _can_wait(source):
                waiting.append(threads.submit(read_in_turn, label, source))
            else:
                waiting.append(Future())
                waiting[-1].set_result(read(label, source))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    with ThreadPoolExecutor(THREADS, thread_name_prefix="wordgaze-photos") as threads:
        try:
            for result in results(threads):
                if in_turns:
                    turn.clear()
                yield result
                turn.set()
        finally:
            turn.set()
            threads.shutdown(wait=False, cancel_futures=True)


def _read(
    label: Label, source: Any, make: Callable[[Any], Content], strict: bool, max_reduction: MaxReduction | None
) -> ReadPhoto[Label, Content]:
    """Return the content that ``make`` makes of a photo, or the photo's error."""
    warnings: list[str] = []
    try:
        if isinstance(source, PhotoError):
            raise source
        read_source = source() if callable(source) else source
        content = convert_photo(read_source, make, warnings.append, strict=strict, max_reduction=max_reduction)
        return ReadPhoto(label, content, None, tuple(warnings))
    except PhotoError as error:
        return ReadPhoto(label, None, error, tuple(warnings))
    except MemoryError:
        too_large = PhotoError("needs more memory than there is; make the photo smaller")
        return ReadPhoto(label, None, too_large, tuple(warnings))


def read_named_photos(
    photos: Iterable[tuple[str, Any]],
    make: Callable[[Any], Content],
    strict: bool,
    on_error: str = "raise",
    ahead: int = 0,
    max_reduction: MaxReduction | None = None,
    shares_cpu: bool = False,
) -> Generator[ReadPhoto[str, Content]]:
    """Yield what :func:`read_photos` does; errors and warnings name their photo.

    ``photos``: items of a collection, each with a name to use where it has no path. What is doubtful about a photo is
    a PhotoWarning; a PhotoError is raised in the photo's turn, unless ``on_error`` is ``return``.
    """
    sources = map(_name_and_source, photos)
    more: dict[str, Any] = {"strict": strict, "ahead": ahead, "max_reduction": max_reduction, "shares_cpu": shares_cpu}
    with closing(read_photos(sources, make, **more)) as results:
        for photo in results:
            for message in photo.warnings:
                warn(f"{photo.label}: {message}", PhotoWarning)
            if photo.error is not None:
                error = PhotoError(f"{photo.label}: {photo.error}")
                error.__cause__ = photo.error.__cause__ or photo.error
                if on_error == "raise":
                    raise error
                photo = replace(photo, error=error)
            yield photo


def never() -> bool:
    """Return False: nobody asks a run to stop."""
    return False


def caption_photos(
    photos: Iterable[ReadPhoto[Label, np.ndarray]],
    caption: Callable[[np.ndarray], list[Caption]],
    batch_size: int | BatchSize,
    *,
    first_at_once: bool = False,
    stopping: Callable[[], bool] = never,
) -> Iterator[CaptionResult[Label]]:
    """Yield a result for each photo, in order, captioned ``batch_size`` photos at a time.

    ``photos``: with their ``pixel_values`` (3, H, W). ``caption``: returns the captions of ``pixel_values``
    (B, 3, H, W). ``first_at_once``: begin with one photo, then two, four, ...; the sizes depend on nothing else, so
    that another run gives the same captions to the last bit. ``stopping``: asked before each batch, whether to
    end there.
    """
    size = BatchSize(batch_size) if isinstance(batch_size, int) else batch_size
    photos = iter(photos)
    for number in size.growing() if first_at_once else size.constant():
        batch = [] if stopping() else list(islice(photos, number))
        if not batch:
            return
        pixel_values = [photo.content for photo in batch if photo.content is not None]
        captions = iter(size.run(pixel_values, lambda some: caption(np.stack(list(some)))))
        for photo in batch:
            caption_or_none = None if photo.content is None else next(captions)
            yield CaptionResult(photo.label, caption_or_none, photo.error, photo.warnings)


def _can_wait(source: Any) -> bool:
    """Return whether a photo can be read later, and by another thread: bytes, functions, files but no pipes."""
    if not isinstance(source, str | os.PathLike):
        return isinstance(source, bytes | PackedPhoto) or callable(source)
    try:
        return not is_special(source)
    except (OSError, ValueError):  # it is missing, as reading it will tell
        return True


def _name_and_source(photo: tuple[str, Any]) -> tuple[str, Any]:
    """Return a photo's name, and the photo itself without its label, or the error."""
    name, source = photo
    try:
        source = photo_in(source)
    except PhotoError as error:
        return name, error
    if isinstance(source, str | os.PathLike) and (path := os.fsdecode(source)):
        name = path if len(path) <= 500 else f"{path[:500]}..."
    return name, source
