import numpy as np
import pytest
import torch

from wordgaze.data.captions import read_captions
from wordgaze.data.dataset import (
    IGNORED,
    EpochSampler,
    TrainingDataset,
    TrainingItem,
    choose,
    collate_training,
)
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import Preprocessing, TrainTransform
from wordgaze.errors import DataError


def test_labels_are_one_id_ahead_and_padding_is_ignored():
    items = [
        TrainingItem(torch.zeros(3, 2, 2), [[1, 5, 6, 2], [1, 7, 2]], 4, True),
        TrainingItem(torch.ones(3, 2, 2), [[1, 2]], 7, False),
    ]
    batch = collate_training(items, pad_id=0, max_length=24)
    assert batch.input_ids.tolist() == [[1, 5, 6], [1, 7, 0], [1, 0, 0]]
    assert batch.labels.tolist() == [[5, 6, 2], [7, 2, IGNORED], [2, IGNORED, IGNORED]]
    assert batch.inputs.shape == (2, 3, 2, 2)
    assert (batch.photos, batch.flipped) == ([4, 7], [True, False])


def test_a_long_caption_is_cut_without_a_false_end():
    item = TrainingItem(torch.zeros(1), [[1, 5, 6, 7, 2]], 0, False)
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


@pytest.fixture
def dataset(shapes):
    photos = read_captions(shapes[0].captions).photos
    transform = TrainTransform(Preprocessing((48, 48), (0.5,) * 3, (0.5,) * 3), flip=0.5)
    return TrainingDataset(photos, lambda caption: [1, len(caption), 2], transform, 2, seed=0)


def test_an_item_is_the_same_whenever_it_is_asked_for(dataset):
    first, again, later = dataset[0, 3], dataset[0, 3], dataset[1, 3]
    assert torch.equal(first.inputs, again.inputs) and first.captions == again.captions
    assert not torch.equal(first.inputs, later.inputs)


def test_mirrored_photos_get_mirrored_captions(shapes):
    photo = read_captions(shapes[0].captions).photos[0]
    photo = CaptionedPhoto(photo.photo_id, photo.path, ("a dog to the left of a man",))
    transform = TrainTransform(Preprocessing((48, 48), (0.5,) * 3, (0.5,) * 3), flip=0.5)
    seen = []
    dataset = TrainingDataset([photo], lambda caption: seen.append(caption) or [1, 2], transform, 1, seed=0)
    mirrored = [dataset.view(epoch, 0)[1] for epoch in range(20)]
    for epoch in range(20):
        dataset[epoch, 0]
    assert [("right" in caption) for caption in seen] == mirrored
    assert True in mirrored and False in mirrored


def test_a_broken_training_photo_is_named(tmp_path, dataset):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8nothing")
    dataset.photos = [CaptionedPhoto(1, path, ("a cat",))]
    with pytest.raises(DataError, match=r"broken\.jpg"):
        dataset[0, 0]


def test_several_devices_share_an_epoch():
    shares = []
    for rank in range(3):
        sampler = EpochSampler(11, seed=3)
        sampler.share(rank, 3)
        assert len(sampler) == len(list(sampler)) == 3
        shares += [index for _, index in sampler]
    assert len(set(shares)) == 9
