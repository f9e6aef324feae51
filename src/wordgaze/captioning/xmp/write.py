"""Alt text into a photo's file or its sidecar: whole or not at all, and nothing else of either changes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from wordgaze.captioning.xmp import jpeg, png
from wordgaze.captioning.xmp.jpeg import JpegXmp
from wordgaze.captioning.xmp.merge import AltText, Existing, Merged, Owner, Xmp, merge
from wordgaze.captioning.xmp.packet import MAX_PACKET, Packet
from wordgaze.captioning.xmp.png import PngXmp
from wordgaze.captioning.xmp.splice import Splice, copy_spliced
from wordgaze.captioning.xmp.webp import WebpXmp
from wordgaze.errors import PhotoError
from wordgaze.files import AnyPath, one_line, write_whole

Where = Literal["embed", "sidecar"]
Status = Literal["written", "skipped", "kept"]

_NO_PLACE = "is of a kind that takes no alt text inside (JPEG, PNG and WebP do); its place is {}"


@dataclass(frozen=True)
class Outcome:
    """What became of an alt text.

    ``status``: ``written``, ``skipped`` (one of ours was there) or ``kept`` (a person's was). ``file``: where the alt
    text is, or would be. ``message``: what a person should know besides, after the photo's name.
    """

    status: Status
    file: Path
    message: str | None = None


class Container(Protocol):
    """A kind of file that can hold XMP: where it is, and the edits for another."""

    xmp: Xmp

    def splices(self, merged: Xmp) -> list[Splice]: ...


def write_alt_text(
    photo: AnyPath, alt: AltText, where: Where = "embed", existing: Existing = "skip", *, dry_run: bool = False
) -> Outcome:
    """Write an alt text into a photo, or into ``PHOTO.xmp`` beside it, unless there is one.

    ``where``: ``embed`` takes the sidecar too for what is no JPEG, PNG or WebP. ``existing``: ``overwrite`` replaces
    text of ours; a person's always stays, in whichever of the two places it is. ``dry_run``: say what would happen,
    and write nothing. Raises PhotoError for a photo or sidecar that can't be written into, and OSError; both are then
    as they were.
    """
    path = Path(photo)
    target = Path(os.path.realpath(path))
    if not target.is_file():
        raise PhotoError("is no file that alt text can be written to; name a photo")
    sidecar = path.with_name(f"{path.name}.xmp")
    with target.open("rb") as file:
        before = os.fstat(file.fileno())
        if where == "embed" and (container := _container(file)) is not None:
            merged = merge(container.xmp, alt, existing, _packets(lambda: _read_sidecar(sidecar)))
            if merged.xmp is not None and not dry_run:
                _embed(target, file, before, container.splices(merged.xmp))
            return Outcome(_status(merged), path)
        message = None if where == "sidecar" else _NO_PLACE.format(one_line(sidecar))
        merged = _merge_sidecar(sidecar, alt, existing, _packets(lambda: _embedded(file)))
        if merged.xmp is not None and not dry_run:
            data = merged.xmp.standard
            assert data is not None
            write_whole(sidecar, lambda file: file.write(data))
        return Outcome(_status(merged), sidecar, message)


def _container(file: BinaryIO) -> Container | None:
    """Return the photo's XMP, or None for a kind that we don't write into."""
    file.seek(0)
    head = file.read(12)
    if head.startswith(jpeg.SIGNATURE):
        return JpegXmp(file)
    if head.startswith(png.SIGNATURE):
        return PngXmp(file)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return WebpXmp(file)
    return None


def _embedded(file: BinaryIO) -> Xmp:
    container = _container(file)
    return Xmp() if container is None else container.xmp


def _packets(read: Callable[[], Xmp]) -> list[Packet]:
    """Return what the place that is not written to says; what can't be read there says nothing."""
    try:
        return read().packets()
    except (PhotoError, OSError):
        return []


def _embed(target: Path, file: BinaryIO, before: os.stat_result, splices: list[Splice]) -> None:
    if not os.access(target, os.W_OK):
        raise PhotoError("is not writable, so no alt text is written into it; change its permissions")

    def write(out: BinaryIO) -> None:
        copy_spliced(file, splices, out)
        out.flush()
        _keep_attributes(file, out)
        if _version(before) != _version(os.stat(target)):
            raise PhotoError("changed while it was read; try again when nothing else writes it")
        os.utime(out.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))

    write_whole(target, write)


def _merge_sidecar(sidecar: Path, alt: AltText, existing: Existing, elsewhere: list[Packet]) -> Merged:
    try:
        return merge(_read_sidecar(sidecar), alt, existing, elsewhere)
    except PhotoError as error:
        raise PhotoError(f"has the sidecar {one_line(sidecar)}, which {error}") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise PhotoError("has a name too long for a sidecar's, with .xmp behind it; give it a shorter one") from None


def _read_sidecar(sidecar: Path) -> Xmp:
    try:
        size = os.stat(sidecar).st_size
    except FileNotFoundError:
        return Xmp()
    if not sidecar.is_file():
        raise PhotoError("is no file; remove it")
    if size > MAX_PACKET:
        raise PhotoError(f"is of {size:,} bytes, and at most {MAX_PACKET:,} are read; make it smaller")
    return Xmp(sidecar.read_bytes())


def _status(merged: Merged) -> Status:
    if merged.xmp is not None:
        return "written"
    return "kept" if merged.owner is Owner.PERSON else "skipped"


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _keep_attributes(source: BinaryIO, target: BinaryIO) -> None:
    """Give a new file its predecessor's owner and extended attributes, where the system lets us."""
    status = os.fstat(source.fileno())
    with suppress(OSError, AttributeError):
        os.fchown(target.fileno(), status.st_uid, status.st_gid)
    with suppress(OSError, AttributeError):
        for name in os.listxattr(source.fileno()):
            with suppress(OSError):
                os.setxattr(target.fileno(), name, os.getxattr(source.fileno(), name))
