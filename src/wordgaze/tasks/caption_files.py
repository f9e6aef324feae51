"""Captions files as they come: decoded ahead by threads, captioned in batches, given back in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wordgaze.captioner import BATCH_SIZE, Caption, Captioner
from wordgaze.data.listing import STDIN, Photo, as_photo
from wordgaze.data.photos import open_photo
from wordgaze.data.streams import read_stdin
from wordgaze.errors import ConfigError, PhotoError
from wordgaze.generation.options import GenerationOptions

THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class CaptionedFile:
    """A photo's file with its caption, or with what is wrong with it; ``warnings`` say what may be.

    ``file``: as :func:`wordgaze.data.listing.as_photo` returns it.
    """

    file: Photo
    caption: Caption | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What ``wordgaze caption --json`` prints of it."""
        values = {"error": self.error} if self.caption is None else self.caption.to_dict()
        warnings = {"warnings": list(self.warnings)} if self.warnings else {}
        return {"file": str(self.file), **values, **warnings}


@dataclass(frozen=True)
class _Opened:
    """A photo's pixels (3, H, W), or what is wrong with it."""

    pixels: Tensor | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()


def require_confidence(captioner: Captioner, options: GenerationOptions) -> None:
    """Raises ConfigError when captions would have no confidence: samples, and those of a model never calibrated."""
    if options.sample:
        raise ConfigError(
            "A sampled caption has no confidence; it is of the best one that a search finds: --no-sample."
        )
    if captioner.parts.confidence is None:
        raise ConfigError(
            "This model has no confidence: its folder holds no confidence.json; calibrate it "
            "with `wordgaze calibrate`, or leave out --confidence."
        )


def caption_files(
    captioner: Captioner,
    files: Iterable[str | os.PathLike[str]],
    options: GenerationOptions | None = None,
    batch_size: int = BATCH_SIZE,
    *,
    strict: bool = False,
) -> Iterator[CaptionedFile]:
    """One result a file, in the order of ``files``; a photo that can't be read is a result, too, and stops nothing.

    ``options``: by default the model's. ``strict``: refuse photos that are cut short. At most ``THREADS`` photos are
    held decoded and two batches as pixels, however many files there are. Raises ConfigError for ``batch_size``.
    """
    chosen = captioner.parts.generation if options is None else options
    batch_size = captioner.check_batch(batch_size, files, chosen)

    def open_file(file: Photo) -> _Opened:
        warnings: list[str] = []
        try:
            source = read_stdin() if file == STDIN else file
            photo = open_photo(source, strict=strict, on_warning=warnings.append)
            return _Opened(captioner.transform(photo)[0], None, tuple(warnings))
        except PhotoError as error:
            return _Opened(None, str(error), tuple(warnings))
        except MemoryError:
            return _Opened(None, "needs more memory than there is; make the photo smaller", tuple(warnings))

    with ThreadPoolExecutor(THREADS, thread_name_prefix="wordgaze-photos") as threads:
        ahead: deque[tuple[Photo, Future[_Opened]]] = deque()
        try:
            for file in map(as_photo, files):
                ahead.append((file, threads.submit(open_file, file)))
                if len(ahead) == 2 * batch_size:
                    yield from _caption_batch(captioner, chosen, [ahead.popleft() for _ in range(batch_size)])
            while ahead:
                size = min(batch_size, len(ahead))
                yield from _caption_batch(captioner, chosen, [ahead.popleft() for _ in range(size)])
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _caption_batch(
    captioner: Captioner, options: GenerationOptions, batch: list[tuple[Photo, Future[_Opened]]]
) -> Iterator[CaptionedFile]:
    photos = [(file, future.result()) for file, future in batch]
    pixel_values = [photo.pixels for _, photo in photos if photo.pixels is not None]
    captions = iter(captioner.caption_pixels(torch.stack(pixel_values), options) if pixel_values else ())
    for file, photo in photos:
        caption = None if photo.pixels is None else next(captions)
        yield CaptionedFile(file, caption, photo.error, photo.warnings)
