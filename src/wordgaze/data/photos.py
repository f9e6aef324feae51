"""The one place where a file becomes pixels: upright 8-bit RGB, or a sentence that says why not."""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from wordgaze.data.listing import why_missing
from wordgaze.data.streams import is_special, open_special
from wordgaze.errors import PhotoError, PhotoWarning

PhotoSource: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray"

MAX_PIXELS = 2 * (1024**3 // 12)
"""About 179 million, where Pillow stops too: decoded, such a photo takes half a gigabyte."""

# Not all that Pillow opens: some of its formats start other programs (EPS) or hide a second photo behind
# a small header (ICO, ICNS), which the pixel check could not see.
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

_TOO_LARGE = "needs more memory than there is; make it smaller first"
_DAMAGED_HEADER = "is damaged or cut short in its header; get the file again from where it came from"

_pillow_limit_lock = threading.Lock()


def open_photo(
    source: PhotoSource,
    *,
    max_pixels: int = MAX_PIXELS,
    strict: bool = False,
    on_warning: Callable[[str], None] | None = None,
) -> Image.Image:
    """Return a photo as 8-bit RGB: turned as its EXIF says, transparency on white, the first frame of many.

    ``source``: a path, a file's bytes, a binary file, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4)
    of uint8 or of floats from 0 to 1. Returns a new image without metadata. Raises PhotoError, whose message
    leaves it to the caller to name the photo.

    A photo that can be read but is probably not what it should be is described in a sentence of the same kind:
    ``on_warning`` is called with it, or without one a PhotoWarning is emitted. ``strict`` refuses a photo that
    is cut short, however little of it is missing.
    """
    if on_warning is None:
        on_warning = _emit_warning
    if isinstance(source, Image.Image):
        return _decode(source, max_pixels)
    if isinstance(source, np.ndarray):
        return _decode(_from_array(source), max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _read(io.BytesIO(source), max_pixels)
    if isinstance(source, str | os.PathLike):
        with _open_file(source) as file:
            return _read(file, max_pixels)
    if hasattr(source, "read"):
        return _read(source, max_pixels)
    raise PhotoError(
        f"is a {type(source).__name__}; pass a path, bytes, a binary file, a PIL image or a NumPy array"
    )


def _emit_warning(message: str) -> None:
    warnings.warn(message, PhotoWarning, stacklevel=3)


def _open_file(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        return open_special(path) if is_special(path) else open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise PhotoError(why_missing(path)) from None
    except IsADirectoryError:
        if os.access(path, os.R_OK | os.X_OK):
            raise PhotoError("is a folder, not a photo; name a photo inside it") from None
        raise PhotoError("is a folder that may not be read; check its permissions") from None
    except PermissionError:
        raise PhotoError("may not be read; check the file's permissions") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise PhotoError(f"can't be opened ({error}); check the path") from None


def _read(file: BinaryIO, max_pixels: int) -> Image.Image:
    if isinstance(file, io.TextIOBase):
        raise PhotoError("is a file open as text; open it in binary mode ('rb')")
    if not (hasattr(file, "seekable") and file.seekable()):
        file = io.BytesIO(file.read())
    try:
        # Pillow's own limit warns or raises in its own words before ours is asked; parsing a header is quick
        # enough to do one at a time.
        with _without_pillow_limit():
            image = _identify(file)
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError(_TOO_LARGE) from None
    except Exception:
        # Damage makes Pillow raise nearly anything: OSError, SyntaxError, ValueError, struct.error...
        raise PhotoError(_DAMAGED_HEADER) from None
    with image:
        return _decode(image, max_pixels)


def _identify(file: BinaryIO) -> Image.Image:
    """The photo behind ``file`` with its header read and its pixels not yet."""
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        beginning = file.read(16)
    if not beginning:
        raise PhotoError("is empty (0 bytes); get the file again from where it came from")
    if _HEIF_BEGINNING.match(beginning):
        try:
            import pillow_heif
        except ImportError:
            raise PhotoError("is a HEIF photo; to read these: pip install 'wordgaze[heif]'") from None
        pillow_heif.register_heif_opener()
        return Image.open(file, formats=["HEIF"])
    if _BEGINNING.match(beginning):
        raise PhotoError(_DAMAGED_HEADER)
    raise PhotoError(
        "is not a photo in a format that can be read (JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, JPEG 2000, "
        "PPM); convert it to JPEG or PNG"
    )


@contextmanager
def _without_pillow_limit() -> Iterator[None]:
    with _pillow_limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode(image: Image.Image, max_pixels: int) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise PhotoError(f"has no pixels ({width} x {height}); it can't be captioned")
    if width * height > max_pixels:
        raise PhotoError(
            f"has {width} x {height} = {width * height:,} pixels, more than the {max_pixels:,} allowed; "
            "make it smaller first"
        )
    try:
        image.load()
    except MemoryError:
        raise PhotoError(_TOO_LARGE) from None
    except Exception as error:  # as above: nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(
            f"is damaged or cut short ({reason}); get the file again from where it came from"
        ) from None
    try:
        rgb = _to_rgb(image)
    except MemoryError:
        raise PhotoError(_TOO_LARGE) from None
    except ValueError as error:
        raise PhotoError(f"has colors that can't be read ({error}); convert it to JPEG or PNG") from None
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info = {}  # with its EXIF left in, opening the result again would turn it twice
    return rgb


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a photo with broken EXIF is still a photo
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = _to_grey(image, (0, 65535))
    elif image.mode in ("I", "F"):
        image = _to_grey(image, _range(np.asarray(image)))
    if not image.has_transparency_data:
        # Adobe's inverted CMYK is no longer inverted here: Pillow turns it round when it reads a JPEG.
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _range(values: np.ndarray) -> tuple[float, float]:
    """Black and white where the mode leaves them open: the first usual scale that fits, else the extremes."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0, 1
    lowest, highest = float(finite.min()), float(finite.max())
    scales = (1, 255, 65535) if values.dtype.kind == "f" else (255, 65535)
    return next(((0, end) for end in scales if lowest >= 0 and highest <= end), (lowest, highest))


def _to_grey(image: Image.Image, black_and_white: tuple[float, float]) -> Image.Image:
    """8-bit grey of a deeper one; a value that the file calls transparent stays so."""
    values, (black, white) = np.asarray(image), black_and_white
    finite = np.nan_to_num(values.astype(np.float64), nan=black, posinf=white, neginf=black)
    scale = 255 / (white - black) if white > black else 0
    grey = Image.fromarray(np.rint((finite - black) * scale).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PhotoError(f"is an array of shape {array.shape}; pass (H, W), (H, W, 3) or (H, W, 4)")
    if 0 in array.shape:
        raise PhotoError(f"has no pixels (shape {array.shape}); it can't be captioned")
    if array.dtype.kind == "f":
        lowest, highest = float(array.min()), float(array.max())
        if not (lowest >= -0.001 and highest <= 1.001):  # `not`, so that not-a-number is refused too
            raise PhotoError(
                f"holds floats from {lowest:g} to {highest:g}; scale them to 0..1, or pass uint8"
            )
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise PhotoError(f"is an array of {array.dtype}; pass uint8, or floats from 0 to 1")
    return Image.fromarray(np.ascontiguousarray(array))
