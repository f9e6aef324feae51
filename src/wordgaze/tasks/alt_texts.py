"""Captions into photos' metadata, as ``wordgaze caption --xmp`` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wordgaze.captioning.sinks.sidecars import FATAL
from wordgaze.captioning.sinks.sink import EMPTY, CaptionedFile, Outcome
from wordgaze.captioning.xmp.merge import AltText, Existing
from wordgaze.captioning.xmp.write import Where, write_alt_text
from wordgaze.data.listing import STDIN, Photo
from wordgaze.errors import ConfigError, PhotoError
from wordgaze.files import remove_leftovers
from wordgaze.hub import local_folder

# What stands in for a caption while it is found out whether one is wanted.
_ANY = AltText("any", "any", "any")


@dataclass(frozen=True)
class AltTextSettings:
    """Where alt texts go, what becomes of those that are there, and how sure a caption must be (None: any)."""

    where: Where
    existing: Existing = "skip"
    min_confidence: float | None = None


class AltTexts:
    """A sink of alt texts, in the photos or in their XMP sidecars.

    ``model``: as it was named, of which a photo gets no more than a folder's own name.
    """

    name = "alt text"

    def __init__(self, settings: AltTextSettings, model: str | None, fingerprint: str) -> None:
        self._settings, self._model, self._fingerprint = settings, _shown_model(model), fingerprint

    def prepare(self, photos: Sequence[Photo]) -> None:
        """Raise ConfigError for stdin; remove what a run that was killed left."""
        if STDIN in photos:
            raise ConfigError("A photo on stdin has no metadata to write into; save it in a file, or leave out --xmp.")
        remove_leftovers({Path(photo).parent for photo in photos})

    def check(self, photo: Photo) -> Outcome | None:
        """Return what becomes of a photo that has an alt text, or can't get one; None if it needs one."""
        outcome = self._write(photo, _ANY, dry_run=True)
        return None if outcome.status == "written" else outcome

    def write(self, captioned: CaptionedFile) -> Outcome:
        """Write an alt text, if the caption is sure enough; raise OSError where no later one could be, either."""
        caption, least = captioned.caption, self._settings.min_confidence
        if caption is None:
            return Outcome("failed", captioned.error)
        if not str(caption).strip():
            return EMPTY
        if least is not None and (caption.confidence is None or caption.confidence < least):
            # Of a photo that needs none nobody asks.
            if (outcome := self.check(captioned.file)) is not None:
                return outcome
            unsure = f"unsure ({caption.confidence:.2f}), so not written: {caption}"
            return Outcome("unsure", messages=(unsure,))
        return self._write(captioned.file, AltText(str(caption), self._model, self._fingerprint, caption.confidence))

    def finish(self, *, complete: bool) -> None:
        """Do nothing: each photo is whole."""

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _write(self, file: Photo, alt: AltText, *, dry_run: bool = False) -> Outcome:
        settings = self._settings
        try:
            result = write_alt_text(file, alt, settings.where, settings.existing, dry_run=dry_run)
        except PhotoError as error:
            return Outcome("failed", str(error), (str(error),))
        except OSError as error:
            if error.errno in FATAL:
                raise
            message = f"can't be written to ({error.strerror}); check its permissions"
            return Outcome("failed", message, (message,))
        return Outcome(result.status, messages=() if result.message is None else (result.message,))


def _shown_model(model: str | None) -> str:
    """Return a model's name without the folders of this machine: who gets a photo need not know them."""
    if model is None:
        return "wordgaze bundled"
    folder = local_folder(model)
    return model if folder is None else folder.resolve().name
