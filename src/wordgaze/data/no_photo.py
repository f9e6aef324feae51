"""What is often found under a photo's name, and what to do about it."""

from __future__ import annotations

import re

_KINDS = [
    (re.compile(begins, re.DOTALL | re.IGNORECASE), kind_and_advice)
    for begins, kind_and_advice in (
        (rb"(\xef\xbb\xbf)?\s*(<!doctype html|<html)", ("a web page", "download the photo itself")),
        (rb"version https://git-lfs", ("a pointer of Git LFS", "fetch the photo with: git lfs pull")),
        (rb"(\xef\xbb\xbf)?\s*(<svg|<\?xml.*<svg)", ("an SVG drawing", "")),
        (rb"%PDF-", ("a PDF document", "")),
        (rb"%!PS|\xc5\xd0\xd3\xc6", ("a PostScript document", "")),
        (rb"8BPS", ("a Photoshop document", "")),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", ("a JPEG XL photo", "")),
        (rb"\0\0\x01\0", ("an icon", "")),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", ("an archive", "unpack it first")),
        (rb"\{|\[", ("JSON", "download the photo itself")),
        (
            rb"....ftyp(isom|mp4|avc1|iso[0-9]|M4V|qt  )|\x1a\x45\xdf\xa3|RIFF....AVI ",
            ("a video", "save a frame of it"),
        ),
        (rb"FUJIFILMCCD-RAW|....ftypcrx ", ("a camera's raw photo", "")),
        (rb"\0{16}", ("a file that begins with zeros", "get it again from its source")),
    )
]


def kind_of_file(beginning: bytes) -> tuple[str, str]:
    """Return what a file that is no photo is by its first bytes, and an advice; both may be empty."""
    return next((answer for begins, answer in _KINDS if begins.match(beginning)), ("", ""))
