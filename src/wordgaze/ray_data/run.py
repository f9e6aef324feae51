"""Photos captioned on a Ray cluster, into Parquet files; a rerun leaves out the rows that are there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset
import ray.data
from ray.data.block import BlockMetadata
from ray.data.checkpoint import CheckpointConfig
from ray.data.datasource import Datasource, ReadTask

from wordgaze.captioner import Captioner
from wordgaze.captioning.shards.inputs import digest_of_names, list_shards
from wordgaze.captioning.shards.rows import schema
from wordgaze.data.listing import Photo
from wordgaze.errors import ConfigError
from wordgaze.files import check_output_folder, one_line, write_text
from wordgaze.ray_data.caption_batch import CaptionBatch
from wordgaze.tasks.caption_files import run_identity

if TYPE_CHECKING:
    import numpy as np

FORMAT = "wordgaze-ray-1"
RUN, ROWS, CHECKPOINTS = "run.json", "rows", "checkpoint"
# Ray's own default of 1 GiB keeps small machines waiting; it takes more where there are more rows.
_FILTER_BYTES = 128 * 1024**2


@dataclass(frozen=True)
class Workers:
    """How many workers hold a model, what each needs of a machine, and how many photos it gets at once."""

    count: int = 2
    cpus: float = 1
    gpus: float = 0
    photos: int = 256


@dataclass(frozen=True)
class Model:
    """What each worker loads, and the options of its captions: as of CaptionBatch."""

    name: str | None = None
    device: str = "auto"
    precision: str = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)


class PhotoList(Datasource):  # type: ignore[misc]
    """Photos' keys and paths, ``size`` in a block. Ray's checkpoint filters what such a source reads, and no list."""

    def __init__(self, keys: Sequence[str], photos: Sequence[Photo], size: int) -> None:
        super().__init__()
        self.keys, self.photos, self.size = keys, photos, size

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        return [self._task(start) for start in range(0, len(self.keys), self.size)]

    def _task(self, start: int) -> ReadTask:
        keys = self.keys[start : start + self.size]
        # Bytes, since a name need not be text. Absolute, since workers start in folders of their own.
        paths = [_absolute(photo) for photo in self.photos[start : start + self.size]]
        metadata = BlockMetadata(num_rows=len(keys), size_bytes=None, exec_stats=None, input_files=None)
        return ReadTask(lambda: [pa.table({"key": keys, "path": pa.array(paths, pa.binary())})], metadata)


class CaptionTable(CaptionBatch):
    """A CaptionBatch that returns Arrow's tables, whose columns have one type in all files, without a value too."""

    def __call__(self, batch: Mapping[str, np.ndarray]) -> pa.Table:
        rows = super().__call__(batch)
        return pa.table({name: values.tolist() for name, values in rows.items()}, schema=schema())


def prepare(out: Path, photos: Sequence[Photo], model: Model) -> None:
    """Make ``out`` and write down what its rows are of; raise ConfigError where it holds those of something else."""
    # Complains of stdin.
    list_shards(photos)
    check_output_folder(out)
    captioner = Captioner.from_pretrained(model.name, "cpu")
    # This machine need not have what a worker has.
    identity = run_identity(captioner, captioner.generation_options(**model.options))
    identity = replace(identity, precision=model.precision)
    names = digest_of_names([os.fsdecode(_absolute(photo)) for photo in photos])
    out.mkdir(parents=True, exist_ok=True)
    try:
        found = json.loads((out / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(out.iterdir()):
            raise ConfigError(f"{one_line(out)} holds files that are not of such a run; name another folder.") from None
        (out / ROWS).mkdir()
        (out / CHECKPOINTS).mkdir()
        write_text(out / RUN, json.dumps({"format": FORMAT, **identity.to_dict(), "photos": names}) + "\n")
        return
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ConfigError(f"{one_line(out / RUN)} is damaged, or of another version; name another folder.")
    difference = identity.difference(found)
    if difference is None and found.get("photos") != names:
        difference = "its rows are of another list of photos"
    if difference is not None:
        raise ConfigError(f"{one_line(out)} can't be resumed: {difference}; name another folder.")


def caption_photos(photos: Sequence[Photo], out: Path, model: Model, workers: Workers) -> tuple[int, int]:
    """Caption photos into Parquet files in ``out``/rows; return how many have a caption, and how many there are.

    Ray must be there (``ray.init``), and ``out`` be a folder that all machines see, which ``prepare`` has looked at.
    """
    keys = [photo.key for shard in list_shards(photos) for photo, _ in shard.photos()]
    context = ray.data.DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        id_column="key", checkpoint_path=str(out / CHECKPOINTS), delete_checkpoint_on_success=False
    )
    context.checkpoint_config.checkpoint_actor_memory_bytes = _FILTER_BYTES
    try:
        rows = ray.data.read_datasource(PhotoList(keys, photos, workers.photos)).map_batches(
            CaptionTable,
            fn_constructor_args=(model.name, model.device, model.precision),
            fn_constructor_kwargs=dict(model.options),
            # Ray starts a worker anew that has died, and gives its photos to another.
            compute=ray.data.ActorPoolStrategy(size=workers.count),
            batch_size=workers.photos,
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
        )
        rows.write_parquet(str(out / ROWS))
    finally:
        context.checkpoint_config = None
    written = pyarrow.dataset.dataset(str(out / ROWS), schema=schema(), format="parquet")
    return written.count_rows(filter=pyarrow.dataset.field("status") == "success"), written.count_rows()


def _absolute(photo: Photo) -> bytes:
    return os.fsencode(photo.absolute() if isinstance(photo, Path) else photo)
