"""Captions into photos' metadata, as ``wordgaze caption --xmp`` writes them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wordgaze.captioner import Captioner
from wordgaze.captioning.xmp.merge import AltText, Existing
from wordgaze.captioning.xmp.write import Outcome, Where, write_alt_text
from wordgaze.data.listing import STDIN, Photo, as_photo
from wordgaze.errors import ConfigError, PhotoError
from wordgaze.generation.options import GenerationOptions
from wordgaze.hub import local_folder
from wordgaze.tasks.caption_files import CaptionedFile, caption_files, model_fingerprint

Status = Literal["written", "skipped", "kept", "unsure", "failed"]

# What stands in for a caption while it is found out whether one is wanted.
_ANY = AltText("any", "any", "any")
# What no later photo could be written after.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class AltTextSettings:
    """Where alt texts go, what becomes of those that are there, and how sure a caption must be (None: any)."""

    where: Where
    existing: Existing = "skip"
    min_confidence: float | None = None


@dataclass(frozen=True)
class WrittenFile:
    """What became of a photo: of ``Outcome``'s, or ``unsure``, or ``failed``; ``messages`` say why, and what else."""

    file: Photo
    status: Status
    messages: tuple[str, ...] = ()


def write_alt_texts(
    captioner: Captioner,
    files: Sequence[str | os.PathLike[str]],
    options: GenerationOptions,
    settings: AltTextSettings,
    model: str | None = None,
    **others: Any,
) -> Iterator[WrittenFile]:
    """Caption photos and write each caption into its photo's metadata; yield a result for each file.

    First come photos that are not captioned: they have an alt text, or can't get one. ``model``: as it was named, of
    which a photo gets no more than a folder's own name. ``others``: as of :func:`caption_files`. Raises ConfigError for
    stdin, and OSError where no photo could be written any more.
    """
    photos = [as_photo(file) for file in files]
    if STDIN in photos:
        raise ConfigError("A photo on stdin has no metadata to write into; save it in a file, or leave out --xmp.")
    named, digest = _shown_model(model), model_fingerprint(captioner)
    wanted = []
    for file in photos:
        result = _written(file, _ANY, settings, dry_run=True)
        if result.status == "written":
            wanted.append(file)
        else:
            yield result
    for captioned in caption_files(captioner, wanted, options, **others):
        yield _result(captioned, settings, named, digest)


def _result(captioned: CaptionedFile, settings: AltTextSettings, model: str, digest: str) -> WrittenFile:
    caption, warnings = captioned.caption, captioned.warnings
    if caption is None:
        return WrittenFile(captioned.file, "failed", (*warnings, str(captioned.error)))
    least = settings.min_confidence
    if not str(caption).strip():
        return WrittenFile(captioned.file, "failed", (*warnings, "got an empty caption, which is not written"))
    if least is not None and (caption.confidence is None or caption.confidence < least):
        unsure = f"unsure ({caption.confidence:.2f}), so not written: {caption}"
        return WrittenFile(captioned.file, "unsure", (*warnings, unsure))
    result = _written(captioned.file, AltText(str(caption), model, digest, caption.confidence), settings)
    return WrittenFile(result.file, result.status, (*warnings, *result.messages))


def _written(file: Photo, alt: AltText, settings: AltTextSettings, *, dry_run: bool = False) -> WrittenFile:
    try:
        outcome: Outcome = write_alt_text(file, alt, settings.where, settings.existing, dry_run=dry_run)
    except PhotoError as error:
        return WrittenFile(file, "failed", (str(error),))
    except OSError as error:
        if error.errno in _FATAL:
            raise
        return WrittenFile(file, "failed", (f"can't be written to ({error.strerror}); check its permissions",))
    messages = () if outcome.message is None else (outcome.message,)
    return WrittenFile(file, outcome.status, messages)


def _shown_model(model: str | None) -> str:
    """Return a model's name without the folders of this machine: who gets a photo need not know them."""
    if model is None:
        return "wordgaze bundled"
    folder = local_folder(model)
    return model if folder is None else folder.resolve().name
