"""The photos that a caller passes: one, or a collection of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from wordgaze.data.colors import is_tensor
from wordgaze.data.photos import PhotoSource
from wordgaze.errors import ConfigError, PhotoError, first_line

if TYPE_CHECKING:
    from torch import Tensor

Photos: TypeAlias = "Iterable[PhotoSource | Tensor] | np.ndarray | Tensor"
"""Any number of photos: what can be iterated, what has ``__len__`` and ``__getitem__``, an array (B, H, W, 3)."""

_TYPES = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)


def photos_of(source: Any) -> Iterable[Any] | None:
    """Return the photos of a collection, in its order; None where ``source`` is itself one photo, or nothing known.

    An array or tensor of four dimensions is a collection, and so is one of paths. What has ``__getitem__`` and no
    ``__iter__``, as torch's datasets, ends at its ``__len__``. Raises ConfigError for a mapping.
    """
    if isinstance(source, _TYPES) or hasattr(source, "read"):
        return None
    if isinstance(source, Mapping):
        raise ConfigError(f"The photos are a {type(source).__name__}, which has keys and values; pass its .values().")
    source = _as_array(source)
    if isinstance(source, np.ndarray) or is_tensor(source):
        paths = isinstance(source, np.ndarray) and source.dtype.kind in "OSU" and source.ndim == 1
        return source if paths or source.ndim == 4 else None
    if not hasattr(source, "__iter__") and hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return _by_index(source)
    try:
        iterator: Iterator[Any] = iter(source)
    except TypeError:
        return None
    return iterator


def photo_in(item: Any) -> Any:
    """Return the photo of a collection's item: the item, or the member of a tuple that precedes its label.

    Raises PhotoError, whose message leaves it to the caller to name the photo, where it can't tell which one is meant.
    """
    if isinstance(item, PhotoError):
        raise item
    if isinstance(item, Mapping):
        raise PhotoError(
            f"is a {type(item).__name__} with {_names(item)}; pass the photo alone, as in "
            "[row['image'] for row in rows]"
        )
    if not isinstance(item, tuple | list):
        return _as_array(item)
    if isinstance(item, tuple) or len(item) > 1:  # a list of one photo is no photo with a label
        first, *others = item or [None]
        if _is_pixels(first) and not any(map(_is_pixels, others)):
            return first
        if isinstance(first, _TYPES) and not any(isinstance(other, _TYPES) for other in others):
            return first
    kinds = ", ".join(type(member).__name__ for member in item) or "nothing"
    raise PhotoError(
        f"is a {type(item).__name__} of {kinds}; pass the photo alone, or (photo, label), in one flat collection"
    )


def _by_index(source: Any) -> Iterator[Any]:
    """Yield the items of what can't be iterated; one that fails gives a PhotoError in its turn, and stops no other."""
    for index in range(len(source)):
        try:
            yield source[index]
        except IndexError:  # shorter than it says
            return
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            failure = PhotoError(
                f"can't be loaded from the {type(source).__name__} ({reason}); fix it, or leave it out"
            )
            failure.__cause__ = error
            yield failure


def _as_array(value: Any) -> Any:
    """Return other libraries' arrays, and columns of tables, as NumPy's; anything else as it is."""
    if isinstance(value, (*_TYPES, np.ndarray)) or is_tensor(value):  # NumPy's texts, too, would become arrays
        return value
    return np.asarray(value) if hasattr(value, "__array__") and hasattr(value, "dtype") else value


def _is_pixels(value: Any) -> bool:
    return isinstance(value, Image.Image) or ((isinstance(value, np.ndarray) or is_tensor(value)) and value.ndim >= 2)


def _names(item: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, list(item)[:5])) or "nothing"
