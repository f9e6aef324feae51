"""Captions files as they come: decoded ahead by threads, captioned in batches, given back in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordgaze.captioner import BATCH_SIZE, Caption, Captioner
from wordgaze.data.listing import find_photos
from wordgaze.data.photos import open_photo
from wordgaze.errors import ConfigError, PhotoError
from wordgaze.generation.options import GenerationOptions

THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class CaptionedFile:
    """A photo's file with its caption, or with what is wrong with it."""

    file: Path
    caption: Caption | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What ``wordgaze caption --json`` prints of it."""
        if self.caption is None:
            return {"file": str(self.file), "error": self.error}
        return {"file": str(self.file), **self.caption.to_dict()}


def photos_in(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The photos that a command's arguments mean, in their order; raises ConfigError when there are none.

    A folder without photos stays in the list, so that it counts among the failures: opening it says so.
    """
    arguments = [Path(path) for path in paths]
    found = [find_photos([argument]) for argument in arguments]
    if not any(found):
        named = ", ".join(map(str, arguments))
        raise ConfigError(f"There are no photos in {named}; name photos, or a folder that holds some.")
    return [
        photo for argument, photos in zip(arguments, found, strict=True) for photo in photos or [argument]
    ]


def require_confidence(captioner: Captioner, options: GenerationOptions) -> None:
    """Raises ConfigError when captions would have no confidence: samples, and those of a model never calibrated."""
    if options.sample:
        raise ConfigError(
            "A sampled caption has no confidence; it is of the best one that a search finds: --no-sample."
        )
    if captioner.parts.confidence is None:
        raise ConfigError(
            "This model has no confidence: its folder holds no confidence.json; calibrate it "
            "(scripts/calibrate.py of wordgaze's repository), or leave out --confidence."
        )


def caption_files(
    captioner: Captioner,
    files: Iterable[str | os.PathLike[str]],
    options: GenerationOptions | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[CaptionedFile]:
    """One result a file, in the order of ``files``; a photo that can't be read is a result, too, and stops nothing.

    ``options``: by default the model's. At most ``THREADS`` photos are held decoded and two batches as pixels,
    however many files there are. Raises ConfigError for ``batch_size``.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
    chosen = captioner.parts.generation if options is None else options

    def pixels_of(file: Path) -> Tensor | str:
        try:
            return captioner.transform(open_photo(file))[0]
        except PhotoError as error:
            return str(error)
        except MemoryError:
            return "needs more memory than there is; make the photo smaller"

    with ThreadPoolExecutor(THREADS, thread_name_prefix="wordgaze-photos") as threads:
        ahead: deque[tuple[Path, Future[Tensor | str]]] = deque()
        try:
            for file in map(Path, files):
                ahead.append((file, threads.submit(pixels_of, file)))
                if len(ahead) == 2 * batch_size:
                    yield from _caption_batch(captioner, chosen, [ahead.popleft() for _ in range(batch_size)])
            while ahead:
                size = min(batch_size, len(ahead))
                yield from _caption_batch(captioner, chosen, [ahead.popleft() for _ in range(size)])
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _caption_batch(
    captioner: Captioner, options: GenerationOptions, batch: list[tuple[Path, Future[Tensor | str]]]
) -> Iterator[CaptionedFile]:
    opened = [(file, future.result()) for file, future in batch]
    pixel_values = [pixels for _, pixels in opened if isinstance(pixels, Tensor)]
    captions = iter(captioner.caption_pixels(torch.stack(pixel_values), options) if pixel_values else ())
    for file, pixels in opened:
        if isinstance(pixels, str):
            yield CaptionedFile(file, error=pixels)
        else:
            yield CaptionedFile(file, caption=next(captions))
