"""What a check of captioned photos finds: its kinds, and one finding."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """A kind of finding. ``wrong``: it spoils a training or a score; else it is doubtful, for a person to judge."""

    one: str
    many: str
    wrong: bool
    remedy: str

    def counted(self, count: int) -> str:
        """Return ``1 missing photo`` or ``1,200 missing photos``."""
        return f"{count:,} {self.one if count == 1 else self.many}"


_WRONG, _DOUBTFUL = True, False

KINDS: dict[str, Kind] = {
    "broken-file": Kind("file that can't be read", "files that can't be read", _WRONG, "mend it, and check again"),
    "broken-entry": Kind("entry that can't be read", "entries that can't be read", _WRONG, "correct or delete"),
    "missing-photo": Kind("missing photo", "missing photos", _WRONG, "get them, or name their folder with --root"),
    "unreadable-photo": Kind("unreadable photo", "unreadable photos", _WRONG, "get them again, or leave them out"),
    "odd-photo": Kind(
        "photo that looks damaged or empty", "photos that look damaged or empty", _DOUBTFUL, "look at them"
    ),
    "no-caption": Kind("photo without a caption", "photos without a caption", _WRONG, "write one, or leave them out"),
    "empty-caption": Kind("empty caption", "empty captions", _WRONG, "write them, or leave them out"),
    "not-text": Kind("caption that is no text", "captions that are no text", _WRONG, "write them, or leave them out"),
    "encoding": Kind(
        "caption in a wrong encoding", "captions in a wrong encoding", _WRONG, "write the file again, as UTF-8"
    ),
    "duplicate-caption": Kind("caption that repeats another", "captions that repeat another", _WRONG, "leave them out"),
    "across-splits": Kind(
        "photo that is in two splits", "photos that are in two splits", _WRONG, "leave them out of the training set"
    ),
    "same-photo": Kind("photo that is there twice", "photos that are there twice", _WRONG, "leave out the second"),
    "near-duplicate": Kind("near-duplicate", "near-duplicates", _DOUBTFUL, "look at them"),
    "long-caption": Kind("very long caption", "very long captions", _DOUBTFUL, "shorten them, for training cuts them"),
    "common-caption": Kind("caption of many photos", "captions of many photos", _DOUBTFUL, "write what differs"),
    "other-language": Kind(
        "caption in another language", "captions in another language", _DOUBTFUL, "translate them, or leave them out"
    ),
}
"""The kinds by name, in the order in which they are reported."""


@dataclass(frozen=True)
class Finding:
    """One finding: its kind, the file that it is about, and a clause on it.

    ``photo``: the index of the photo in its set, None where it is about the annotations. ``caption``: the index of the
    caption of the photo. ``other``: a second photo's file, as of two that are the same. ``photos``: all files of a
    caption that many photos have.
    """

    kind: str
    file: str
    message: str
    photo: int | None = None
    caption: int | None = None
    other: str | None = None
    photos: tuple[str, ...] = field(default=())

    @property
    def wrong(self) -> bool:
        return KINDS[self.kind].wrong

    def to_dict(self) -> dict[str, object]:
        """Return the finding for JSON."""
        values: dict[str, object] = {"kind": self.kind, "wrong": self.wrong, "file": self.file, "message": self.message}
        if self.caption is not None:
            values["caption"] = self.caption
        if self.other is not None:
            values["other"] = self.other
        if self.photos:
            values["photos"] = list(self.photos)
        return values
