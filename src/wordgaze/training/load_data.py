"""The photos and captions of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wordgaze.data.captions import CaptionSet, load_sources
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import DataError
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.callbacks import OnMessage
from wordgaze.training.config import DataOptions
from wordgaze.training.drawn import DrawnSources
from wordgaze.training.kept_photos import KeptPhotos
from wordgaze.training.leak import describe_leaks
from wordgaze.training.usable import find_broken, without_broken, without_empty


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from, and what it is validated on, by the sets' names: all of these photos can be read.

    ``drawn``: the scenes among them, which are still to be moved into the run's folder. ``kept``: what a run that
    resumes must know of them.
    """

    training: CaptionSet
    validation: dict[str, CaptionSet]
    options: DataOptions
    drawn: DrawnSources
    kept: KeptPhotos

    @property
    def captions(self) -> int:
        """Return the number of captions to learn from."""
        return sum(len(photo.captions) for photo in self.training)

    @property
    def validation_photos(self) -> dict[str, Sequence[CaptionedPhoto]]:
        return {name: captions.photos for name, captions in self.validation.items()}

    def without_empty(self, tokenizer: CaptionTokenizer, on_message: OnMessage) -> TrainingData:
        """Return the data without captions of which the tokenizer leaves no word; raise DataError for too few."""
        training = without_empty(self.training, tokenizer, on_message)
        if len(training) < self.options.batch_size:
            raise DataError(
                f"{len(training)} training photos do not fill a batch of {self.options.batch_size}; lower it."
            )
        return replace(self, training=training)


def load_data(
    options: DataOptions, drawn: DrawnSources, on_message: OnMessage, kept: KeptPhotos | None = None
) -> TrainingData:
    """Load the sources; draw those of drawn scenes; leave out photos that can't be read, or raise DataError.

    ``kept``: those of a run that resumes, which are to be the same.
    """
    skip = options.on_broken == "skip"
    check_files = not skip or kept is None  # else a photo that has vanished is one that can't be read
    training = load_sources([drawn.source(source) for source in options.train], check_files=check_files)
    validation = {
        name: load_sources([drawn.source(source)], check_files=check_files)
        for name, source in options.validation.items()
    }
    sets = (training, *validation.values())
    photos = (photo for captions in sets for photo in captions)
    broken = find_broken((photo for photo in photos if not drawn.holds(photo.path)), on_message)
    if kept is None or (broken and not skip):
        usable = [without_broken(photos, broken, skip, on_message) for photos in sets]
        kept = KeptPhotos.of(usable, broken)
    else:
        usable = kept.choose(sets, broken, on_message)
    for line in describe_leaks(usable[0], dict(zip(validation, usable[1:], strict=True)), drawn.holds):
        on_message(line)
    training, *others = map(drawn.settled, usable)
    return TrainingData(training, dict(zip(validation, others, strict=True)), options, drawn, kept)
