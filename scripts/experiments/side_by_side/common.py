"""What is the same for all arms, and what each returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.common.digest import hex_digest
from wordgaze.data.captions import Source, load_sources
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.errors import ConfigError
from wordgaze.files import write_text
from wordgaze.model.config import EncoderConfig
from wordgaze.model.encoders.build import Encoder, build_encoder, preprocessing_of
from wordgaze.tasks.train import describe
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.augmentation import TrainTransform
from wordgaze.training.config import EncoderOptions, TokenizerOptions, TrainingConfig
from wordgaze.training.data_module import CaptionDataModule
from wordgaze.training.dataset import PhotoViews
from wordgaze.training.devices import device_of, is_bfloat16
from wordgaze.training.settings import settings_of

PHOTOS = 6000
"""The first so many of the config's training photos: in ``flickr/captions_train.json``, Flickr8k's training split."""

_SHARED = (
    ("encoder", "features", "patches"),
    ("encoder", "freeze", "none"),
    ("decoder", "pretrained", None),
    ("train", "initial_model", None),
    ("train", "accumulate", 1),
)

Caption = Callable[[Tensor], list[str]]  # pixel_values (B, 3, H, W) → B captions
OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """Steps done of those planned, and the seconds they took."""

    steps: int
    seconds: float


@dataclass(frozen=True)
class Trained:
    """An arm's captioner in evaluation mode; ``captions_per_photo``: how many a step reads for a photo it encodes."""

    caption: Caption
    parameters: int
    encoder_parameters: int
    captions_per_photo: int
    progress: Progress

    @classmethod
    def of(cls, model: Any, caption: Caption, captions_per_photo: int, progress: Progress) -> Trained:
        """Return what was trained, a ``model`` whose encoder is its ``encoder``."""
        counts = (sum(p.numel() for p in part.parameters()) for part in (model, model.encoder))
        return cls(caption, *counts, captions_per_photo, progress)


@dataclass(frozen=True)
class Task:
    """What every arm gets. ``config`` names the photos and the tokenizer that :func:`prepare` has written."""

    config: TrainingConfig
    photos: tuple[CaptionedPhoto, ...]
    validation: tuple[CaptionedPhoto, ...]
    tokenizer: CaptionTokenizer
    preprocessing: Preprocessing
    folder: Path
    on_message: OnMessage = field(default=lambda line: None)

    @property
    def device(self) -> torch.device:
        return device_of(self.config.train.accelerator)

    @property
    def bfloat16(self) -> bool:
        train = self.config.train
        return is_bfloat16(train.precision, train.accelerator)

    @property
    def digest(self) -> str:
        """Return a digest of config, photos and tokenizer: equal ones mean the same task."""
        files = (Path(self.config.data.train[0].captions), Path(str(self.config.tokenizer.file)))
        return digest(describe(self.config).encode(), *(file.read_bytes() for file in files))

    def encoder(self) -> Encoder:
        """Return the pretrained encoder, without our stochastic depth."""
        return _bare_encoder(self.config.encoder, self.config.encoder.pretrained)

    def one_caption_a_row(self) -> CaptionDataModule:
        """Return batches of (photo, caption) pairs: an epoch shows each photo once for each of its captions."""
        data = self.config.data
        rows = [CaptionedPhoto(photo.photo_id, photo.path, (text,)) for photo in self.photos for text in photo.captions]
        transform = TrainTransform(self.preprocessing, **asdict(data.augmentation))
        seed = self.config.train.seed
        batches = CaptionDataModule(
            rows,
            {},
            PhotoViews(rows, transform, seed),
            encode=self.tokenizer.encode,
            pad_id=self.tokenizer.pad_id,
            transform=PhotoTransform(self.preprocessing),
            batch_size=data.batch_size,
            captions_per_photo=1,
            max_length=data.max_length,
            workers=data.workers,
            seed=seed,
        )
        if batches.batches_per_epoch == 0:
            raise ConfigError(f"{len(rows)} captions do not fill a batch of {data.batch_size}; lower it.")
        return batches


def prepare(config: TrainingConfig, runs: Path, arm: str, on_message: OnMessage) -> Task:
    """Write photos.json and tokenizer.json into ``runs``, the same for every arm, and make the arm's folder there."""
    if len(config.data.train) != 1 or len(config.data.validation) != 1:
        raise ConfigError("Arms are compared on one data.train source and one data.validation set; name one each.")
    settings = settings_of(config)
    for group, name, shared in _SHARED:
        value = settings[group][name]
        if value != shared:
            raise ConfigError(f"{group}.{name} is {value!r}, which not all arms support; set it to {shared!r}.")
    source, held_out = config.data.train[0], next(iter(config.data.validation.values()))
    photos = load_sources([source], check_files=True).photos[:PHOTOS]
    validation = load_sources([held_out], check_files=True).photos
    folder = runs / arm
    folder.mkdir(parents=True, exist_ok=True)
    written, tokens = runs / "photos.json", runs / "tokenizer.json"
    write_text(written, json.dumps(_coco(photos)))
    captions = (caption for photo in photos for caption in photo.captions)
    tokenizer = CaptionTokenizer.train(captions, config.tokenizer.vocab_size, config.tokenizer.min_frequency)
    tokenizer.save(tokens)
    config = replace(
        config,
        data=replace(config.data, train=[Source(str(written))], validation={}),
        tokenizer=TokenizerOptions(file=str(tokens)),
    )
    return Task(config, photos, validation, tokenizer, _preprocessing(config), folder, on_message)


def _preprocessing(config: TrainingConfig) -> Preprocessing:
    bare = _bare_encoder(config.encoder)
    return config.data.shown_by(Preprocessing(**preprocessing_of(bare.network)))


def _bare_encoder(options: EncoderOptions, weights: str | None = None) -> Encoder:
    return build_encoder(EncoderConfig(options.shape.name, options.shape.image_size), weights)


def _coco(photos: Sequence[CaptionedPhoto]) -> dict[str, Any]:
    """Return captions in COCO's format, with absolute paths, so that the file may lie anywhere."""
    return {
        "images": [{"id": photo.photo_id, "file_name": str(photo.path.resolve())} for photo in photos],
        "annotations": [
            {"image_id": photo.photo_id, "caption": caption} for photo in photos for caption in photo.captions
        ],
    }


def digest(*contents: bytes) -> str:
    """Return twelve hexadecimal digits: equal ones mean equal contents, each by itself."""
    return hex_digest(*(bytes.fromhex(hex_digest(content)) for content in contents))[:12]
