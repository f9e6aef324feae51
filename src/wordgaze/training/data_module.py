"""The batches of a training run, as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import PhotoTransform
from wordgaze.training.dataset import (
    Encode,
    EpochSampler,
    PhotoViews,
    TrainingDataset,
    ValidationDataset,
    Views,
    collate_photos,
    collate_training,
    row_groups_of,
)


class CaptionDataModule(LightningDataModule):
    """Training photos, and named sets of validation photos, one loader each, in the order of ``validation``.

    ``views`` give what is seen of the training photos. A validation photo that can't be read raises no error, but is
    named in its batch: the scores of a validation are not lost for one of its photos. ``state`` is what a run must know
    to resume with the same batches; it is in the checkpoints.
    """

    def __init__(
        self,
        train: Sequence[CaptionedPhoto],
        validation: Mapping[str, Sequence[CaptionedPhoto]],
        views: Views,
        *,
        state: Mapping[str, Any] | None = None,
        encode: Encode,
        pad_id: int,
        transform: PhotoTransform,
        batch_size: int,
        captions_per_photo: int,
        max_length: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.views = views
        self.state = dict(state or {})
        self.train_set = TrainingDataset(train, views, encode, captions_per_photo, seed)
        self.validation_sets = {name: ValidationDataset(photos, transform) for name, photos in validation.items()}
        self.sampler = EpochSampler(len(self.train_set), seed, row_groups_of(train))
        self.pad_id = pad_id
        self.batch_size = batch_size
        self.max_length = max_length
        self.workers = workers
        self._resumed: tuple[int, int] | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of batches on one device."""
        return len(self.train_set) // self.batch_size

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def resume(self, epoch: int, batches: int) -> None:
        """Resume in ``epoch`` after its first ``batches``."""
        self._resumed = epoch, batches
        self._pass_on_resumed()

    def setup(self, stage: str) -> None:
        """Take this device's share of the photos; Lightning calls this on each device."""
        if self.trainer is not None:
            self.sampler.share(self.trainer.global_rank, self.trainer.world_size)
            if self.trainer.world_size > 1 and isinstance(self.views, PhotoViews):
                # An error in one process would leave the others waiting: the run's BrokenPhotos ends all together.
                self.views.skip_broken = True
        self._pass_on_resumed()

    def _pass_on_resumed(self) -> None:
        if self._resumed is not None:
            epoch, batches = self._resumed
            over = batches >= len(self.sampler) // self.batch_size  # of this device's share, once it is known
            self.sampler.resume(epoch, batches * self.batch_size, over)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            self.train_set,
            batch_size=self.batch_size,
            sampler=self.sampler,
            drop_last=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            generator=torch.Generator(),  # its own: dropout's random numbers must not depend on when a loader is made
            collate_fn=partial(collate_training, pad_id=self.pad_id, max_length=self.max_length),
        )

    def _share(self, photos: int) -> range:
        """Return the indices of this device's validation photos: its own ones, or the last where there is none for it.

        Lightning refuses a loader without photos. A photo's caption counts once, however many have written it.
        """
        return range(self.sampler.rank, photos, self.sampler.world_size) or range(photos - 1, photos)

    def val_dataloader(self) -> list[DataLoader]:
        return [
            DataLoader(
                photos,
                batch_size=2 * self.batch_size,
                sampler=self._share(len(photos)),
                num_workers=self.workers,
                generator=torch.Generator(),
                collate_fn=collate_photos,
            )
            for photos in self.validation_sets.values()
        ]
