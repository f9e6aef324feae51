"""From a photo's file to its pixels as the file has them, whichever its format, within the memory that it may take."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from wordgaze.data.cut_short import MAX_FILLING, ends_in_gray, ends_in_zeros, fill_up, jpeg_kind, webp_size
from wordgaze.data.draft import Draft, MaxReduction, set_draft
from wordgaze.data.exif_bombs import defused_jpeg, holds_bomb, is_bomb
from wordgaze.data.jpeg_scans import check_scans
from wordgaze.data.memory import DEEP, FILLED_UP, Reservation, bytes_to_decode, check_bytes, file_bytes, may_take
from wordgaze.data.no_photo import kind_of_file
from wordgaze.data.png import fill_up_png, lacks_rows, read_deep_png, read_plain_png
from wordgaze.data.quiet import open_with_pillow
from wordgaze.data.tiff import (
    TiffLayout,
    block_bytes,
    bytes_to_read,
    check_kind,
    ends_before_layout,
    read_layout,
    read_tiff,
)
from wordgaze.errors import PhotoError

# Not all that Pillow opens: some of its formats start other programs (EPS), or hide from the pixel check a second
# photo after a small header (ICO, ICNS).
_FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM"]
_BEGINNING = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*|\0\0\0\x0cjP|....ftypavi[fs]", re.DOTALL
)
_HEIF_BEGINNING = re.compile(rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL)

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ENOUGH_ROWS = 0.95  # of a photo that is cut short, to be read all the same
_MAX_FILLED_PIXELS = 400_000_000  # to decode in all, of a file that is filled up in several ways
_NOT_SUPPORTED = re.compile(r"unsupported|not supported|unknown|can(not|'t) handle", re.IGNORECASE)
_BOMB = "has EXIF tags that claim far more than there is; save it again without metadata"
_HAS_EXIF_IN_ONE_PIECE = re.compile(rb"RIFF....WEBP|....ftyp", re.DOTALL)
_DAMAGED_HEADER = "is damaged or cut short in its header; get the file again from its source"


@dataclass
class Request:
    """The caller's limits, the memory that is kept for the photo, and the warnings to give."""

    max_pixels: int
    strict: bool
    max_reduction: MaxReduction | None
    reservation: Reservation
    messages: list[str] = field(default_factory=list)

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise PhotoError for a photo without pixels, or with too many."""
        width, height = size
        if width < 1 or height < 1:
            raise PhotoError(f"has no pixels ({width} x {height}); it can't be captioned")
        if width * height > self.max_pixels:
            raise PhotoError(
                f"has {width} x {height} = {width * height:,} pixels, more than the {self.max_pixels:,} allowed; "
                "make it smaller first"
            )

    def check_memory(
        self, image: Image.Image, file: BinaryIO, size: tuple[int, int] | None = None, scale: int = 1, more: int = 0
    ) -> None:
        """Keep memory for decoding an image, whose whole ``size`` may be another; raise PhotoError for too much."""
        # Asked for EXIF that it has not, a PNG decodes its pixels.
        turned = (image.format != "PNG" or "exif" in image.info) and orientation_of(image) in UPRIGHT
        progressive, size = "progressive" in image.info, size or image.size
        needed = bytes_to_decode(image, size, scale, is_progressive=progressive, is_turned=turned)
        self.keep(needed + more, size, file)

    def keep_to_fill_up(self, size: tuple[int, int], file: BinaryIO) -> bool:
        """Keep memory for a photo whose missing end is filled in; return whether it may take so much."""
        needed = FILLED_UP * size[0] * size[1]
        if not may_take(needed, file):
            return False
        self.reservation.grow(needed + file_bytes(file) + 2 * MAX_FILLING)
        return True

    def keep(self, needed: int, size: tuple[int, int], file: BinaryIO) -> None:
        """Keep as much memory for a photo of ``size`` in ``file``; raise PhotoError where that is too much."""
        check_bytes(needed, size, file)
        self.reservation.grow(needed + file_bytes(file))


@dataclass
class Loaded:
    """A picture with its pixels as the file has them, and how much of it was there."""

    image: Image.Image
    rows: int | None = None  # where the file ended too early
    note: str = ""
    is_damaged: bool = False  # and not only cut short
    is_animated: bool = False
    draft: Draft | None = None


def _load(file: BinaryIO, request: Request) -> Loaded:
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
        request.check_size(size)
    try:
        image = _identify(file)
        request.check_size(image.size)
        is_jpeg, draft = image.format in ("JPEG", "MPO"), None
        if is_jpeg:
            check_scans(file, image.size)
        size = image.size  # which a draft makes smaller
        if is_jpeg and request.max_reduction is not None:
            draft = set_draft(image, file, orientation_of(image), request.max_reduction)
        request.check_memory(image, file, size, draft.scale if draft else 1)
        image.load()
        if is_jpeg and (ends_in_zeros(file) or ends_in_gray(image)):
            return _fill_up(file, image.format, request) or Loaded(image, draft=draft)
        return Loaded(image, draft=draft)
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
        raise damaged(error, image) from None


def _load_png(file: BinaryIO, request: Request) -> Loaded:
    png = read_plain_png(file)
    try:
        image = open_with_pillow(png.file(), _FORMATS)
    except Exception:
        raise PhotoError(_DAMAGED_HEADER) from None
    request.check_size(image.size)
    request.check_memory(image, file)
    try:
        image.load()
        if lacks_rows(png, image):
            raise OSError("its pixels end too early")
    except MemoryError:
        raise
    except Exception as error:
        filled = fill_up_png(png) if request.keep_to_fill_up(image.size, file) else None
        if filled is None:
            raise damaged(error, image) from None
        image = open_with_pillow(filled.file, _FORMATS)
        image.load()
        return Loaded(image, filled.rows, is_damaged=filled.is_damaged, is_animated=png.is_animated)
    pixels = image.width * image.height
    deep = read_deep_png(png, image, lambda: request.keep(DEEP * pixels, image.size, file))
    image = image if deep is None else deep
    return Loaded(image, None if png.is_whole else image.height, is_animated=png.is_animated)


def _load_tiff(file: BinaryIO, request: Request) -> Loaded:
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
    request.check_size(layout.size)
    if not layout.is_for_pillow:
        return _load_odd_tiff(file, layout, request)
    image = None
    try:
        image = open_with_pillow(file, _FORMATS)
        request.check_memory(image, file, more=block_bytes(layout))
        image.load()
        return Loaded(image)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        if image is None or layout.is_of_bytes:
            return _load_odd_tiff(file, layout, request)
        raise damaged(error, image) from None


def _load_odd_tiff(file: BinaryIO, layout: TiffLayout, request: Request) -> Loaded:
    check_kind(layout)
    request.keep(bytes_to_read(layout), layout.size, file)
    try:
        image, rows = read_tiff(file, layout)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        raise damaged(error, None) from None
    return Loaded(image, None if rows == layout.size[1] else rows)


_BEGINNINGS = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
}
_LOADERS = {"PNG": _load_png, "TIFF": _load_tiff}


def loader_of(beginning: bytes) -> Callable[[BinaryIO, Request], Loaded]:
    """Return what reads a file that begins so."""
    return _LOADERS.get(next((name for name, begins in _BEGINNINGS.items() if begins.match(beginning)), ""), _load)


def damaged(error: Exception, image: Image.Image | None) -> PhotoError:
    """Return what to say of a file that a decoder failed on."""
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


# Files that end too early


def _fill_up(file: BinaryIO, format: str | None, request: Request) -> Loaded | None:
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
            request.check_size(image.size)
            if width * height > left or not request.keep_to_fill_up(image.size, file):
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
    return Loaded(image, filled.rows, filled.note)


def judge_cut(loaded: Loaded, request: Request) -> None:
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


def orientation_of(image: Image.Image) -> int:
    """Return which side is up, as EXIF says."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a photo with broken EXIF is still a photo
        return 1
