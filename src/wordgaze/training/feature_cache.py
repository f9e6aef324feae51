"""The frozen layers' output on disk, so that a run computes it once."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import timm
import torch
from torch import Tensor

from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import DataError
from wordgaze.files import write_text
from wordgaze.model.caption_model import CaptionModel
from wordgaze.training.config import AugmentationOptions
from wordgaze.training.dataset import PhotoViews, View
from wordgaze.training.frozen import FrozenPart

_BATCH = 32
_NOT_FROZEN = {"width", "drop_path"}  # of the encoder's config
_Loaded = TypeVar("_Loaded")


class FeatureCache:
    """Float16 features of ``count`` ``views`` of each photo; ``cache(epoch, index)`` gives view ``epoch % count``.

    ``path``.npy holds (count · photos, ...), ``path``.flipped.npy which are mirrored, ``path``.json how many are done,
    and of photos that could not be read, whose features are in their place: an interrupted build resumes where it
    stopped, and one whose files are damaged begins anew.
    """

    def __init__(self, path: Path, views: PhotoViews, count: int) -> None:
        self.path = path
        self.views = views
        self.count = count
        self._photos = len(views)
        self._features: np.ndarray | None = None
        self._flipped: np.ndarray | None = None
        self._replaced: dict[int, int] = {}
        self._unreported: dict[Path, str] = {}  # photos found broken while it was filled

    def __call__(self, epoch: int, index: int) -> View:
        if self._features is None or self._flipped is None:
            # Opened here, not when made: each worker process maps the file itself.
            self._features = np.load(self.path.with_suffix(".npy"), mmap_mode="r")
            self._flipped = np.load(self.path.with_suffix(".flipped.npy"))
            self._replaced = self._read_replaced()
        row = epoch % self.count * self._photos + index
        features = torch.from_numpy(self._features[row].astype(np.float32))
        broken, self._unreported = self._unreported, {}
        return View(features, bool(self._flipped[row]), self._replaced.get(index, index), broken)

    @property
    def missing(self) -> int:
        """Return how many views are still to be computed."""
        return self.count * self._photos - self._done()

    def wait(self) -> None:
        """Wait until another process has filled it."""
        while self.missing:
            time.sleep(1)

    def fill(self, compute: Callable[[Tensor], Tensor]) -> None:
        """Compute what is missing; ``compute`` (B, 3, H, W) → (B, ...)."""
        total = self.count * self._photos
        done = self._done()
        if done == total:
            return
        try:
            self._fill(compute, done, total)
        except OSError as error:
            raise DataError(
                f"The feature cache {self.path}.npy can't be written: {error}; free space or move it."
            ) from error

    def _fill(self, compute: Callable[[Tensor], Tensor], done: int, total: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        features: np.memmap | None = None
        flipped = np.lib.format.open_memmap(
            self.path.with_suffix(".flipped.npy"), "r+" if done else "w+", dtype=bool, shape=(total,)
        )
        replaced = self._read_replaced()

        def load(rows: range) -> list[View]:
            return [self.views(row // self._photos, row % self._photos) for row in rows]

        for rows, batch in _one_ahead(load, _batches(done, total)):
            output = compute(torch.stack([view.inputs for view in batch])).to(torch.float16).cpu().numpy()
            if features is None:
                features = np.lib.format.open_memmap(
                    self.path.with_suffix(".npy"),
                    "r+" if done else "w+",
                    dtype=np.float16,
                    shape=(total, *output.shape[1:]),
                )
            features[rows.start : rows.stop] = output
            flipped[rows.start : rows.stop] = [view.flipped for view in batch]
            features.flush()
            flipped.flush()
            for row, view in zip(rows, batch, strict=True):
                self._unreported |= view.broken
                if view.photo != row % self._photos:
                    replaced[row % self._photos] = view.photo
            progress = json.dumps({"done": rows.stop, "replaced": replaced})
            write_text(self.path.with_suffix(".json"), progress)

    def _read_replaced(self) -> dict[int, int]:
        """Return whose features are in the place of photos that could not be read, by their indices."""
        return {int(index): photo for index, photo in self._progress().get("replaced", {}).items()}

    def _done(self) -> int:
        try:
            done = int(self._progress()["done"])
            for suffix in (".npy", ".flipped.npy"):
                # A file that is missing or too short for its shape is refused.
                rows = len(np.load(self.path.with_suffix(suffix), mmap_mode="r"))
                if rows != self.count * self._photos:
                    return 0
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return 0
        return done

    def _progress(self) -> dict[str, Any]:
        try:
            progress = json.loads(self.path.with_suffix(".json").read_text())
        except (OSError, ValueError):
            return {}
        return progress if isinstance(progress, dict) else {}


def pack(features: Sequence[Tensor]) -> Tensor:
    """Lay photos' features end to end: (B, ...) of each → (B, F); a single one stays as it is."""
    return features[0] if len(features) == 1 else torch.cat([part.flatten(1) for part in features], dim=1)


def unpack(packed: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Return the features that :func:`pack` was given, by their ``shapes`` without B."""
    if len(shapes) == 1:
        return [packed]
    parts = packed.split([math.prod(shape) for shape in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


def cache_key(
    model: CaptionModel,
    frozen: FrozenPart,
    views: PhotoViews,
    augmentation: AugmentationOptions,
    count: int,
    precision: str,
) -> str:
    """Return a name for all that determines the frozen output: weights, layers, views, seed, precision, timm.

    ``count``: of views of each photo. What learns, or lies on top of the frozen layers, may differ: stages of a
    training share their cache.
    """
    digest = hashlib.sha256()
    encoder, shown = model.config.to_dict()["encoder"], views.transform.preprocessing.to_dict()
    del shown["mirrored"]  # a matter of captioning alone
    settings = [
        {name: value for name, value in encoder.items() if name not in _NOT_FROZEN},
        len(frozen),
        shown,
        asdict(augmentation),
        views.seed,
        count,
        precision,
        timm.__version__,
    ]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in model.encoder.state_dict(keep_vars=True).items():
        if tensor.requires_grad:  # it learns
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    for photo in views.photos:
        digest.update(repr(_identity(photo)).encode())
    return digest.hexdigest()[:16]


def _identity(photo: CaptionedPhoto) -> tuple[Any, ...]:
    """Return what changes when a photo does: where its file is, its size and age, and its place in a packed one."""
    packed = photo.packed
    path = photo.path if packed is None else Path(packed.file)
    status = path.stat() if path.exists() else None
    identity = (str(path.resolve()), status and status.st_size, status and status.st_mtime_ns)
    return identity if packed is None else (*identity, *vars(packed).values())


def _one_ahead(load: Callable[[range], _Loaded], batches: Iterator[range]) -> Iterator[tuple[range, _Loaded]]:
    """Yield each batch with what ``load`` returns for it; the next one is loaded while this one is used."""
    with ThreadPoolExecutor(1) as pool:
        ahead: tuple[range, Future[_Loaded]] | None = None
        for rows in batches:
            current, ahead = ahead, (rows, pool.submit(load, rows))
            if current is not None:
                yield current[0], current[1].result()
        if ahead is not None:
            yield ahead[0], ahead[1].result()


def _batches(start: int, stop: int) -> Iterator[range]:
    for first in range(start, stop, _BATCH):
        yield range(first, min(first + _BATCH, stop))
