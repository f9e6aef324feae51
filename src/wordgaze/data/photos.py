"""The one place where a file becomes pixels: upright 8-bit RGB, or a sentence that says why not."""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, cast, overload

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from wordgaze.data.colors import from_array, from_tensor, is_tensor, to_rgb
from wordgaze.data.cut_short import ends_in_gray, ends_in_zeros, fill_up, jpeg_kind, webp_size
from wordgaze.data.draft import Draft, MaxReduction, Photo, set_draft
from wordgaze.data.exif_bombs import defused_jpeg, holds_bomb, is_bomb
from wordgaze.data.memory import DEEP, FILLED_UP, LARGE, TURN, bytes_to_decode, check_bytes, may_take
from wordgaze.data.no_photo import kind_of_file
from wordgaze.data.packed import PackedPhoto
from wordgaze.data.png import fill_up_png, lacks_rows, read_deep_png, read_plain_png
from wordgaze.data.quiet import open_with_pillow, quiet_pillow
from wordgaze.data.streams import open_file, read_stream, reason_of
from wordgaze.data.tiff import TiffLayout, ends_before_layout, read_layout, read_tiff
from wordgaze.errors import PhotoError, PhotoWarning

if TYPE_CHECKING:
    from torch import Tensor

PhotoSource: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | PackedPhoto | Image.Image | np.ndarray | Tensor"

MAX_PIXELS = 2 * (1024**3 // 12)
"""About 179 million, where Pillow stops too: decoded, such a photo takes half a gigabyte."""

# Not all that Pillow opens: some of its formats start other programs (EPS), or hide from the pixel check a second
# photo after a small header (ICO, ICNS).
_FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM"]
_BEGINNING = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*|\0\0\0\x0cjP|....ftypavi[fs]", re.DOTALL
)
_HEIF_BEGINNING = re.compile(rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_MANY_PIXELS = LARGE // 8
_ENOUGH_ROWS = 0.95  # of a photo that is cut short, to be read all the same
_MAX_FILLED_PIXELS = 400_000_000  # to decode in all, of a file that is filled up in several ways
_NOT_SUPPORTED = re.compile(r"unsupported|not supported|unknown|can(not|'t) handle", re.IGNORECASE)
_TOO_LARGE = "needs more memory than there is; make it smaller first"
_BOMB = "has EXIF tags that claim far more than there is; save it again without metadata"
_HAS_EXIF_IN_ONE_PIECE = re.compile(rb"RIFF....WEBP|....ftyp", re.DOTALL)
_DAMAGED_HEADER = "is damaged or cut short in its header; get the file again from its source"


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
    request = _Request(max_pixels, strict, max_reduction)
    with quiet_pillow():
        photo = _open(source, request)
    for message in request.messages:
        if on_warning is not None:
            on_warning(message)
        else:
            name = os.fspath(source) if isinstance(source, str | os.PathLike) else "a photo"
            warnings.warn(f"{name}: {message}", PhotoWarning, stacklevel=2)
    return photo


@dataclass
class _Request:
    """The caller's limits, and the warnings to give."""

    max_pixels: int
    strict: bool
    max_reduction: MaxReduction | None
    messages: list[str] = field(default_factory=list)
    large: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)  # holds the turn of a large photo

    def check_memory(self, image: Image.Image, file: BinaryIO, scale: int = 1, factor: int = 0) -> None:
        """Raise PhotoError where decoding takes too much memory; wait for a turn where it takes much."""
        # Asked for EXIF that it has not, a PNG decodes its pixels.
        turned = (image.format != "PNG" or "exif" in image.info) and _orientation(image) in _UPRIGHT
        progressive = "progressive" in image.info
        needed = bytes_to_decode(image, scale, is_progressive=progressive, is_turned=turned)
        needed = max(needed, factor * image.width * image.height)
        check_bytes(needed, image.size, file)
        if needed > LARGE:
            self.large.enter_context(TURN)


def _open(source: PhotoSource, request: _Request) -> Photo:
    if isinstance(source, Image.Image):
        return _open_pil(source, request)
    if isinstance(source, bytes | bytearray | memoryview):
        return _read(io.BytesIO(source), request)
    if isinstance(source, str | os.PathLike):
        with open_file(source) as file:
            return _read(file, request)
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


# From a file to a loaded picture


@dataclass
class _Loaded:
    """A picture with its pixels as the file has them, and how much of it was there."""

    image: Image.Image
    rows: int | None = None  # where the file ended too early
    note: str = ""
    is_damaged: bool = False  # and not only cut short
    is_animated: bool = False
    draft: Draft | None = None


def _read(file: BinaryIO, request: _Request) -> Photo:
    if isinstance(file, io.TextIOBase):
        raise PhotoError("is a file open as text; open it in binary mode ('rb')")
    if getattr(file, "closed", False):
        raise PhotoError("is a closed file; pass it while it is open, or its path")
    try:
        if not (hasattr(file, "seekable") and file.seekable()):
            file = io.BytesIO(_read_all(file))
        file.seek(0)
        beginning = file.read(16)
        file.seek(0)
    except (OSError, ValueError) as error:  # a broken disk or connection
        raise PhotoError(f"can't be read ({reason_of(error)}); try again, or get the file again") from None
    if not beginning:
        raise PhotoError("is empty (0 bytes); get the file again from its source")
    load = _LOADERS.get(next((name for name, begins in _BEGINNINGS.items() if begins.match(beginning)), ""), _load)
    try:
        with request.large:
            loaded = load(file, request)
            return _finish(loaded.image, request, loaded)
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError(_TOO_LARGE) from None
    except OSError as error:  # of the system, in the middle of the file
        raise PhotoError(f"can't be read ({reason_of(error)}); try again, or get the file again") from None


def _read_all(file: BinaryIO) -> bytes:
    try:
        return read_stream(file)
    except TypeError:  # an object of someone's own, whose read takes no size
        content = file.read()
    if not isinstance(content, bytes):
        raise PhotoError(f"is a file whose read returns {type(content).__name__}; open it in binary mode ('rb')")
    return content


def _load(file: BinaryIO, request: _Request) -> _Loaded:
    """Return a picture of any format, filled up where the file ended too early."""
    image = None
    size = webp_size(file.read(30))
    file.seek(0)
    beginning = file.read(12)
    if beginning.startswith(b"\xff\xd8"):
        file = defused_jpeg(file)
    elif _HAS_EXIF_IN_ONE_PIECE.match(beginning):
        file.seek(0)
        if holds_bomb(file.read()):
            raise PhotoError(_BOMB)
    file.seek(0)
    if size is not None and min(size) > 0:
        _check_size(size, request)
    try:
        image = _identify(file)
        _check_size(image.size, request)
        is_jpeg, draft = image.format in ("JPEG", "MPO"), None
        if is_jpeg and request.max_reduction is not None:
            draft = set_draft(image, file, _orientation(image), request.max_reduction)
        request.check_memory(image, file, draft.scale if draft else 1)
        image.load()
        if is_jpeg and (ends_in_zeros(file) or ends_in_gray(image)):
            return _fill_up(file, image.format, request) or _Loaded(image, draft=draft)
        return _Loaded(image, draft=draft)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:  # damage makes Pillow raise nearly anything
        filled = _fill_up(file, image.format if image is not None else None, request)
        if filled is not None:
            return filled
        file.seek(0)
        kind = jpeg_kind(file.read())
        if kind is not None:
            raise PhotoError(f"is a kind of JPEG that can't be read ({kind}); convert it to JPEG or PNG") from None
        raise _damaged(error, image) from None


def _load_png(file: BinaryIO, request: _Request) -> _Loaded:
    png = read_plain_png(file)
    try:
        image = open_with_pillow(png.file(), _FORMATS)
    except Exception:
        raise PhotoError(_DAMAGED_HEADER) from None
    _check_size(image.size, request)
    request.check_memory(image, file)
    try:
        image.load()
        if lacks_rows(png, image):
            raise OSError("its pixels end too early")
    except MemoryError:
        raise
    except Exception as error:
        filled = fill_up_png(png) if may_take(FILLED_UP * image.width * image.height, file) else None
        if filled is None:
            raise _damaged(error, image) from None
        image = open_with_pillow(filled.file, _FORMATS)
        image.load()
        return _Loaded(image, filled.rows, is_damaged=filled.is_damaged, is_animated=png.is_animated)
    deep = read_deep_png(png, image, lambda: request.check_memory(image, file, factor=DEEP))
    image = image if deep is None else deep
    return _Loaded(image, None if png.is_whole else image.height, is_animated=png.is_animated)


def _load_tiff(file: BinaryIO, request: _Request) -> _Loaded:
    if is_bomb(file):
        raise PhotoError("has tags that claim far more than there is; save it again")
    layout = read_layout(file)
    if layout is None and ends_before_layout(file):
        raise PhotoError(
            "is damaged or cut short: its end, where this TIFF says how to read the rest, is missing; get the file "
            "again from its source"
        )
    if layout is None:
        raise PhotoError(_DAMAGED_HEADER)
    _check_size(layout.size, request)
    if not layout.is_for_pillow:
        return _load_odd_tiff(file, layout)
    image = None
    try:
        image = open_with_pillow(file, _FORMATS)
        request.check_memory(image, file)
        image.load()
        return _Loaded(image)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        if image is None or layout.is_of_bytes:
            return _load_odd_tiff(file, layout)
        raise _damaged(error, image) from None


def _load_odd_tiff(file: BinaryIO, layout: TiffLayout) -> _Loaded:
    try:
        image, rows = read_tiff(file, layout)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        raise _damaged(error, None) from None
    return _Loaded(image, None if rows == layout.size[1] else rows)


_BEGINNINGS = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
}
_LOADERS = {"PNG": _load_png, "TIFF": _load_tiff}


def _damaged(error: Exception, image: Image.Image | None) -> PhotoError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if _NOT_SUPPORTED.search(reason):
        kind = f"a kind of {image.format} that" if image is not None else "of a kind that"
        return PhotoError(f"is {kind} can't be read ({reason}); convert it to JPEG or PNG")
    if image is None:
        return PhotoError(_DAMAGED_HEADER)
    # What is not an OSError was raised by accident, in words that make sense only to a reader of Pillow's code.
    reason = f" ({reason})" if isinstance(error, OSError) else ""
    return PhotoError(f"is damaged or cut short{reason}; get the file again from its source")


def _identify(file: BinaryIO) -> Image.Image:
    """Return the photo in ``file``, its header read, its pixels not yet."""
    try:
        return open_with_pillow(file, _FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        beginning = file.read(64)
    if _HEIF_BEGINNING.match(beginning):
        try:
            import pillow_heif
        except ImportError:
            raise PhotoError("is a HEIF photo; to read these: pip install 'wordgaze[heif]'") from None
        pillow_heif.register_heif_opener()
        return open_with_pillow(file, ["HEIF"])
    if _BEGINNING.match(beginning):
        raise OSError("the header can't be read")
    kind, advice = kind_of_file(beginning)
    raise PhotoError(
        f"is {kind and kind + ', '}not a photo in a format that can be read (JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, "
        f"JPEG 2000, PPM); {advice or 'convert it to JPEG or PNG'}"
    )


def _check_size(size: tuple[int, int], request: _Request) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PhotoError(f"has no pixels ({width} x {height}); it can't be captioned")
    if width * height > request.max_pixels:
        raise PhotoError(
            f"has {width} x {height} = {width * height:,} pixels, more than the {request.max_pixels:,} allowed; "
            "make it smaller first"
        )


# Files that end too early


def _fill_up(file: BinaryIO, format: str | None, request: _Request) -> _Loaded | None:
    file.seek(0)
    data = file.read()
    if format is None:
        format = "WEBP" if data[8:12] == b"WEBP" else "AVIF" if data[4:11] == b"ftypavi" else None
    if format is None:
        return None

    left = _MAX_FILLED_PIXELS

    def pixels(data: bytes) -> np.ndarray | None:
        nonlocal left
        width, height = webp_size(data) or (0, 0)  # WebP takes its time before it fails
        if width * height > left:
            return None
        try:
            image = open_with_pillow(io.BytesIO(data), _FORMATS)
            width, height = image.size
            _check_size(image.size, request)
            if width * height > left or not may_take(FILLED_UP * width * height, file):
                return None
            array = np.asarray(image)
            return array if array.ndim == 3 else array[..., None]
        except (PhotoError, MemoryError):
            raise
        except Exception:
            return None
        finally:
            left -= width * height

    filled = fill_up(data, format, pixels)
    if filled is None:
        return None
    image = open_with_pillow(io.BytesIO(filled.file), _FORMATS)
    image.load()
    return _Loaded(image, filled.rows, filled.note)


def _judge_cut(loaded: _Loaded, request: _Request) -> None:
    """Raise PhotoError for a picture that misses too much; note a warning for one that misses less."""
    rows, height = loaded.rows, loaded.image.height
    if rows is None:
        return
    again = "get the file again from its source"
    if rows < _ENOUGH_ROWS * height:
        raise PhotoError(f"is damaged or cut short: only {rows} of {height} rows can be read; {again}")
    what = "is damaged" if loaded.is_damaged else "is cut short"
    if rows < height:
        what += f": {rows} of {height} rows can be read"
    else:
        what += f", though all of its {height} rows can be read{loaded.note}"
    if request.strict:
        raise PhotoError(f"{what}; that is refused here (strict); {again}")
    request.messages.append(f"{what}; {again}")


# From a loaded picture to RGB


def _open_pil(image: Image.Image, request: _Request) -> Photo:
    _check_size(image.size, request)
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
        raise _damaged(error, image) from None
    return _finish(image, request)


def _finish(image: Image.Image, request: _Request, loaded: _Loaded | None = None) -> Photo:
    """Return a picture as upright RGB."""
    _check_size(image.size, request)
    if loaded is not None:
        _judge_cut(loaded, request)
    try:
        rgb, clear = to_rgb(image, is_ours=loaded is not None)
    except MemoryError:
        raise PhotoError(_TOO_LARGE) from None
    except ValueError as error:
        raise PhotoError(f"has colors that can't be read ({error}); convert it to JPEG or PNG") from None
    except Exception as error:  # of a palette that is missing: an AssertionError
        if loaded is None:
            raise
        raise _damaged(error, image) from None
    is_one_of_many = loaded is not None and (clear or _is_uniform(rgb)) and _is_animated(loaded)
    what = f"{clear}, so that only white is seen" if clear else "of a single color"
    if is_one_of_many:
        request.messages.append(f"has a first frame that is {what}; save the frame you mean as a photo")
    elif clear:
        request.messages.append(f"is {what}; save it without transparency")
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info = {}  # with its EXIF left in, opening the result again would turn it twice
    draft = None if loaded is None else loaded.draft
    if draft is None and loaded is not None and request.max_reduction and rgb.width * rgb.height > _MANY_PIXELS:
        # While this thread has its turn: what waits for the model must be small.
        scale = int(max(1, min(request.max_reduction(rgb.size), *rgb.size)))
        draft, rgb = Draft(rgb.size, scale, 1), rgb.reduce(scale)
    return rgb if draft is None else draft.photo(rgb)


def _is_uniform(rgb: Image.Image) -> bool:
    return len(rgb.getcolors(maxcolors=1) or ()) == 1


def _is_animated(loaded: _Loaded) -> bool:
    try:
        return loaded.is_animated or getattr(loaded.image, "is_animated", False)
    except Exception:  # of a GIF, the second frame is looked for only now
        return False


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a photo with broken EXIF is still a photo
        return 1
