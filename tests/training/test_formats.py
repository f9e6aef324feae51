"""Runs on other formats than the one that their photos were drawn in learn the same, step by step."""

import dataclasses
import io
import tarfile

import pytest
import torch
from tests.training.runs import Interrupt, losses_of, weights_of

from wordgaze.data.captions import Source, load_sources, read_captions
from wordgaze.tasks.train import train


def write_shards(photos, folder, count):
    """Write photos with their captions into ``count`` tar shards, in their order; return the pattern of the shards."""
    folder.mkdir()
    share = -(-len(photos) // count)
    for number in range(count):
        with tarfile.open(folder / f"train-{number:04d}.tar", "w") as archive:
            for photo in photos[number * share : (number + 1) * share]:
                texts = {photo.path.suffix: photo.path.read_bytes(), ".txt": "\n".join(photo.captions).encode()}
                for suffix, content in texts.items():
                    member = tarfile.TarInfo(f"{photo.path.stem}{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder / f"train-{{0000..{count - 1:04d}}}.tar"


def on(config, source):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=[source]))


def with_workers(config, count):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, workers=count))


@pytest.fixture
def shards(tmp_path, shapes):
    return Source(str(write_shards(read_captions(shapes[0].captions).photos, tmp_path / "tars", 3)))


def test_tar_shards_train_as_the_folder_does_in_workers_and_resumed(tmp_path, small_config, shards):
    config = small_config(train={"epochs": 1}, data={"validation": {}})
    train(config, tmp_path / "folder")
    config, said = on(with_workers(config, 2), shards), []
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "shards", callbacks=[Interrupt(3)])
    train(config, tmp_path / "shards", on_message=said.append)
    assert any("resuming from" in line and line.endswith(": epoch 1, step 2") for line in said), said
    losses = losses_of(tmp_path / "folder")
    assert len(losses) == 5 and losses == losses_of(tmp_path / "shards")
    weights = weights_of(tmp_path / "shards")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in weights_of(tmp_path / "folder").items())


def test_a_parquet_file_trains_in_workers(tmp_path, small_config, shapes):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    photos = read_captions(shapes[0].captions).photos
    images = [{"bytes": photo.path.read_bytes(), "path": photo.path.name} for photo in photos]
    table = pa.table({"image": images, "captions": [list(photo.captions) for photo in photos]})
    pq.write_table(table, tmp_path / "set.parquet", row_group_size=9)
    config, said = small_config(train={"epochs": 1}, data={"validation": {}, "workers": 2}), []
    train(on(config, Source(str(tmp_path / "set.parquet"))), tmp_path / "run", on_message=said.append)
    assert len(losses_of(tmp_path / "run")) == 5
    assert any(line.endswith("40 photos, 146 captions (Parquet)") for line in said)
    assert any("the longest caption has" in line and "are cut at data.max_length 24" in line for line in said)


@pytest.mark.slow
def test_the_shared_photos_train_from_shards_as_from_their_folder(tmp_path, small_config, shared_data):
    """Photos of many shapes, their captions in COCO's JSON beside them: the same losses, step by step."""
    source = Source(str(shared_data / "data" / "flickr" / "captions_train.json"), limit=64)
    config = on(small_config(train={"epochs": 1}, data={"validation": {}}), source)
    photos = load_sources([source]).photos
    train(config, tmp_path / "folder")
    shards = Source(str(write_shards(photos, tmp_path / "tars", 5)))
    train(on(with_workers(config, 2), shards), tmp_path / "shards")
    losses = losses_of(tmp_path / "folder")
    assert len(losses) == 8 and losses == losses_of(tmp_path / "shards")
