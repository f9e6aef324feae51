"""A class for ``map_batches``: a worker's model, and the rows of a batch of photos."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from wordgaze.captioner import Captioner
from wordgaze.captioning.batches import AUTO
from wordgaze.captioning.shards.photo import ShardPhoto, SourcedPhotos, source_of_bytes, source_of_file
from wordgaze.captioning.shards.rows import COLUMNS, as_text
from wordgaze.captioning.shards.run import Engine
from wordgaze.data.listing import PHOTO_SUFFIXES, as_photo
from wordgaze.errors import ConfigError, PhotoError, shown


class CaptionBatch:
    """Turns batches of photos into batches of rows, with the columns of ``wordgaze caption --out-dir``.

    Batches (dicts of arrays, Ray's default) have ``bytes`` and perhaps ``path``, as of ``read_binary_files``; or
    ``__key__``, ``__url__`` and a column for each suffix, as of ``read_webdataset(decoder=None)``; or ``path`` alone,
    text or bytes, of files that this worker can read. ``key``, where there is one, stays; else the path, or
    WebDataset's key, is it.

    ``model``, ``device``, ``precision``, ``backend``: as of ``Captioner.from_pretrained``; ``strict``, ``options``: as
    of ``Captioner.caption``. Raises ConfigError where these make no sense, and for a batch without photos; whatever is
    wrong with a photo is in its row.
    """

    def __init__(
        self,
        model: str | None = None,
        device: str | None = "auto",
        precision: str = "float32",
        *,
        backend: str = "auto",
        strict: bool = False,
        batch_size: int | str = AUTO,
        **options: Any,
    ) -> None:
        captioner = Captioner.from_pretrained(model, device, precision, backend=backend)
        generation = captioner.generation_options(**options)
        self.engine = Engine(
            lambda photo: captioner.transform.array(photo)[0],
            partial(captioner.caption_pixels, options=generation),
            captioner.batches(batch_size, (), generation),
            captioner.transform.preprocessing.max_reduction,
            strict,
        )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return a row for each photo, in order."""
        rows = [as_text(row) for row in self.engine.rows(_photos(batch))]
        # Objects, so that a column of None alone has the type of the others' values.
        return {name: np.array([row[name] for row in rows], dtype=object) for name in COLUMNS}


def _photos(batch: Mapping[str, Any]) -> SourcedPhotos:
    # WebDataset's columns are the suffixes of the names.
    suffixes = [name for name in batch if "." + name.rpartition(".")[2].lower() in PHOTO_SUFFIXES]
    if "bytes" not in batch and not suffixes and "path" not in batch:
        raise ConfigError(
            f"A batch has the columns {shown(list(batch))}, none of them a photo's: bytes, path, jpg, png, ...; read "
            "with read_binary_files or read_webdataset(decoder=None)."
        )
    for index in range(len(next(iter(batch.values())))):
        values = {name: column[index] for name, column in batch.items()}
        photo = ShardPhoto(*_key_and_path(values))
        if "bytes" in values:
            yield photo, _source(photo, values["bytes"])
        elif suffixes:
            data = next((values[name] for name in suffixes if values[name] is not None), None)
            yield photo, _source(photo, data)
        else:
            yield photo, source_of_file(photo, as_photo(photo.path))


def _key_and_path(values: Mapping[str, Any]) -> tuple[str, str]:
    key, url = values.get("__key__"), values.get("__url__")
    # As bytes where names need not be text, which Arrow's strings are.
    path = os.fsdecode(values.get("path", key if url is None else f"{url}/{key}"))
    return str(values.get("key", path if key is None else key)), path


def _source(photo: ShardPhoto, data: Any) -> Any:
    if isinstance(data, bytes | bytearray | memoryview):
        return source_of_bytes(photo, bytes(data))
    if data is None:
        return PhotoError("has no photo beside its other files; add it, or leave the sample out")
    return PhotoError(f"is decoded already ({shown(data)[:40]}); read with decoder=None")
