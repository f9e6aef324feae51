import dataclasses

import pytest
from tests.training.runs import with_settings

from wordgaze.data.captions import Source
from wordgaze.data.shapes import write_shapes
from wordgaze.training.config import (
    AugmentationOptions,
    DataOptions,
    DecoderOptions,
    DecoderShape,
    EncoderOptions,
    EncoderShape,
    TokenizerOptions,
    TrainingConfig,
    TrainOptions,
)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """Return the sources of forty drawn scenes, and of eight to validate on."""
    folder = tmp_path_factory.mktemp("shapes")
    train = write_shapes(folder / "train", 40, seed=1, size=48)
    validation = write_shapes(folder / "validation", 8, seed=2, size=48)
    return Source(str(train)), Source(str(validation))


@pytest.fixture
def small_config(shapes):
    """Return a function that makes the config of a run of five steps an epoch, with fields replaced group by group."""

    def make(**groups):
        config = TrainingConfig(
            data=DataOptions(
                train=[shapes[0]],
                validation={"shapes": shapes[1]},
                batch_size=8,
                captions_per_photo=2,
                augmentation=AugmentationOptions(whole=1.0, flip=0.5),
            ),
            tokenizer=TokenizerOptions(vocab_size=280),
            encoder=EncoderOptions(EncoderShape("test_vit", (48, 48), drop_path=0.1), pretrained=None),
            decoder=DecoderOptions(shape=DecoderShape(width=32, layers=2, heads=4, positions=32)),
            train=TrainOptions(
                epochs=2, warmup_steps=2, checkpoint_every=1, log_every=1, accelerator="cpu", ema_decay=0.5
            ),
        )
        for name, values in groups.items():
            config = dataclasses.replace(config, **{name: with_settings(getattr(config, name), **values)})
        return config

    return make
