"""The batches of a training run, as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

# Before Lightning, which imports torchvision.
from wordgaze import compat as compat

# isort: split
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from wordgaze.data.dataset import (
    Encode,
    EpochSampler,
    TrainingDataset,
    ValidationDataset,
    collate_photos,
    collate_training,
)
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import PhotoTransform, TrainTransform


class CaptionDataModule(LightningDataModule):
    """Training photos, and named sets of validation photos, one loader each, in the order of ``validation``.

    ``skip_broken``: a training photo that can't be read raises no error, but is named in its batch, as are those of
    validation: the scores of a validation are not lost for one of its photos.
    """

    def __init__(
        self,
        train: Sequence[CaptionedPhoto],
        validation: Mapping[str, Sequence[CaptionedPhoto]],
        *,
        encode: Encode,
        pad_id: int,
        train_transform: TrainTransform,
        transform: PhotoTransform,
        batch_size: int,
        captions_per_photo: int,
        max_length: int,
        workers: int,
        seed: int,
        skip_broken: bool = False,
    ) -> None:
        super().__init__()
        self.train_set = TrainingDataset(
            train, encode, train_transform, captions_per_photo, seed, skip_broken=skip_broken
        )
        self.validation_sets = {
            name: ValidationDataset(photos, transform) for name, photos in validation.items()
        }
        self.sampler = EpochSampler(len(self.train_set), seed)
        self.pad_id = pad_id
        self.batch_size = batch_size
        self.max_length = max_length
        self.workers = workers
        self._resumed: tuple[int, int] | None = None

    @property
    def batches_per_epoch(self) -> int:
        """On one device."""
        return len(self.train_set) // self.batch_size

    def resume(self, epoch: int, batches: int) -> None:
        """Go on in ``epoch`` after its first ``batches``."""
        self._resumed = epoch, batches
        self._pass_on_resumed()

    def setup(self, stage: str) -> None:
        """Lightning calls this on each device."""
        if self.trainer is not None:
            self.sampler.share(self.trainer.global_rank, self.trainer.world_size)
            if self.trainer.world_size > 1:
                # An error in one process would leave the others waiting: the run's BrokenPhotos ends all together.
                self.train_set.skip_broken = True
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

    def val_dataloader(self) -> list[DataLoader]:
        return [
            DataLoader(
                photos,
                batch_size=2 * self.batch_size,
                sampler=range(self.sampler.rank, len(photos), self.sampler.world_size),
                num_workers=self.workers,
                generator=torch.Generator(),
                collate_fn=collate_photos,
            )
            for photos in self.validation_sets.values()
        ]
