"""COCO with Karpathy's splits: where its files are, and which photos of it to take."""

from __future__ import annotations

import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wordgaze.data.check.contents import TRAINING
from wordgaze.errors import DataError

CAPTIONS_URL = "http://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
PHOTOS_URL = "http://images.cocodataset.org"
SPLITS = ("train", "val", "test")
"""Karpathy's: 113,287, 5,000 and 5,000 photos; his restval counts as train, as in the papers that use it."""

BYTES_OF_A_PHOTO = 160_000
"""On average, roughly: train2014 and val2014 are 19 GB."""

LICENSE = (
    "COCO's annotations are licensed under CC BY 4.0 (cocodataset.org/#termsofuse). The photos belong to their authors "
    "on Flickr and are used under Flickr's terms; each has a license of its own, named in COCO's annotations."
)

_MEMBER = "dataset_coco.json"
_MOST_BYTES = 1024**3


def read_archive(path: Path) -> dict[str, Any]:
    """Return ``dataset_coco.json`` of Karpathy's archive; raises DataError, a clause on the archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_MEMBER).file_size > _MOST_BYTES:
                raise DataError(f"holds a {_MEMBER} of more than {_MOST_BYTES:,} bytes")
            # Reading to the end checks the checksum.
            content = json.loads(archive.read(_MEMBER))
    except KeyError:
        raise DataError(f"holds no {_MEMBER}") from None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RecursionError, NotImplementedError) as error:
        raise DataError(f"is no whole archive ({error})") from None
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(map(_is_photo, images)):
        raise DataError(f"holds a {_MEMBER} of another kind")
    return dict(content)


def _is_photo(image: object) -> bool:
    if not isinstance(image, dict) or not isinstance(image.get("sentences"), list):
        return False
    names = [image.get("filepath"), image.get("filename")]
    # Each is one part of a path.
    plain = all(isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*", name, re.ASCII) for name in names)
    return plain and isinstance(image.get("split"), str) and isinstance(image.get("cocoid"), int)


def choose_photos(
    content: dict[str, Any], splits: Sequence[str], subset: int | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Return the photos of ``splits``, of each at most ``subset``, drawn by ``seed``; a smaller draw is a part."""
    by_split: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for image in content["images"]:
        by_split["train" if image["split"] in TRAINING else image["split"]].append(image)
    chosen = []
    for split in splits:
        images = sorted(by_split[split], key=lambda image: image["cocoid"])
        order = np.random.default_rng(seed).permutation(len(images))
        chosen += [images[index] for index in sorted(order[:subset])]
    return chosen


def photo_name(image: dict[str, Any]) -> str:
    """Return a photo's path in the folder of the photos, and in the address."""
    return f"{image['filepath']}/{image['filename']}"
