"""The frozen layers' output on disk, so that a run computes it once."""

from __future__ import annotations

import hashlib
import json
import math
import os
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

from wordgaze.data.dataset import TrainingDataset
from wordgaze.data.transform import Preprocessing
from wordgaze.errors import DataError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.training.config import AugmentationOptions
from wordgaze.training.frozen import FrozenPart

_BATCH = 32
_NOT_FROZEN = {"width", "drop_path"}  # of the encoder's config
_Loaded = TypeVar("_Loaded")


class FeatureCache:
    """Float16 features of ``views`` views of each photo; ``cache(epoch, index)`` gives view ``epoch % views``.

    ``path``.npy holds (views · photos, ...), ``path``.flipped.npy which are mirrored, ``path``.json how many are done:
    an interrupted build goes on where it stopped, and one whose files are damaged begins anew. ``replaced``: of a photo
    that could not be read, which one's features there are.
    """

    def __init__(self, path: Path, photos: int, views: int) -> None:
        self.path = path
        self.photos = photos
        self.views = views
        self._features: np.ndarray | None = None
        self._flipped: np.ndarray | None = None

    def __call__(self, epoch: int, index: int) -> tuple[Tensor, bool]:
        if self._features is None or self._flipped is None:
            # Opened here, not when made: each worker process maps the file itself.
            self._features = np.load(self.path.with_suffix(".npy"), mmap_mode="r")
            self._flipped = np.load(self.path.with_suffix(".flipped.npy"))
        row = epoch % self.views * self.photos + index
        return torch.from_numpy(self._features[row].astype(np.float32)), bool(self._flipped[row])

    @property
    def missing(self) -> int:
        """Return how many views are still to be computed."""
        return self.views * self.photos - self._done()

    def wait(self) -> None:
        """Wait until another process has filled it."""
        while self.missing:
            time.sleep(1)

    @property
    def replaced(self) -> dict[int, int]:
        return {int(index): place for index, place in self._progress().get("replaced", {}).items()}

    def fill(
        self,
        view: Callable[[int, int], tuple[Tensor, bool]],
        compute: Callable[[Tensor], Tensor],
        replaced: dict[int, int] | None = None,
    ) -> None:
        """Compute what is missing; ``view`` and ``replaced`` as the dataset's, ``compute`` (B, 3, H, W) → (B, ...)."""
        total = self.views * self.photos
        done = self._done()
        if done == total:
            return
        try:
            self._fill(view, compute, {} if replaced is None else replaced, done, total)
        except OSError as error:
            raise DataError(
                f"The feature cache {self.path}.npy can't be written: {error}; free space or move it."
            ) from error

    def _fill(
        self,
        view: Callable[[int, int], tuple[Tensor, bool]],
        compute: Callable[[Tensor], Tensor],
        replaced: dict[int, int],
        done: int,
        total: int,
    ) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        features: np.memmap | None = None
        flipped = np.lib.format.open_memmap(
            self.path.with_suffix(".flipped.npy"), "r+" if done else "w+", dtype=bool, shape=(total,)
        )

        def load(rows: range) -> list[tuple[Tensor, bool]]:
            return [view(row // self.photos, row % self.photos) for row in rows]

        for rows, seen in _one_ahead(load, _batches(done, total)):
            output = compute(torch.stack([pixels for pixels, _ in seen])).to(torch.float16).cpu().numpy()
            if features is None:
                features = np.lib.format.open_memmap(
                    self.path.with_suffix(".npy"),
                    "r+" if done else "w+",
                    dtype=np.float16,
                    shape=(total, *output.shape[1:]),
                )
            features[rows.start : rows.stop] = output
            flipped[rows.start : rows.stop] = [mirrored for _, mirrored in seen]
            features.flush()
            flipped.flush()
            progress = self.path.with_suffix(".json.new")
            progress.write_text(json.dumps({"done": rows.stop, "replaced": self.replaced | replaced}))
            os.replace(progress, self.path.with_suffix(".json"))

    def _done(self) -> int:
        try:
            done = int(self._progress()["done"])
            for suffix in (".npy", ".flipped.npy"):
                # A file that is missing or too short for its shape is refused.
                rows = len(np.load(self.path.with_suffix(suffix), mmap_mode="r"))
                if rows != self.views * self.photos:
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
    """Lay a photo's features end to end: (B, ...) of each → (B, F); a single one stays as it is."""
    return features[0] if len(features) == 1 else torch.cat([each.flatten(1) for each in features], dim=1)


def unpack(packed: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Return the features that :func:`pack` was given, by their ``shapes`` without B."""
    if len(shapes) == 1:
        return [packed]
    parts = packed.split([math.prod(shape) for shape in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


def cache_key(
    model: CaptionModel,
    frozen: FrozenPart,
    dataset: TrainingDataset,
    preprocessing: Preprocessing,
    augmentation: AugmentationOptions,
    views: int,
    precision: str,
) -> str:
    """Return a name for all that determines the frozen output: weights, layers, photos, views, seed, precision, timm.

    What learns, or lies on top of the frozen layers, may differ: stages of a training share their cache.
    """
    digest = hashlib.sha256()
    encoder, shown = asdict(model.config.encoder), preprocessing.to_dict()
    del shown["mirrored"]  # a matter of captioning alone
    settings = [
        {name: value for name, value in encoder.items() if name not in _NOT_FROZEN},
        len(frozen),
        shown,
        asdict(augmentation),
        dataset.seed,
        views,
        precision,
        timm.__version__,
    ]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in model.encoder.state_dict(keep_vars=True).items():
        if tensor.requires_grad:  # it learns
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    for photo in dataset.photos:
        status = photo.path.stat() if photo.path.exists() else None
        identity = (str(photo.path.resolve()), status and status.st_size, status and status.st_mtime_ns)
        digest.update(repr(identity).encode())
    return digest.hexdigest()[:16]


def _one_ahead(load: Callable[[range], _Loaded], batches: Iterator[range]) -> Iterator[tuple[range, _Loaded]]:
    """Yield each batch with what ``load`` returns for it; the next one is loaded while this one is used."""
    with ThreadPoolExecutor(1) as pool:
        ahead: tuple[range, Future[_Loaded]] | None = None
        for rows in batches:
            behind, ahead = ahead, (rows, pool.submit(load, rows))
            if behind is not None:
                yield behind[0], behind[1].result()
        if ahead is not None:
            yield ahead[0], ahead[1].result()


def _batches(start: int, stop: int) -> Iterator[range]:
    for first in range(start, stop, _BATCH):
        yield range(first, min(first + _BATCH, stop))
