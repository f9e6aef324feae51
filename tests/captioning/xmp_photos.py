"""Photos with metadata, taken apart without our own readers, and what exiftool says of them."""

from __future__ import annotations

import functools
import io
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

STANDARD = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
KEYWORD = b"XML:com.adobe.xmp\0"
XMP_MARKS = (STANDARD, EXTENDED)

needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="needs exiftool (Debian: libimage-exiftool-perl)"
)


def image_bytes(format: str, size: tuple[int, int] = (33, 21), mode: str = "RGB", **options: Any) -> bytes:
    """Return a photo of many colors in this format."""
    photo = Image.linear_gradient("L").resize(size)
    merged = Image.merge("RGB", [photo, photo.rotate(90).resize(size), photo.rotate(180)]).convert(mode)
    if mode == "RGBA":
        merged.putalpha(photo)
    file = io.BytesIO()
    merged.save(file, format, **options)
    return file.getvalue()


def rdf(content: str, attributes: str = "") -> bytes:
    """Return a packet of one rdf:Description, as a sidecar or a photo has it."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
        ' xmlns:wordgaze="urn:x-wordgaze:xmp:1.0#"'
        f' xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/" {attributes}>{content}</rdf:Description>\n'
        ' </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def language_alternative(tag: str, text: str, **others: str) -> str:
    items = {"x-default": text, **others}
    inside = "".join(f'<rdf:li xml:lang="{language}">{value}</rdf:li>' for language, value in items.items())
    return f"<{tag}><rdf:Alt>{inside}</rdf:Alt></{tag}>"


def segment(payload: bytes, marker: int = 0xE1) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def with_segments(jpeg: bytes, *payloads: bytes) -> bytes:
    """Return a JPEG with APP1 segments of these payloads as its first ones."""
    return jpeg[:2] + b"".join(map(segment, payloads)) + jpeg[2:]


def jpeg_parts(data: bytes) -> list[bytes]:
    """Return the segments of a JPEG up to its picture, then all the rest."""
    parts, position = [], 2
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        parts.append(data[position:end])
        position = end
    return [*parts, data[position:]]


def packets(data: bytes) -> list[bytes]:
    """Return the payloads of a JPEG's XMP segments."""
    return [part[4:] for part in jpeg_parts(data) if part[4:].startswith(XMP_MARKS)]


def without_xmp(data: bytes) -> list[bytes]:
    """Return all that a JPEG, PNG or WebP holds but its XMP, and what counts it."""
    if data[:2] == b"\xff\xd8":
        return [part for part in jpeg_parts(data) if not part[4:].startswith(XMP_MARKS)]
    if data[:4] == b"RIFF":
        return [chunk for chunk in webp_chunks(data) if chunk[:4] not in (b"XMP ", b"VP8X")]
    return [chunk for chunk in png_chunks(data) if chunk[8 : 8 + len(KEYWORD)] != KEYWORD]


def png_chunks(data: bytes) -> list[bytes]:
    """Return the chunks of a PNG whole, whose checksums must be right."""
    chunks, position = [], 8
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        chunk = data[position:end]
        assert chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
        chunks.append(chunk)
        position = end
    return chunks


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def webp_chunks(data: bytes) -> list[bytes]:
    """Return the chunks of a WebP with their padding; their sizes must add up to the file's."""
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    chunks, position = [], 12
    while position < len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        chunks.append(data[position : position + 8 + size + size % 2])
        position += len(chunks[-1])
    assert position == len(data)
    return chunks


@functools.cache
def _exiftool() -> subprocess.Popen[str]:
    # One for all commands, since each start takes as long as twenty of them; it ends with our end of the pipe.
    command = ["exiftool", "-stay_open", "True", "-@", "-"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def exiftool(*arguments: str | Path) -> str:
    """Return what exiftool says, also of what is wrong."""
    process = _exiftool()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n".join([*map(str, arguments), "-execute", ""]))
    process.stdin.flush()
    return "".join(iter(process.stdout.readline, "{ready}\n"))


def tags(path: Path) -> dict[str, Any]:
    """Return what exiftool reads of a photo, by group and name, but of the file itself."""
    own = ("--System:all", "--ExifTool:all", "--File:all")
    found = json.loads(exiftool("-j", "-G1", "-struct", "-a", "-n", "-all:all", *own, path))[0]
    return {name: value for name, value in found.items() if name != "SourceFile"}


def is_ours(name: str) -> bool:
    return name.startswith("XMP-wordgaze:") or name in ("XMP-iptcCore:AltTextAccessibility", "XMP-dc:Description")
