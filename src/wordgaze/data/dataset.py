"""Photos with their captions as tensors: one photo an item, several captions each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from wordgaze.data.annotations import CaptionedPhoto
from wordgaze.data.photos import open_photo
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

    ``photo`` is its place in the set, ``flipped`` whether this view is mirrored.
    """

    inputs: Tensor
    captions: list[list[int]]
    photo: int
    flipped: bool


@dataclass
class TrainingBatch:
    """A batch as the model takes it.

    ``inputs``: pixel_values (B, 3, H, W), or the frozen layers' output (B, ...); ``input_ids`` and ``labels`` (B·C, T),
    the labels one id ahead, IGNORED behind the end; ``photos`` and ``flipped`` as of the items (B).
    """

    inputs: Tensor
    input_ids: Tensor
    labels: Tensor
    photos: list[int]
    flipped: list[bool]


@dataclass
class PhotoBatch:
    """``pixel_values`` (B, 3, H, W) and where each photo stands in its set."""

    pixel_values: Tensor
    indices: list[int]


class TrainingDataset(Dataset[TrainingItem]):
    """Items are asked for as (epoch, index); what is random in one depends on ``seed`` and these two alone."""

    def __init__(
        self,
        photos: Sequence[CaptionedPhoto],
        encode: Encode,
        transform: TrainTransform,
        captions_per_photo: int,
        seed: int,
        stored: Stored | None = None,
    ) -> None:
        self.photos = photos
        self.encode = encode
        self.transform = transform
        self.captions_per_photo = captions_per_photo
        self.seed = seed
        self.stored = stored

    def __len__(self) -> int:
        return len(self.photos)

    def view(self, epoch: int, index: int) -> tuple[Tensor, bool]:
        """The photo's ``pixel_values`` (3, H, W) in that epoch, and whether it is mirrored."""
        return self.transform(_open(self.photos[index]), np.random.default_rng((self.seed, epoch, index, 0)))

    def __getitem__(self, place: tuple[int, int]) -> TrainingItem:
        epoch, index = place
        inputs, flipped = (self.stored or self.view)(epoch, index)
        rng = np.random.default_rng((self.seed, epoch, index, 1))
        captions = choose(self.photos[index].captions, self.captions_per_photo, rng)
        if flipped:
            captions = [swap_left_right(caption) for caption in captions]
        return TrainingItem(inputs, [self.encode(caption) for caption in captions], index, flipped)


class ValidationDataset(Dataset[tuple[Tensor, int]]):
    """(pixel_values (3, H, W), index), as captioning would see them."""

    def __init__(self, photos: Sequence[CaptionedPhoto], transform: PhotoTransform) -> None:
        self.photos = photos
        self.transform = transform

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(_open(self.photos[index]))[0], index


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) in an order that seed and epoch determine, so that a stopped epoch can go on where it was."""

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0
        self.rank, self.world_size = 0, 1
        self._skip = (0, 0)

    def share(self, rank: int, world_size: int) -> None:
        """Of several devices, each takes every ``world_size``-th item."""
        self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def resume(self, epoch: int, items: int) -> None:
        """The first ``items`` of ``epoch``, on each device, have been seen."""
        self._skip = (epoch, items)

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length).tolist()
        mine = order[self.rank :: self.world_size][: len(self)]
        first = self._skip[1] if self._skip[0] == self.epoch else 0
        return iter([(self.epoch, index) for index in mine[first:]])


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


def collate_photos(items: Sequence[tuple[Tensor, int]]) -> PhotoBatch:
    return PhotoBatch(torch.stack([pixels for pixels, _ in items]), [index for _, index in items])


def _open(photo: CaptionedPhoto) -> Image.Image:
    try:
        return open_photo(photo.path)
    except PhotoError as error:
        raise DataError(f"The photo {photo.path} can't be used: {error}") from error
