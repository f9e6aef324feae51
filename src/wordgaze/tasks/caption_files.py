"""Captions of files, as ``wordgaze caption`` prints them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from wordgaze.captioner import Captioner
from wordgaze.captioning.batches import AUTO
from wordgaze.captioning.identity import RunIdentity
from wordgaze.captioning.pipeline import caption_photos, never, read_photos
from wordgaze.captioning.sinks.sink import CaptionedFile
from wordgaze.data.draft import Photo as LoadedPhoto
from wordgaze.data.listing import STDIN, Photo, as_photo
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.streams import read_stdin
from wordgaze.errors import ConfigError, PhotoError
from wordgaze.generation.options import GenerationOptions


def require_confidence(captioner: Captioner, options: GenerationOptions, flag: str = "--confidence") -> None:
    """Raise ConfigError where captions would have no confidence: samples, and those of a model without calibration."""
    if options.sample:
        raise ConfigError(f"A sampled caption has no confidence; give --no-sample, or leave out {flag}.")
    if captioner.parts.confidence is None:
        raise ConfigError(
            f"The model's folder has no confidence.json; make it with `wordgaze calibrate`, or leave out {flag}."
        )


def model_fingerprint(captioner: Captioner) -> str:
    """Return what tells a model's weights from others; an exported model has that of the one it was made from."""
    manifest = getattr(captioner.model, "manifest", None)
    if manifest is not None:
        return str(manifest.fingerprint)
    from wordgaze.export.write import fingerprint

    return fingerprint(captioner.model)


def run_identity(captioner: Captioner, options: GenerationOptions, *, strict: bool = False) -> RunIdentity:
    """Return what tells a run's captions from those of other models and options; ``strict``: as of caption_files."""
    defaults = GenerationOptions().to_dict()
    changed = {name: value for name, value in options.to_dict().items() if value != defaults.get(name)}
    changed |= {"mirrored": True} if captioner.parts.preprocessing.hflip_tta else {}
    changed |= {"strict": True} if strict else {}
    return RunIdentity(model_fingerprint(captioner), captioner.precision, changed)


def caption_files(
    captioner: Captioner,
    files: Iterable[str | os.PathLike[str] | CaptionedPhoto],
    options: GenerationOptions | None = None,
    batch_size: int | str = AUTO,
    *,
    strict: bool = False,
    first_at_once: bool = False,
    stopping: Callable[[], bool] = never,
) -> Iterator[CaptionedFile]:
    """Yield a result for each file, in order, also for a photo that can't be read.

    ``options``: by default the model's. ``batch_size``: as of :meth:`Captioner.caption`. ``strict``: refuse photos
    that are cut short. ``first_at_once``: the first batches are smaller, so that the first caption waits for no other
    photo. ``stopping``: asked before each batch, whether to end there. At most two batches are held as pixels, however
    many files there are. Raises ConfigError for ``batch_size``.
    """
    options = captioner.parts.generation if options is None else options
    batches = captioner.batches(batch_size, files, options)

    def pixel_values(photo: LoadedPhoto) -> np.ndarray:
        return captioner.transform.array(photo)[0]

    smaller = captioner.transform.preprocessing.max_reduction
    reading: dict[str, Any] = {"max_reduction": smaller, "shares_cpu": captioner.on_cpu}
    opened = read_photos(map(_named, files), pixel_values, strict=strict, ahead=batches.photos, **reading)
    with closing(opened):
        caption = partial(captioner.caption_pixels, options=options)
        for photo in caption_photos(opened, caption, batches, first_at_once=first_at_once, stopping=stopping):
            error = None if photo.error is None else str(photo.error)
            yield CaptionedFile(photo.label, photo.caption, error, photo.warnings)


def _named(file: str | os.PathLike[str] | CaptionedPhoto) -> tuple[Photo, Any]:
    """Return a photo's name, and what to read for it, or what is wrong with stdin."""
    if isinstance(file, CaptionedPhoto):
        return file.path, file.source
    name = as_photo(file)
    try:
        return name, read_stdin() if name == STDIN else name
    except PhotoError as error:
        return name, error
