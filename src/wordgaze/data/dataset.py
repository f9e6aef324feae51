"""Photos with their captions as tensors: one photo an item, several captions each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from wordgaze.data.photos import open_photo
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import PhotoTransform, TrainTransform, swap_left_right
from wordgaze.errors import DataError, PhotoError

IGNORED = -100  # cross-entropy's ignore_index
Encode = Callable[[str], list[int]]
Stored = Callable[
    [int, int], tuple[Tensor, bool]
]  # (epoch, index) → what a cache holds of a view, and whether it is mirrored


@dataclass
class TrainingItem:
    """``inputs``: pixel_values (3, H, W), or the frozen layers' output; the ids of captions, start and end included.

    ``photo`` is its place in the set, ``flipped`` whether this view is mirrored, ``broken`` why others, by their paths,
    could not be read, which this one stands in for.
    """

    inputs: Tensor
    captions: list[list[int]]
    photo: int
    flipped: bool
    broken: dict[Path, str] = field(default_factory=dict)


@dataclass
class TrainingBatch:
    """A batch as the model takes it.

    ``inputs``: pixel_values (B, 3, H, W), or the frozen layers' output (B, ...); ``input_ids`` and ``labels`` (B·C, T),
    the labels one id ahead, IGNORED behind the end; ``photos``, ``flipped`` (B) and ``broken`` as of the items.
    """

    inputs: Tensor
    input_ids: Tensor
    labels: Tensor
    photos: list[int]
    flipped: list[bool]
    broken: dict[Path, str] = field(default_factory=dict)


@dataclass
class PhotoBatch:
    """``pixel_values`` (B, 3, H, W), where each photo stands in its set, and why some, by index, could not be read."""

    pixel_values: Tensor
    indices: list[int]
    broken: dict[int, str] = field(default_factory=dict)


class TrainingDataset(Dataset[TrainingItem]):
    """Items are asked for as (epoch, index); what is random in one depends on ``seed`` and these two alone.

    In place of a photo that can't be read comes the next one that can, with ``skip_broken``: ``replaced`` holds where
    it stands. So a run that was stopped sees the same photos as one that was not.
    """

    def __init__(
        self,
        photos: Sequence[CaptionedPhoto],
        encode: Encode,
        transform: TrainTransform,
        captions_per_photo: int,
        seed: int,
        stored: Stored | None = None,
        skip_broken: bool = False,
    ) -> None:
        self.photos = photos
        self.encode = encode
        self.transform = transform
        self.captions_per_photo = captions_per_photo
        self.seed = seed
        self.stored = stored
        self.skip_broken = skip_broken
        self.replaced: dict[int, int] = {}
        self._unsaid: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self.photos)

    def view(self, epoch: int, index: int) -> tuple[Tensor, bool]:
        """The photo's ``pixel_values`` (3, H, W) in that epoch, and whether it is mirrored."""
        return self.transform(self._open(index), np.random.default_rng((self.seed, epoch, index, 0)))

    def _open(self, index: int) -> Image.Image:
        """The photo, or the next one that can be read."""
        place = self.replaced.get(index, index)
        for _ in self.photos:
            try:
                photo = open_photo(self.photos[place].path, on_warning=_say_nothing)
            except PhotoError as error:
                if not self.skip_broken:
                    raise _unusable(self.photos[place], error) from error
                self._unsaid[self.photos[place].path] = str(error)
                place = (place + 1) % len(self.photos)
            else:
                if place != index:
                    self.replaced[index] = place
                return photo
        raise DataError(f"None of the {len(self.photos):,} training photos can be read any more.")

    def __getitem__(self, place: tuple[int, int]) -> TrainingItem:
        epoch, index = place
        inputs, flipped = (self.stored or self.view)(epoch, index)
        rng = np.random.default_rng((self.seed, epoch, index, 1))
        index = self.replaced.get(index, index)
        broken, self._unsaid = self._unsaid, {}
        captions = choose(self.photos[index].captions, self.captions_per_photo, rng)
        if flipped:
            captions = [swap_left_right(caption) for caption in captions]
        return TrainingItem(inputs, [self.encode(caption) for caption in captions], index, flipped, broken)


class ValidationDataset(Dataset[tuple[Tensor, int, "str | None"]]):
    """(pixel_values (3, H, W), index, why it can't be read or None), as captioning would see them."""

    def __init__(self, photos: Sequence[CaptionedPhoto], transform: PhotoTransform) -> None:
        self.photos = photos
        self.transform = transform

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, int, str | None]:
        try:
            photo = open_photo(self.photos[index].path, on_warning=_say_nothing)
            return self.transform(photo)[0], index, None
        except PhotoError as error:
            return torch.zeros(3, *self.transform.preprocessing.size), index, str(error)


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) in an order that seed and epoch determine, so that a stopped epoch can go on where it was."""

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0
        self.rank, self.world_size = 0, 1
        self._skip = (0, 0)
        self._over: int | None = None

    def share(self, rank: int, world_size: int) -> None:
        """Of several devices, each takes every ``world_size``-th item."""
        self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def resume(self, epoch: int, items: int, over: bool = False) -> None:
        """The first ``items`` of ``epoch``, on each device, have been seen; if it is ``over``, the next one begins.

        Worker processes ask for their first batches before Lightning has told which epoch it is.
        """
        self._skip, self._over = (epoch, items), epoch if over else None

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch + (self.epoch == self._over)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.length).tolist()
        mine = order[self.rank :: self.world_size][: len(self)]
        first = self._skip[1] if self._skip[0] == epoch else 0
        return iter([(epoch, index) for index in mine[first:]])


def choose(captions: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different captions, or each as often as it takes when there are fewer."""
    order = [captions[i] for i in rng.permutation(len(captions))]
    return [order[i % len(order)] for i in range(count)]


def collate_training(items: Sequence[TrainingItem], pad_id: int, max_length: int) -> TrainingBatch:
    """Pads the captions on the right, where a causal decoder never looks; a caption over ``max_length`` loses its end.

    Few captions are long, and a batch costs as much as its longest. A cut one has no end: nothing false is taught.
    """
    input_ids, labels = pad_captions(
        [row[: max_length + 1] for item in items for row in item.captions], pad_id
    )
    return TrainingBatch(
        torch.stack([item.inputs for item in items]),
        input_ids,
        labels,
        [item.photo for item in items],
        [item.flipped for item in items],
        {path: reason for item in items for path, reason in item.broken.items()},
    )


def pad_captions(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """``input_ids`` and ``labels`` (R, T) of R captions' ids, start included."""
    length = max(len(row) for row in rows) - 1
    input_ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORED)
    for place, row in enumerate(rows):
        input_ids[place, : len(row) - 1] = torch.tensor(row[:-1])
        labels[place, : len(row) - 1] = torch.tensor(row[1:])
    return input_ids, labels


def collate_photos(items: Sequence[tuple[Tensor, int, str | None]]) -> PhotoBatch:
    broken = {index: reason for _, index, reason in items if reason is not None}
    return PhotoBatch(
        torch.stack([pixels for pixels, _, _ in items]), [index for _, index, _ in items], broken
    )


def _say_nothing(warning: str) -> None:
    """What is odd about a photo was said when the run began."""


def _unusable(photo: CaptionedPhoto, error: PhotoError) -> DataError:
    return DataError(
        f"The photo {photo.path} can't be used: it {error}; or set data.on_broken to skip, to train without it."
    )
