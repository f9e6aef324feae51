"""Photos with their captions as tensors: one photo an item, several captions each."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from wordgaze.data.packed import ParquetPhoto
from wordgaze.data.photos import open_photo
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import PhotoTransform
from wordgaze.errors import DataError, PhotoError
from wordgaze.text.left_right import swap_left_right
from wordgaze.training.augmentation import TrainTransform

ROW_GROUPS = 8
"""Row groups of Parquet files whose photos are shuffled together."""
IGNORED = -100  # cross-entropy's ignore_index
Encode = Callable[[str], list[int]]


@dataclass
class View:
    """What a training step sees of a photo: ``pixel_values`` (3, H, W), or what frozen layers have put out for them.

    ``photo`` is the index of the photo that is seen: another one than was asked for where that can't be read. Then
    ``broken`` says why, by path, where nobody has said so yet.
    """

    inputs: Tensor
    flipped: bool
    photo: int
    broken: dict[Path, str] = field(default_factory=dict)


Views = Callable[[int, int], View]
"""(epoch, index of a photo) → what is seen of it in that epoch."""


class PhotoViews:
    """Random views of ``photos``: what is random in one depends on ``seed``, epoch and index alone.

    In place of a photo that can't be read comes the next one that can, with ``skip_broken``. So a run that was stopped
    sees the same photos as one that was not.
    """

    def __init__(
        self, photos: Sequence[CaptionedPhoto], transform: TrainTransform, seed: int, skip_broken: bool = False
    ) -> None:
        self.photos = photos
        self.transform = transform
        self.seed = seed
        self.skip_broken = skip_broken
        self._readable: dict[int, int] = {}  # index of a broken photo → of the one in its place
        self._unreported: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self.photos)

    def __call__(self, epoch: int, index: int) -> View:
        photo, image = self._open(index)
        pixel_values, flipped = self.transform(image, np.random.default_rng((self.seed, epoch, index, 0)))
        broken, self._unreported = self._unreported, {}
        return View(pixel_values, flipped, photo, broken)

    def _open(self, index: int) -> tuple[int, Image.Image]:
        """Return the photo, or the next one that can be read, with its index."""
        photo = self._readable.get(index, index)
        for _ in range(len(self)):
            captioned = self.photos[photo]
            try:
                image = open_photo(captioned.source, on_warning=_ignore)
            except PhotoError as error:
                if not self.skip_broken:
                    raise _unusable(captioned.path, error) from error
                self._unreported[captioned.path] = str(error)
                photo = (photo + 1) % len(self.photos)
            else:
                if photo != index:
                    self._readable[index] = photo
                return photo, image
        raise DataError(f"None of the {len(self.photos):,} training photos can be read any more.")


@dataclass
class TrainingItem:
    """A view of a photo, and the ids of its captions, start and end included."""

    view: View
    captions: list[list[int]]


@dataclass
class TrainingBatch:
    """A batch as the model takes it.

    ``inputs``: pixel_values (B, 3, H, W), or the frozen layers' output (B, ...); ``input_ids`` and ``labels`` (B·C, T),
    the labels one id ahead, IGNORED after the end; ``photos``, ``flipped`` (B) and ``broken`` as of the views.
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
    """Items are asked for as (epoch, index); what is random in one depends on ``seed`` and these two alone."""

    def __init__(
        self,
        photos: Sequence[CaptionedPhoto],
        views: Views,
        encode: Encode,
        captions_per_photo: int,
        seed: int,
    ) -> None:
        self.photos = photos
        self.views = views
        self.encode = encode
        self.captions_per_photo = captions_per_photo
        self.seed = seed

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, position: tuple[int, int]) -> TrainingItem:
        epoch, index = position
        view = self.views(epoch, index)
        rng = np.random.default_rng((self.seed, epoch, index, 1))
        captions = choose(self.photos[view.photo].captions, self.captions_per_photo, rng)
        if view.flipped:
            captions = [swap_left_right(caption) for caption in captions]
        return TrainingItem(view, [self.encode(caption) for caption in captions])


class ValidationDataset(Dataset[tuple[Tensor, int, "str | None"]]):
    """Holds (pixel_values (3, H, W), index, why it can't be read or None), as captioning would see the photos."""

    def __init__(self, photos: Sequence[CaptionedPhoto], transform: PhotoTransform) -> None:
        self.photos = photos
        self.transform = transform

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, int, str | None]:
        try:
            photo = open_photo(self.photos[index].source, on_warning=_ignore)
            return self.transform(photo)[0], index, None
        except PhotoError as error:
            return torch.zeros(3, *self.transform.preprocessing.size), index, str(error)


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) in an order that seed and epoch determine, so that a stopped epoch resumes where it was.

    With ``row_groups``, of each item, those of a few row groups come together; see :func:`row_groups_of`.
    """

    def __init__(self, length: int, seed: int, row_groups: np.ndarray | None = None) -> None:
        self.length = length
        self.row_groups = row_groups
        self.seed = seed
        self.epoch = 0
        self.rank, self.world_size = 0, 1
        self._skip = (0, 0)
        self._over: int | None = None

    def share(self, rank: int, world_size: int) -> None:
        """Take every ``world_size``-th item, as one of several devices."""
        self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each."""
        self.epoch = epoch

    def resume(self, epoch: int, items: int, over: bool = False) -> None:
        """Leave out the first ``items`` of ``epoch`` on each device; begin with the next epoch if it is ``over``.

        Worker processes ask for their first batches before Lightning has told which epoch it is.
        """
        self._skip, self._over = (epoch, items), epoch if over else None

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch + (self.epoch == self._over)
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.length)
        if self.row_groups is not None:
            order = _by_row_groups(order, self.row_groups, rng)
        mine = order.tolist()[self.rank :: self.world_size][: len(self)]
        first = self._skip[1] if self._skip[0] == epoch else 0
        return iter([(epoch, index) for index in mine[first:]])


def row_groups_of(photos: Iterable[CaptionedPhoto]) -> np.ndarray | None:
    """Return which row group of a Parquet file each photo is in, by a number; None where none is in any.

    A row group is read whole for one of its photos. So an epoch goes through them a few at a time, in random order; the
    photos that are in none are spread over them.
    """
    numbers: dict[tuple[str, int], int] = {}
    groups = array("q")
    for photo in photos:
        packed = photo.packed
        if isinstance(packed, ParquetPhoto):
            groups.append(numbers.setdefault((packed.file, packed.group), len(numbers)))
        else:
            groups.append(-1)
    if not numbers:
        return None
    result = np.array(groups, np.int64)
    alone = result < 0
    result[alone] = np.arange(alone.sum()) % len(numbers)
    return result


def _by_row_groups(order: np.ndarray, row_groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ``order`` with the items of ROW_GROUPS row groups together, these in random order."""
    turn = rng.permutation(row_groups.max() + 1) // ROW_GROUPS
    return order[np.argsort(turn[row_groups[order]], kind="stable")]


def choose(captions: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return ``count`` different captions, or the same ones repeated where there are fewer."""
    order = [captions[i] for i in rng.permutation(len(captions))]
    return [order[i % len(order)] for i in range(count)]


def collate_training(items: Sequence[TrainingItem], pad_id: int, max_length: int) -> TrainingBatch:
    """Pad the captions on the right, where a causal decoder never looks; cut those over ``max_length``.

    Few captions are long, and a batch costs as much as its longest. A cut one has no end: nothing false is taught.
    """
    input_ids, labels = pad_captions([row[: max_length + 1] for item in items for row in item.captions], pad_id)
    views = [item.view for item in items]
    return TrainingBatch(
        torch.stack([view.inputs for view in views]),
        input_ids,
        labels,
        [view.photo for view in views],
        [view.flipped for view in views],
        {path: reason for view in views for path, reason in view.broken.items()},
    )


def pad_captions(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return ``input_ids`` and ``labels`` (R, T) of R captions' ids, start included."""
    length = max(len(row) for row in rows) - 1
    input_ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORED)
    for number, row in enumerate(rows):
        input_ids[number, : len(row) - 1] = torch.tensor(row[:-1])
        labels[number, : len(row) - 1] = torch.tensor(row[1:])
    return input_ids, labels


def collate_photos(items: Sequence[tuple[Tensor, int, str | None]]) -> PhotoBatch:
    """Return a batch of a :class:`ValidationDataset`'s items."""
    broken = {index: reason for _, index, reason in items if reason is not None}
    pixel_values = torch.stack([pixels for pixels, _, _ in items])
    return PhotoBatch(pixel_values, [index for _, index, _ in items], broken)


def _ignore(warning: str) -> None:
    """Ignore what is odd about a photo: it was said when the run began."""


def _unusable(path: Path, error: PhotoError) -> DataError:
    return DataError(f"The photo {path} can't be used: it {error}; or set data.on_broken to skip, to train without it.")
