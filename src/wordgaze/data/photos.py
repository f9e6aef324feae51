"""The one place where a file becomes pixels: upright 8-bit RGB, or a sentence that says why not."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar, cast, overload

import numpy as np
from PIL import Image

from wordgaze.data.colors import from_array, from_tensor, is_tensor, is_uniform, to_rgb
from wordgaze.data.draft import Draft, MaxReduction, Photo
from wordgaze.data.load_photo import UPRIGHT, Loaded, Request, damaged, judge_cut, loader_of, orientation_of
from wordgaze.data.memory import GATE, Reservation, file_bytes
from wordgaze.data.packed import PackedPhoto
from wordgaze.data.quiet import quiet_pillow
from wordgaze.data.streams import open_file, read_stream, reason_of
from wordgaze.errors import PhotoError, PhotoWarning

if TYPE_CHECKING:
    from torch import Tensor

PhotoSource: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | PackedPhoto | Image.Image | np.ndarray | Tensor"
_Converted = TypeVar("_Converted")

MAX_PIXELS = 2 * (1024**3 // 12)
"""About 179 million, where Pillow stops too: decoded, such a photo takes half a gigabyte."""

_MANY_PIXELS = 32 * 1024**2
_TOO_LARGE = "needs more memory than there is; make it smaller first"


@overload
def open_photo(
    source: PhotoSource,
    *,
    max_pixels: int = ...,
    strict: bool = ...,
    on_warning: Callable[[str], None] | None = ...,
    max_reduction: None = ...,
) -> Image.Image: ...


@overload
def open_photo(
    source: PhotoSource,
    *,
    max_pixels: int = ...,
    strict: bool = ...,
    on_warning: Callable[[str], None] | None = ...,
    max_reduction: MaxReduction | None,
) -> Photo: ...


def open_photo(
    source: PhotoSource,
    *,
    max_pixels: int = MAX_PIXELS,
    strict: bool = False,
    on_warning: Callable[[str], None] | None = None,
    max_reduction: MaxReduction | None = None,
) -> Photo:
    """Return a photo as 8-bit RGB: turned as its EXIF says, transparency on white, the first frame of many.

    ``source``: a path, a file's bytes, a binary file, a PIL image, or an array or a torch tensor (H, W), (H, W, C) or
    (C, H, W) of 1, 3 or 4 channels, of uint8 or of floats from 0 to 1. Where a shape can be read both ways, an array
    has its channels last and a tensor has them first. Returns a new image without metadata. Raises PhotoError, whose
    message leaves it to the caller to name the photo.

    A photo that is cut short is read if 95 % of its rows are there; ``strict`` refuses it, however little is missing.
    This, transparency everywhere, and a first frame that shows nothing are each a sentence for ``on_warning``; without
    it, a PhotoWarning is emitted.

    ``max_reduction``: returns for a photo's size (w, h) by what factor it may be decoded smaller, as a JPEG file can
    be in much less time; the result may then be a :class:`~wordgaze.data.draft.DraftPhoto`.
    """
    messages: list[str] = []
    photo = convert_photo(
        source, lambda photo: photo, messages.append, max_pixels=max_pixels, strict=strict, max_reduction=max_reduction
    )
    for message in messages:
        if on_warning is not None:
            on_warning(message)
        else:
            name = os.fspath(source) if isinstance(source, str | os.PathLike) else "a photo"
            warnings.warn(f"{name}: {message}", PhotoWarning, stacklevel=2)
    return photo


def convert_photo(
    source: PhotoSource,
    convert: Callable[[Photo], _Converted],
    on_warning: Callable[[str], None],
    *,
    max_pixels: int = MAX_PIXELS,
    strict: bool = False,
    max_reduction: MaxReduction | None = None,
) -> _Converted:
    """Return ``convert(photo)``, to which the memory that is kept for decoding belongs, too.

    So what a model takes of many photos can be made by threads that hold no more than
    :data:`~wordgaze.data.memory.MOST_BYTES` together. All else as of :func:`open_photo`.
    """
    messages: list[str] = []

    def decode(reservation: Reservation) -> _Converted:
        messages.clear()
        request = Request(max_pixels, strict, max_reduction, reservation, messages)
        with quiet_pillow():
            photo = _open(source if file is None else file, request)
        return convert(photo)

    file = _file_of(source)
    try:
        converted = GATE.run(decode)
    finally:
        if file is not None and file is not source:
            file.close()
    for message in messages:
        on_warning(message)
    return converted


# From what is given to a photo


def _file_of(source: PhotoSource) -> BinaryIO | None:
    """Return the file of a photo, which can be read again from its beginning; None for what is no file."""
    if isinstance(source, str | os.PathLike):
        return open_file(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, Image.Image) or not hasattr(source, "read"):
        return None
    file = cast(BinaryIO, source)
    if isinstance(file, io.TextIOBase):
        raise PhotoError("is a file open as text; open it in binary mode ('rb')")
    if getattr(file, "closed", False):
        raise PhotoError("is a closed file; pass it while it is open, or its path")
    try:
        return file if hasattr(file, "seekable") and file.seekable() else io.BytesIO(_read_all(file))
    except (OSError, ValueError) as error:  # a broken connection
        raise PhotoError(f"can't be read ({reason_of(error)}); try again, or get the file again") from None


def _read_all(file: BinaryIO) -> bytes:
    try:
        return read_stream(file)
    except TypeError:  # an object of someone's own, whose read takes no size
        content = file.read()
    if not isinstance(content, bytes):
        raise PhotoError(f"is a file whose read returns {type(content).__name__}; open it in binary mode ('rb')")
    return content


def _open(source: PhotoSource, request: Request) -> Photo:
    if isinstance(source, Image.Image):
        return _open_pil(source, request)
    if hasattr(source, "read"):
        return _read(cast(BinaryIO, source), request)
    if is_tensor(source):
        return _finish(from_tensor(source), request)
    if hasattr(source, "__array__"):
        return _finish(from_array(np.asarray(source)), request)
    kind = type(source).__name__
    article = "an" if kind[0] in "aeiou" else "a"
    raise PhotoError(
        f"is {article} {kind}; pass a path, bytes, a binary file, a PIL image, a NumPy array or a torch tensor"
    )


def _read(file: BinaryIO, request: Request) -> Photo:
    try:
        file.seek(0)
        beginning = file.read(16)
        file.seek(0)
        if beginning:
            request.reservation.grow(file_bytes(file))
    except (OSError, ValueError) as error:  # a broken disk
        raise PhotoError(f"can't be read ({reason_of(error)}); try again, or get the file again") from None
    if not beginning:
        raise PhotoError("is empty (0 bytes); get the file again from its source")
    try:
        return _finish_loaded(loader_of(beginning)(file, request), request)
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError(_TOO_LARGE) from None
    except OSError as error:  # of the system, in the middle of the file
        raise PhotoError(f"can't be read ({reason_of(error)}); try again, or get the file again") from None


# From a loaded picture to RGB


def _open_pil(image: Image.Image, request: Request) -> Photo:
    request.check_size(image.size)
    file = getattr(image, "fp", None)
    try:
        image.load()
    except MemoryError:
        raise PhotoError(_TOO_LARGE) from None
    except Exception as error:
        if "closed" in str(error) or (file is None and isinstance(error, AssertionError)):
            raise PhotoError("is a PIL image that is closed; pass it while it is open, or its path") from None
        if file is not None and not file.closed and image.tell() == 0:
            return _read(file, request)
        raise damaged(error, image) from None
    return _finish(image, request)


def _finish_loaded(loaded: Loaded, request: Request) -> Photo:
    # In a function of its own, so that nothing holds what was decoded once it has returned.
    return _finish(loaded.image, request, loaded)


def _finish(image: Image.Image, request: Request, loaded: Loaded | None = None) -> Photo:
    """Return a picture as upright RGB."""
    request.check_size(image.size)
    if loaded is not None:
        judge_cut(loaded, request)
    try:
        rgb, clear = to_rgb(image, is_ours=loaded is not None)
    except MemoryError:
        raise PhotoError(_TOO_LARGE) from None
    except ValueError as error:
        raise PhotoError(f"has colors that can't be read ({error}); convert it to JPEG or PNG") from None
    except Exception as error:  # of a palette that is missing: an AssertionError
        if loaded is None:
            raise
        raise damaged(error, image) from None
    is_one_of_many = loaded is not None and (clear or is_uniform(rgb)) and _is_animated(loaded)
    what = f"{clear}, so that only white is seen" if clear else "of a single color"
    if is_one_of_many:
        request.messages.append(f"has a first frame that is {what}; save the frame you mean as a photo")
    elif clear:
        request.messages.append(f"is {what}; save it without transparency")
    turn = UPRIGHT.get(orientation_of(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info = {}  # with its EXIF left in, opening the result again would turn it twice
    draft = None if loaded is None else loaded.draft
    if draft is None and loaded is not None and request.max_reduction and rgb.width * rgb.height > _MANY_PIXELS:
        # What waits for the model must be small.
        scale = int(max(1, min(request.max_reduction(rgb.size), *rgb.size)))
        draft, rgb = Draft(rgb.size, scale, 1), rgb.reduce(scale)
    return rgb if draft is None else draft.photo(rgb)


def _is_animated(loaded: Loaded) -> bool:
    try:
        return loaded.is_animated or getattr(loaded.image, "is_animated", False)
    except Exception:  # of a GIF, the second frame is looked for only now
        return False
