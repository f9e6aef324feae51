"""The photos of a run that resumes: those that it began with, though some can't be read any more.

The order of batches depends on how many photos there are. So what was left out when the run began stays out, and what
can't be read any more keeps its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wordgaze.data.captions import CaptionSet
from wordgaze.data.photo_table import PhotoTable
from wordgaze.errors import DataError
from wordgaze.training.usable import named

STATE_KEY = "CaptionDataModule"
"""Where Lightning puts the data module's state in a checkpoint."""


@dataclass(frozen=True)
class KeptPhotos:
    """How many photos each set had when the run began, the training set first, and the paths that it left out."""

    counts: list[int]
    left_out: list[str]

    @classmethod
    def of(cls, sets: Sequence[CaptionSet], broken: Mapping[Path, str]) -> KeptPhotos:
        """Return the state of a run that begins with ``sets``, which are without their ``broken`` photos."""
        return cls([len(captions) for captions in sets], sorted(map(str, broken)))

    @classmethod
    def in_checkpoint(cls, checkpoint: Mapping[str, Any] | None) -> KeptPhotos | None:
        """Return the state in a checkpoint; None where there is none, as older versions wrote it."""
        state = (checkpoint or {}).get(STATE_KEY, {}).get("kept_photos")
        return None if state is None else cls(**state)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def choose(
        self, sets: Sequence[CaptionSet], broken: Mapping[Path, str], on_message: Callable[[str], None]
    ) -> list[CaptionSet]:
        """Return the sets as they were when the run began; raise DataError where they can't be had.

        ``broken``: the photos that can't be read now; those that could be are named in ``on_message``.
        """
        left_out = set(self.left_out)
        if left_out:
            on_message(f"left out, {len(left_out):,} photos that could not be read when the run began")
        lost = {path: reason for path, reason in broken.items() if str(path) not in left_out}
        chosen = []
        for index, (captions, count) in enumerate(zip(sets, self.counts, strict=True)):
            photos = PhotoTable(photo for photo in captions if str(photo.path) not in left_out)
            if len(photos) != count:
                raise DataError(
                    f"The sources hold {len(photos):,} {'validation' if index else 'training'} photos now, but the run "
                    f"began with {count:,}; put their files back as they were to resume, choose another --out, or give "
                    "--restart to start over."
                )
            if all(photo.path in lost for photo in photos):
                raise DataError(f"None of the {count:,} photos can be read any more: {named(list(lost), lost)}.")
            chosen.append(replace(captions, photos=photos))
        if lost:
            on_message(
                f"{len(lost):,} photos of the run can't be read any more, and others take their places, so that the "
                f"order of batches stays: {named(list(lost), lost)}"
            )
        return chosen
