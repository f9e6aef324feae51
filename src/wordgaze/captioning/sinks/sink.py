"""What a place for captions does, and what becomes of a photo there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from wordgaze.data.listing import Photo
from wordgaze.generation.caption import Caption

Status = Literal["written", "skipped", "kept", "unsure", "failed"]


@dataclass(frozen=True)
class CaptionedFile:
    """A photo's file with its caption or its error; ``warnings`` tell what may be wrong.

    ``file``: as :func:`wordgaze.data.listing.as_photo` returns it.
    """

    file: Photo
    caption: Caption | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what ``wordgaze caption --json`` prints."""
        values = {"error": self.error} if self.caption is None else self.caption.to_dict()
        warnings = {"warnings": list(self.warnings)} if self.warnings else {}
        return {"file": str(self.file), **values, **warnings}


@dataclass(frozen=True)
class Outcome:
    """What became of a photo in a sink.

    ``status``: ``written``, ``skipped`` (it was done before), ``kept`` (what a person wrote), ``unsure`` or ``failed``,
    for the ``reason``. ``messages``: what a person should know besides.
    """

    status: Status
    reason: str | None = None
    messages: tuple[str, ...] = ()


class Sink(Protocol):
    """A place for captions, which a run that was killed finds again."""

    @property
    def name(self) -> str:
        """Return what the summary calls it."""

    def prepare(self, photos: Sequence[Photo]) -> None:
        """Check all that can be checked before a caption is made, and find what was done; raise ConfigError."""

    def check(self, photo: Photo) -> Outcome | None:
        """Return what becomes of a photo that needs no caption here; None if it needs one."""

    def write(self, captioned: CaptionedFile) -> Outcome:
        """Write a caption, if the photo needs one; raise OSError where no later one could be written either."""

    def finish(self, *, complete: bool) -> None:
        """End a run, which is ``complete`` unless it was stopped. May raise OSError."""

    def close(self) -> None:
        """Let go of what is open, also after an error."""


EMPTY = Outcome("failed", "got an empty caption, which is not written")
