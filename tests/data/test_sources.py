"""What counts as one photo, and what as several."""

from __future__ import annotations

import io
from collections import OrderedDict, UserDict, UserList, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.ids import stable
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from wordgaze.data.sources import photo_in, photos_of
from wordgaze.errors import ConfigError, PhotoError

PATHS = ["a.png", "b.png", "c.png"]
IMAGE = Image.new("RGB", (4, 4))


class MapDataset(Dataset):
    """A length and items, without ``__iter__``, and no IndexError at the end."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index % len(self.items)]


class Streamed(IterableDataset):
    def __iter__(self) -> Any:
        return iter(PATHS)


class WithoutLength(Dataset):
    """Python's old protocol: items until IndexError."""

    def __getitem__(self, index: int) -> str:
        return PATHS[index]


class Columns:
    """As a column of a table: an array with a type, and not NumPy's."""

    dtype = "string"

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(PATHS, object)


@pytest.mark.parametrize(
    "source",
    [
        PATHS,
        tuple(PATHS),
        UserList(PATHS),
        deque(PATHS),
        iter(PATHS),
        (path for path in PATHS),
        map(Path, PATHS),
        dict.fromkeys(PATHS).keys(),
        dict(enumerate(PATHS)).values(),
        dict.fromkeys(PATHS, 1).items(),  # (photo, label)
        OrderedDict.fromkeys(PATHS).keys(),
        np.array(PATHS),
        np.array(PATHS, object),
        Columns(),
        MapDataset(PATHS),
        MapDataset(list(zip(PATHS, range(3), strict=True))),
        Streamed(),
        WithoutLength(),
    ],
    ids=lambda source: type(source).__name__,
)
def test_a_collection_of_photos(source: Any) -> None:
    photos = photos_of(source)
    assert photos is not None
    paths = [photo_in(item) for item in photos]
    assert all(isinstance(path, str | Path) for path in paths)
    assert list(map(str, paths)) == PATHS


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 5, 7, 3), np.uint8),
        torch.zeros(3, 3, 5, 7),
        TensorDataset(torch.zeros(3, 3, 5, 7), torch.ones(3)),
    ],
    ids=["array", "tensor", "dataset"],
)
def test_four_dimensions_are_several_photos(pixels: Any) -> None:
    photos = photos_of(pixels)
    assert photos is not None
    arrays = [photo_in(item) for item in photos]
    assert len(arrays) == 3 and all(array.ndim == 3 for array in arrays)


@pytest.mark.parametrize("source", [[], (), set(), iter(()), np.zeros((0, 5, 7, 3)), MapDataset([])], ids=stable)
def test_an_empty_collection(source: Any) -> None:
    photos = photos_of(source)
    assert photos is not None and list(photos) == []


@pytest.mark.parametrize(
    "source",
    [
        *(
            "a.png",
            Path("a.png"),
            b"content",
            bytearray(b"content"),
            memoryview(b"content"),
            np.str_("a.png"),
        ),
        *(io.BytesIO(b"one\ntwo\n"), io.StringIO("one\ntwo\n"), IMAGE, np.zeros((5, 7, 3)), np.zeros((5, 7))),
        *(
            torch.zeros(3, 5, 7),
            torch.zeros(5, 7, 3),
            torch.zeros(5, 7),
            torch.tensor(1.0),
            np.zeros((2, 2, 2, 2, 3)),
        ),
        *(None, 7, 2.5, object(), lambda: PATHS),
    ],
    ids=lambda source: type(source).__name__,
)
def test_one_photo_or_nothing_that_could_be_several(source: Any) -> None:
    assert photos_of(source) is None


@pytest.mark.parametrize("source", [{"a": "a.png"}, UserDict({"a": "a.png"}), OrderedDict()], ids=stable)
def test_a_dict_is_refused_with_what_to_do(source: Any) -> None:
    with pytest.raises(ConfigError, match=r"(dict|UserDict|OrderedDict), which .* pass its \.values\(\)"):
        photos_of(source)


@pytest.mark.parametrize(
    ("item", "photo"),
    [
        ((IMAGE, 3), IMAGE),
        ((IMAGE, "a caption"), IMAGE),
        ((IMAGE, ["a caption", "another"]), IMAGE),
        ((IMAGE, {"boxes": []}), IMAGE),
        ((IMAGE, torch.tensor(3)), IMAGE),
        ([IMAGE, 3], IMAGE),
        ((IMAGE,), IMAGE),
        (("a.png", 3), "a.png"),
        ((b"content", None), b"content"),
    ],
    ids=stable,
)
def test_a_label_beside_a_photo_is_left_out(item: Any, photo: Any) -> None:
    assert photo_in(item) is photo


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((IMAGE, IMAGE), "is a tuple of Image, Image; pass the photo alone"),
        (("a.png", "b.png"), "is a tuple of str, str"),
        ((3, IMAGE), "is a tuple of int, Image"),
        ([], "is a list of nothing"),
        ([["a.png"]], "is a list of list"),
        (["a.png"], "is a list of str"),
        ([IMAGE], "is a list of Image"),
        ((3,), "is a tuple of int"),
        (
            {"image": IMAGE, "label": 3},
            r"is a dict with image, label; pass the photo alone, .*row\['image'\]",
        ),
    ],
    ids=stable,
)
def test_where_it_is_not_clear_which_photo_is_meant(item: Any, message: str) -> None:
    with pytest.raises(PhotoError, match=message):
        photo_in(item)


def test_a_dataset_whose_item_fails_goes_on() -> None:
    class Failing(MapDataset):
        def __getitem__(self, index: int) -> Any:
            if index == 1:
                raise OSError("cannot identify image file")
            return super().__getitem__(index)

    first, broken, last = photos_of(Failing(PATHS)) or ()
    assert (photo_in(first), photo_in(last)) == ("a.png", "c.png")
    with pytest.raises(PhotoError, match=r"Failing \(OSError: cannot identify image file\); fix it") as caught:
        photo_in(broken)
    assert isinstance(caught.value.__cause__, OSError)
