"""What `wordgaze data coco` does: fetches Karpathy's splits, and the photos of COCO that are asked for."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wordgaze.data.check.contents import TRAINING
from wordgaze.data.download.coco import (
    BYTES_OF_A_PHOTO,
    CAPTIONS_URL,
    LICENSE,
    PHOTOS_URL,
    SPLITS,
    choose_photos,
    photo_name,
    read_archive,
)
from wordgaze.data.download.fetch import FetchError, FetchOptions, fetch
from wordgaze.data.photos import open_photo
from wordgaze.errors import ConfigError, DataError, PhotoError
from wordgaze.files import check_output_folder, one_line, write_text

ARCHIVE, CAPTIONS, PHOTOS, NOTE = "caption_datasets.zip", "dataset_coco.json", "photos", "LICENSE.txt"
_IN_A_ROW = 20
"""So many photos failing one after the other, by no fault of their own, are a network that is gone."""

_END = 2048


@dataclass(frozen=True)
class CocoOptions:
    """``subset``: at most so many photos of each split, drawn by ``seed``. ``workers``: downloads at a time."""

    splits: tuple[str, ...] = SPLITS
    subset: int | None = None
    seed: int = 0
    workers: int = 16
    captions_url: str = CAPTIONS_URL
    photos_url: str = PHOTOS_URL
    fetch: FetchOptions = field(default_factory=FetchOptions)

    def __post_init__(self) -> None:
        for name, url in (("captions_url", self.captions_url), ("photos_url", self.photos_url)):
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"{name} is {url!r}; it must begin with http:// or https://.")


@dataclass(frozen=True)
class CocoDownload:
    """``captions``: the annotations that were written; ``failed``: each photo's name with the reason.

    ``counts``: by split, its photos and captions that are there. ``already``: photos that were there before.
    """

    captions: Path
    counts: dict[str, tuple[int, int]]
    failed: dict[str, str]
    already: int


class CocoDownloader:
    """Fetches the splits when it is made; ``photos`` are those that ``download`` will fetch."""

    def __init__(self, out: str, options: CocoOptions = CocoOptions()) -> None:
        check_output_folder(out)
        self.out, self.options = Path(out), options
        self.out.mkdir(parents=True, exist_ok=True)
        write_text(self.out / NOTE, LICENSE + "\n")
        self._content = self._fetch_splits()
        self.chosen = choose_photos(self._content, options.splits, options.subset, options.seed)
        if not self.chosen:
            raise DataError(f"{one_line(self.out / ARCHIVE)}: no photos in {', '.join(options.splits)}.")
        self.photos = [image for image in self.chosen if not _is_whole(self._path(image))]
        self._check_space()

    def _fetch_splits(self) -> dict[str, Any]:
        archive = self.out / ARCHIVE
        if archive.exists():
            try:
                return read_archive(archive)
            except DataError:
                archive.unlink()
        try:
            fetch(self.options.captions_url, archive, _verify_archive, self.options.fetch)
        except FetchError as error:
            raise DataError(f"{self.options.captions_url}: {error}; check the network, and try again.") from None
        return read_archive(archive)

    def _check_space(self) -> None:
        needed, free = BYTES_OF_A_PHOTO * len(self.photos), shutil.disk_usage(self.out).free
        if needed > free:
            raise ConfigError(
                f"{one_line(self.out)} has {free / 1e9:.1f} GB left, but {len(self.photos):,} photos take about "
                f"{needed / 1e9:.1f} GB; choose another --out, or a smaller --subset."
            )

    def _path(self, image: dict[str, Any]) -> Path:
        return self.out / PHOTOS / photo_name(image)

    def download(self, on_photo: Callable[[], None] = lambda: None) -> CocoDownload:
        """Fetch the photos that are not there, and write the annotations of all that then are."""
        failed: dict[str, str] = {}
        in_a_row = 0
        for name, error in self._fetch_photos():
            on_photo()
            if error is None:
                in_a_row = 0
                continue
            failed[name] = str(error)
            in_a_row += not error.lasting
            if in_a_row >= _IN_A_ROW:
                raise DataError(
                    f"{self.options.photos_url}: {in_a_row} photos in a row failed, the last with: {error}; check the "
                    "network, and give the same command again to resume."
                )
        images = [image for image in self.chosen if photo_name(image) not in failed]
        captions = self.out / CAPTIONS
        write_text(captions, json.dumps({**self._content, "images": images}))
        return CocoDownload(captions, _counts(images), failed, len(self.chosen) - len(self.photos))

    def _fetch_photos(self) -> Iterator[tuple[str, FetchError | None]]:
        """Yield each photo's name as it is done, and what was wrong."""
        stop = threading.Event()

        def fetch_one(image: dict[str, Any]) -> tuple[str, FetchError | None]:
            name = photo_name(image)
            try:
                fetch(f"{self.options.photos_url}/{name}", self._path(image), _verify_photo, self.options.fetch, stop)
            except FetchError as error:
                return name, error
            return name, None

        for folder in {self._path(image).parent for image in self.photos}:
            folder.mkdir(parents=True, exist_ok=True)
        pool = ThreadPoolExecutor(self.options.workers, thread_name_prefix="wordgaze-coco")
        pending: set[Future[tuple[str, FetchError | None]]] = set()
        try:
            for image in self.photos:
                pending.add(pool.submit(fetch_one, image))
                if len(pending) >= 4 * self.options.workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _verify_archive(path: Path, is_checked: bool) -> None:
    read_archive(path)


def _verify_photo(path: Path, is_checked: bool) -> None:
    # What the server has itself cut short a little is COCO all the same.
    open_photo(path, strict=not is_checked, on_warning=lambda _: None, max_reduction=min)


def _is_whole(path: Path) -> bool:
    """Return whether a photo that was there before is whole: another program may have left a part of it."""
    try:
        with path.open("rb") as file:
            beginning = file.read(3)
            file.seek(max(0, path.stat().st_size - _END))
            if beginning == b"\xff\xd8\xff" and b"\xff\xd9" in file.read():
                return True
        _verify_photo(path, False)
    except (OSError, PhotoError):
        return False
    return True


def _counts(images: Sequence[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    photos: Counter[str] = Counter()
    captions: Counter[str] = Counter()
    for image in images:
        split = "train" if image["split"] in TRAINING else image["split"]
        photos[split] += 1
        captions[split] += len(image["sentences"])
    return {split: (photos[split], captions[split]) for split in SPLITS if photos[split]}
