"""Photos with their captions as tensors: one photo an item, several captions each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from wordgaze.data.annotations import CaptionedPhoto
from wordgaze.data.photos import open_photo
from wordgaze.data.transform import PhotoTransform, TrainTransform, swap_left_right
from wordgaze.errors import DataError, PhotoError

IGNORED = -100  # cross-entropy's ignore_index
Encode = Callable[[str], list[int]]


@dataclass
class TrainingItem:
    """``pixel_values`` (3, H, W) and the ids of its captions, start and end tokens included."""

    pixel_values: Tensor
    captions: list[list[int]]


@dataclass
class TrainingBatch:
    """``pixel_values`` (B, 3, H, W); ``input_ids`` and ``labels`` (B·C, T), the labels one id ahead, IGNORED behind the end."""

    pixel_values: Tensor
    input_ids: Tensor
    labels: Tensor


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
    ) -> None:
        self.photos = photos
        self.encode = encode
        self.transform = transform
        self.captions_per_photo = captions_per_photo
        self.seed = seed

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, place: tuple[int, int]) -> TrainingItem:
        epoch, index = place
        rng = np.random.default_rng((self.seed, epoch, index))
        photo = self.photos[index]
        pixel_values, flipped = self.transform(_open(photo), rng)
        captions = choose(photo.captions, self.captions_per_photo, rng)
        if flipped:
            captions = [swap_left_right(caption) for caption in captions]
        return TrainingItem(pixel_values, [self.encode(caption) for caption in captions])


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
    """(epoch, index) in an order that the seed and the epoch determine, so that a stopped epoch can go on where it was."""

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0
        self._skip = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def resume(self, epoch: int, items: int) -> None:
        """The first ``items`` of ``epoch`` have been seen."""
        self._skip = (epoch, items)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length).tolist()
        first = self._skip[1] if self._skip[0] == self.epoch else 0
        return iter([(self.epoch, index) for index in order[first:]])


def choose(captions: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different captions, or each as often as it takes when there are fewer."""
    order = [captions[i] for i in rng.permutation(len(captions))]
    return [order[i % len(order)] for i in range(count)]


def collate_training(items: Sequence[TrainingItem], pad_id: int) -> TrainingBatch:
    """Pads the captions on the right; a causal decoder never looks there."""
    rows = [row for item in items for row in item.captions]
    length = max(len(row) for row in rows) - 1
    input_ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORED)
    for place, row in enumerate(rows):
        input_ids[place, : len(row) - 1] = torch.tensor(row[:-1])
        labels[place, : len(row) - 1] = torch.tensor(row[1:])
    return TrainingBatch(torch.stack([item.pixel_values for item in items]), input_ids, labels)


def collate_photos(items: Sequence[tuple[Tensor, int]]) -> PhotoBatch:
    return PhotoBatch(torch.stack([pixels for pixels, _ in items]), [index for _, index in items])


def _open(photo: CaptionedPhoto):  # type: ignore[no-untyped-def]
    try:
        return open_photo(photo.path)
    except PhotoError as error:
        raise DataError(f"The photo {photo.path} can't be used: {error}") from error
