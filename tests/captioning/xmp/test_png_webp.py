"""Alt text in PNGs and WebPs: chunks that stay to the byte, compressed packets, simple files that become extended."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest
from PIL import Image
from tests.captioning.xmp_photos import (
    KEYWORD,
    image_bytes,
    language_alternative,
    png_chunk,
    png_chunks,
    rdf,
    webp_chunks,
    without_xmp,
)

from wordgaze.captioning.xmp.merge import AltText
from wordgaze.captioning.xmp.write import write_alt_text
from wordgaze.errors import PhotoError

ALT = AltText("a dog", "bundled", "0123abcd", 0.5678)
OTHER = AltText("two dogs", "another", "ffff")
ANIMATED = {"save_all": True, "append_images": [Image.new("RGB", (33, 21), "blue")], "duration": 100}


def written(path: Path, data: bytes, alt: AltText = ALT) -> bytes:
    """Return what a photo of these bytes is with an alt text; all but its XMP is the same, and the pixels are."""
    path.write_bytes(data)
    assert write_alt_text(path, alt, existing="overwrite").status == "written"
    after = path.read_bytes()
    assert without_xmp(after) == without_xmp(data)
    old, new = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(after))
    assert (old.size, old.mode, getattr(old, "n_frames", 1)) == (new.size, new.mode, getattr(new, "n_frames", 1))
    assert old.tobytes() == new.tobytes()
    return after


def packet_of(data: bytes) -> bytes:
    """Return the packet as Pillow finds it."""
    photo = Image.open(io.BytesIO(data))
    photo.load()
    found = photo.info["xmp"]
    assert isinstance(found, bytes)
    return found


def refused(path: Path, data: bytes, words: str) -> None:
    path.write_bytes(data)
    with pytest.raises(PhotoError, match=words):
        write_alt_text(path, ALT)
    assert path.read_bytes() == data and [file.name for file in path.parent.iterdir()] == [path.name]


def png_with(*chunks: bytes, at: int = -1) -> bytes:
    """Return a PNG with further chunks, by default before its end."""
    found = png_chunks(image_bytes("PNG"))
    found[at:at] = chunks
    return b"\x89PNG\r\n\x1a\n" + b"".join(found)


CITY = rdf("<photoshop:City>x</photoshop:City>")
PNGS = {
    "plain": image_bytes("PNG"),
    "palette and text": image_bytes("PNG", mode="P", dpi=(72, 72)) + b"behind the end",
    "animated": image_bytes("PNG", **ANIMATED),
    "a packet": png_with(png_chunk(b"iTXt", KEYWORD + b"\0\0\0\0" + CITY), at=1),
    "a packet behind the picture": png_with(png_chunk(b"iTXt", KEYWORD + b"\0\0en\0word\0" + CITY)),
    "a compressed packet": png_with(png_chunk(b"iTXt", KEYWORD + b"\1\0\0\0" + zlib.compress(CITY))),
    "other text": png_with(png_chunk(b"iTXt", b"Title\0\0\0\0\0hello"), png_chunk(b"tEXt", b"Comment\0hello")),
}


@pytest.mark.parametrize("name", PNGS)
def test_png(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    data = PNGS[name]
    if data.endswith(b"behind the end"):
        path.write_bytes(data)
        write_alt_text(path, ALT)
        after = path.read_bytes()
        assert after.endswith(b"behind the end")
        after = after.removesuffix(b"behind the end")
    else:
        after = written(path, data)
    chunk = next(chunk for chunk in png_chunks(after) if chunk[8 : 8 + len(KEYWORD)] == KEYWORD)
    assert chunk[4 + 4 + len(KEYWORD) :][:2] == b"\0\0" and b">a dog<" in chunk
    assert (b"City>x<" in chunk) == ("packet" in name)
    assert b">two dogs<" in packet_of(written(path, after, OTHER))


BOMB = zlib.compress(bytes(70 * 1024**2), 9)
BAD_PNGS = {
    "two packets": (png_with(*[png_chunk(b"iTXt", KEYWORD + b"\0\0\0\0" + CITY)] * 2), "several"),
    "a DTD": (png_with(png_chunk(b"iTXt", KEYWORD + b"\0\0\0\0<!DOCTYPE a>" + CITY)), "DTD"),
    "a bomb": (png_with(png_chunk(b"iTXt", KEYWORD + b"\1\0\0\0" + BOMB)), "damaged or of more than"),
    "damaged": (png_with(png_chunk(b"iTXt", KEYWORD + b"\1\0\0\0no zlib")), "damaged"),
    "a lying length": (image_bytes("PNG")[:33] + b"\x7f\xff\xff\xffiTXt" + KEYWORD, "bytes"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "cut short"),
}


@pytest.mark.parametrize(("data", "words"), BAD_PNGS.values(), ids=BAD_PNGS)
def test_pngs_that_are_refused_stay_as_they_were(data: bytes, words: str, tmp_path: Path) -> None:
    refused(tmp_path / "a.png", data, words)


WEBPS = {
    "lossy": (image_bytes("WEBP"), 0x04),
    "lossless": (image_bytes("WEBP", lossless=True), 0x04),
    "lossless, transparent": (image_bytes("WEBP", mode="RGBA", lossless=True), 0x14),
    "lossy, transparent": (image_bytes("WEBP", mode="RGBA"), 0x14),
    "exif and a profile": (image_bytes("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0", icc_profile=b"profile"), 0x2C),
    "animated": (image_bytes("WEBP", **ANIMATED), 0x06),
    "a packet": (image_bytes("WEBP", xmp=CITY), 0x04),
}


@pytest.mark.parametrize("name", WEBPS)
def test_webp(name: str, tmp_path: Path) -> None:
    data, flags = WEBPS[name]
    path = tmp_path / "a.webp"
    after = written(path, data)
    header, *chunks = webp_chunks(after)
    width, height = (int.from_bytes(header[start : start + 3], "little") + 1 for start in (12, 15))
    assert (header[:4], len(header), header[8], width, height) == (b"VP8X", 18, flags, 33, 21)
    assert [chunk[:4] for chunk in chunks].count(b"XMP ") == 1 and chunks[-1][:4] == b"XMP "
    assert (b"City>x<" in packet_of(after)) == ("packet" in name) and b">a dog<" in packet_of(after)
    assert b">two dogs<" in packet_of(written(path, after, OTHER))


def riff(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def test_a_packet_without_its_flag_is_found(tmp_path: Path) -> None:
    simple = webp_chunks(image_bytes("WEBP"))
    xmp = webp_chunk(b"XMP ", rdf(language_alternative("Iptc4xmpCore:AltTextAccessibility", "mine")))
    path = tmp_path / "a.webp"
    path.write_bytes(riff(*simple, xmp))
    assert write_alt_text(path, ALT).status == "kept"


def test_unknown_chunks_and_what_is_behind_the_file_stay(tmp_path: Path) -> None:
    chunks = [*webp_chunks(image_bytes("WEBP")), webp_chunk(b"ABCD", b"odd")]
    path = tmp_path / "a.webp"
    path.write_bytes(riff(*chunks) + b"behind")
    write_alt_text(path, ALT)
    after = path.read_bytes()
    assert after.endswith(chunks[-1] + b"behind")
    assert [chunk[:4] for chunk in webp_chunks(after.removesuffix(b"behind"))] == [b"VP8X", b"VP8 ", b"XMP ", b"ABCD"]


BAD_WEBPS = {
    "cut short": (image_bytes("WEBP")[:-20], "cut short"),
    "no picture first": (riff(webp_chunk(b"ABCD", b"0123456789ab")), "damaged chunks"),
    "a lying chunk": (riff(b"VP8 \xff\xff\xff\x7f0123456789"), "damaged chunks"),
    "a short header": (riff(webp_chunk(b"VP8X", b"1")), "damaged chunks"),
    "two packets": (riff(*webp_chunks(image_bytes("WEBP")), *[webp_chunk(b"XMP ", CITY)] * 2), "several"),
    "a DTD": (riff(*webp_chunks(image_bytes("WEBP")), webp_chunk(b"XMP ", b"<!DOCTYPE a>" + CITY)), "DTD"),
}


@pytest.mark.parametrize(("data", "words"), BAD_WEBPS.values(), ids=BAD_WEBPS)
def test_webps_that_are_refused_stay_as_they_were(data: bytes, words: str, tmp_path: Path) -> None:
    refused(tmp_path / "a.webp", data, words)
