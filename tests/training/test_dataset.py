from pathlib import Path

import numpy as np
import pytest
import torch

from wordgaze.data.captions import read_captions
from wordgaze.data.packed import ParquetPhoto
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import Preprocessing
from wordgaze.errors import DataError
from wordgaze.training.augmentation import TrainTransform
from wordgaze.training.dataset import (
    IGNORED,
    ROW_GROUPS,
    EpochSampler,
    PhotoViews,
    TrainingDataset,
    TrainingItem,
    View,
    choose,
    collate_training,
    row_groups_of,
)


def test_labels_are_one_id_ahead_and_padding_is_ignored():
    items = [
        TrainingItem(View(torch.zeros(3, 2, 2), True, 4), [[1, 5, 6, 2], [1, 7, 2]]),
        TrainingItem(View(torch.ones(3, 2, 2), False, 7), [[1, 2]]),
    ]
    batch = collate_training(items, pad_id=0, max_length=24)
    assert batch.input_ids.tolist() == [[1, 5, 6], [1, 7, 0], [1, 0, 0]]
    assert batch.labels.tolist() == [[5, 6, 2], [7, 2, IGNORED], [2, IGNORED, IGNORED]]
    assert batch.inputs.shape == (2, 3, 2, 2)
    assert (batch.photos, batch.flipped) == ([4, 7], [True, False])


def test_a_long_caption_is_cut_without_a_false_end():
    item = TrainingItem(View(torch.zeros(1), False, 0), [[1, 5, 6, 7, 2]])
    batch = collate_training([item], pad_id=0, max_length=3)
    assert batch.input_ids.tolist() == [[1, 5, 6]]
    assert batch.labels.tolist() == [[5, 6, 7]]


def test_chosen_captions_differ_while_there_are_enough():
    rng = np.random.default_rng(0)
    assert sorted(choose(["a", "b", "c"], 3, rng)) == ["a", "b", "c"]
    assert sorted(choose(["a", "b"], 4, rng)) == ["a", "a", "b", "b"]
    assert {choose(["a", "b", "c"], 1, rng)[0] for _ in range(50)} == {"a", "b", "c"}


def test_an_epochs_order_depends_on_seed_and_epoch_alone_and_can_go_on():
    sampler = EpochSampler(10, seed=3)
    sampler.set_epoch(2)
    whole = list(sampler)
    assert sorted(index for _, index in whole) == list(range(10)) and {epoch for epoch, _ in whole} == {2}
    other = EpochSampler(10, seed=3)
    other.resume(2, 4)
    other.set_epoch(2)
    assert list(other) == whole[4:]
    other.set_epoch(3)
    assert len(list(other)) == 10
    assert [index for _, index in other] != [index for _, index in whole]


TRANSFORM = TrainTransform(Preprocessing((48, 48), (0.5,) * 3, (0.5,) * 3), flip=0.5)


def views_of(photos, **options):
    return PhotoViews(photos, TRANSFORM, seed=0, **options)


@pytest.fixture
def dataset(shapes):
    photos = read_captions(shapes[0].captions).photos
    return TrainingDataset(photos, views_of(photos), lambda caption: [1, len(caption), 2], 2, seed=0)


def test_an_item_is_the_same_whenever_it_is_asked_for(dataset):
    first, again, later = dataset[0, 3], dataset[0, 3], dataset[1, 3]
    assert torch.equal(first.view.inputs, again.view.inputs) and first.captions == again.captions
    assert not torch.equal(first.view.inputs, later.view.inputs)


def test_mirrored_photos_get_mirrored_captions(shapes):
    photo = read_captions(shapes[0].captions).photos[0]
    photo = CaptionedPhoto(photo.photo_id, photo.path, ("a dog to the left of a man",))
    seen, views = [], views_of([photo])
    dataset = TrainingDataset([photo], views, lambda caption: seen.append(caption) or [1, 2], 1, seed=0)
    mirrored = [views(epoch, 0).flipped for epoch in range(20)]
    for epoch in range(20):
        dataset[epoch, 0]
    assert [("right" in caption) for caption in seen] == mirrored
    assert True in mirrored and False in mirrored


def test_a_broken_training_photo_is_named(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8nothing")
    photos = [CaptionedPhoto(1, path, ("a cat",))]
    with pytest.raises(DataError, match=r"broken\.jpg"):
        TrainingDataset(photos, views_of(photos), len, 1, seed=0)[0, 0]


def test_the_next_photo_stands_in_for_a_broken_one(tmp_path, shapes):
    """With its own captions, and so whenever it is asked for; the broken one is named once."""
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8nothing")
    whole = read_captions(shapes[0].captions).photos[0]
    photos = [CaptionedPhoto(1, path, ("a cat",)), CaptionedPhoto(2, whole.path, ("a dog",))]
    said = []
    views = views_of(photos, skip_broken=True)
    dataset = TrainingDataset(photos, views, lambda caption: said.append(caption) or [1, 2], 1, seed=0)
    first, again = dataset[0, 0], dataset[0, 0]
    assert [item.view.photo for item in (first, again)] == [1, 1] and set(said) == {"a dog"}
    assert list(first.view.broken) == [path] and not again.view.broken


def test_photos_of_a_parquet_file_come_a_few_row_groups_at_a_time():
    packed = [ParquetPhoto("a.parquet", "image", index // 10, index % 10) for index in range(400)]
    photos = [CaptionedPhoto(index, Path(str(index)), ("x",), photo) for index, photo in enumerate(packed)]
    loose = [CaptionedPhoto(1000 + index, Path(str(index)), ("x",)) for index in range(400)]
    groups = row_groups_of([*photos, *loose])
    assert groups.tolist()[:400] == [index // 10 for index in range(400)] and row_groups_of(loose) is None
    sampler = EpochSampler(800, 3, groups)
    order = [index for _, index in sampler]
    assert sorted(order) == list(range(800)) and order == [index for _, index in EpochSampler(800, 3, groups)]
    for first in range(0, 800, 160):
        together = order[first : first + 160]
        assert len(set(groups[together].tolist())) == ROW_GROUPS and together != sorted(together)
    sampler.set_epoch(1)
    assert order != [index for _, index in sampler]


def test_several_devices_share_an_epoch():
    shares = []
    for rank in range(3):
        sampler = EpochSampler(11, seed=3)
        sampler.share(rank, 3)
        assert len(sampler) == len(list(sampler)) == 3
        shares += [index for _, index in sampler]
    assert len(set(shares)) == 9
