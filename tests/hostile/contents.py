"""Hostile contents: files under a photo's name that are cut short, no photos, bombs, or odd in every allowed way."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms
from tests.data.odd_photos import BOMB, GRAY, HEIGHT, PHOTO, WIDTH, chunk, encoded, png, tiff
from tests.hostile.kind import CAPTIONED, REFUSED, SUBJECT, Kind, captioned, refused

AGAIN = "get the file again from its source"
FEW = f"is damaged or cut short: only N of 120 rows can be read; {AGAIN}"
SHORT = f"is cut short: N of 120 rows can be read; {AGAIN}"
END = f"is cut short, though all of its 120 rows can be read; {AGAIN}"
HEADER = f"is damaged or cut short in its header; {AGAIN}"
NO_PHOTO = "not a photo in a format that can be read (JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, JPEG 2000, PPM)"
CONVERT = "convert it to JPEG or PNG"
TOO_MANY = "has {} x {} = N pixels, more than the 178,956,970 allowed; make it smaller first"
TAGS = "has tags that claim far more than there is; save it again"
SCANS = "is a JPEG of more than N scans, which take minutes to decode; save it again, as baseline JPEG"
LINES = b"".join(b"\0" + row.tobytes() for row in SUBJECT)
JPEG = encoded("JPEG", quality=92)


def cut() -> Iterator[Kind]:
    whole = {
        "JPEG": JPEG,
        "progressive JPEG": encoded("JPEG", quality=92, progressive=True),
        "PNG": encoded("PNG"),
        "WebP": encoded("WEBP", quality=90),
        "GIF": encoded("GIF", PHOTO.quantize(200), interlace=0),
        "BMP": encoded("BMP"),
        "TIFF": encoded("TIFF"),
    }
    yield refused("an empty file, 0 bytes", b"", f"is empty (0 bytes); {AGAIN}")
    for bytes_ in (2, 3, 20):
        yield refused(f"a JPEG of its first {bytes_} bytes", JPEG[:bytes_], HEADER if bytes_ > 2 else _not())
    for name, data in whole.items():
        if name != "progressive JPEG":
            yield refused(f"a {name} cut in the middle", data[: len(data) // 2], FEW)
    data = whole["progressive JPEG"]
    how = "whole, in less detail"
    yield captioned("a progressive JPEG of its first 90 percent", data[: len(data) * 9 // 10], how, words=_all())
    yield captioned("a JPEG without its last 2 bytes", JPEG[:-2], "whole", words=END)
    yield captioned(
        "a JPEG without its last 2 percent", JPEG[: -len(JPEG) // 50], "the rows that are there", words=SHORT
    )
    yield captioned("a PNG without its last 12 bytes", whole["PNG"][:-12], "whole", words=END)
    lines = png(LINES[: 60 * (1 + 3 * WIDTH)])
    yield refused("a PNG that is whole, but of half its rows", lines, FEW)
    lines = png(LINES[: 118 * (1 + 3 * WIDTH)])
    words = f"is damaged: N of 120 rows can be read; {AGAIN}"
    yield captioned("a PNG that is whole, but without its last two rows", lines, "the rows that are there", words=words)
    half = len(JPEG) // 2
    yield refused("a JPEG whose second half is zeros, as of a broken download", JPEG[:half] + bytes(half), FEW)
    yield refused("an AVIF cut in the middle", _half(encoded("AVIF", quality=90)), "is damaged or cut short…")
    yield refused("a JPEG 2000 cut in the middle", _half(encoded("JPEG2000")), FEW)
    packed = encoded("TIFF", compression="tiff_lzw")
    yield refused(
        "a TIFF whose directory, at its end, is cut off",
        packed[:-9],
        "is damaged or cut short: its end, where this TIFF says how to read the rest, is missing; " + AGAIN,
    )
    yield captioned("a JPEG with 5,000 zeros behind it", JPEG + bytes(5000), "as without them")
    yield captioned("a JPEG with a second one behind it", JPEG + JPEG, "the first one")
    yield captioned("a PNG with a megabyte of garbage behind it", encoded("PNG") + b"trash" * 200_000, "as without it")


def _not(kind: str = "", advice: str = CONVERT) -> str:
    return f"is {kind + ', ' if kind else ''}{NO_PHOTO}; {advice}"


def _all() -> str:
    return f"is cut short, though all of its 120 rows can be read, in less detail; {AGAIN}"


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def no_photos() -> Iterator[Kind]:
    yield refused("text called .jpg", b"Dear diary, today", _not())
    page = b"\n<!DOCTYPE html><title>404 Not Found</title>"
    yield refused("a web page called .jpg", page, _not("a web page", "download the photo itself"))
    yield refused("JSON called .jpg", b'{"error": "not found"}', _not("JSON", "download the photo itself"))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0"
    yield refused("a Git LFS pointer", pointer, _not("a pointer of Git LFS", "fetch the photo with: git lfs pull"))
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield refused("an SVG that names another file", svg, _not("an SVG drawing"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) run\n"
    yield refused("a PostScript program", eps, _not("a PostScript document"))
    yield refused("a PDF", b"%PDF-1.7\n", _not("a PDF document"))
    yield refused("an archive", b"PK\3\4" + bytes(20), _not("an archive", "unpack it first"))
    video = b"\0\0\0\x18ftypmp42" + bytes(20)
    yield refused("a video", video, _not("a video", "save a frame of it"))
    yield refused(
        "an icon, which may hold a larger photo", b"\0\0\1\0\1\0" + bytes(16) + encoded("PNG"), _not("an icon")
    )
    zeros = _not("a file that begins with zeros", "get it again from its source")
    yield refused("5,000 zeros", bytes(5000), zeros)
    noise = b"\x07" + np.random.default_rng(3).bytes(4999)
    yield refused("5,000 random bytes", noise, _not())
    yield captioned("a PNG called .jpg", encoded("PNG"), "as the PNG that it is", tolerance=0)
    yield captioned("a JPEG called .png", JPEG, "as the JPEG that it is", name="photo.png")
    yield refused("a JPEG of 12 bits", JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
                  f"is a kind of JPEG that can't be read (12 bits); {CONVERT}")  # fmt: skip
    frame = JPEG.find(b"\xff\xc0") + 5
    yield refused("a JPEG whose height is 0", JPEG[:frame] + bytes(2) + JPEG[frame + 2 :],
                  f"is a kind of JPEG that can't be read (its height comes after its pixels); {CONVERT}")  # fmt: skip
    yield refused("a PNG whose width is 0", png(b"", size=(0, 5)), HEADER)


# Bombs


def zeros_png(width: int, height: int, depth: int, color: int, extra: bytes = b"", share: float = 1.0) -> bytes:
    """Return a PNG of zeros, made without deflating all of them; ``share``: how much of its pixels is there."""
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    total = int(height * (1 + (width * bits + 7) // 8) * share)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    rest = deflate.compress(bytes(total % 2**20)) + deflate.flush()
    checksum = struct.pack(">I", (total % 65521) << 16 | 1)
    return png(
        b"", extra, depth, color, size=(width, height), pixels=b"\x78\xda" + block * (total // 2**20) + rest + checksum
    )


def bombs() -> Iterator[Kind]:
    huge = png(b"", size=(60_000, 60_000))
    yield refused("a PNG header of 60,000 x 60,000 pixels", huge, TOO_MANY.format(60_000, 60_000))
    frame = JPEG.find(b"\xff\xc0") + 5
    jpeg = JPEG[:frame] + b"\xff\xff\xff\xff" + JPEG[frame + 4 :]
    yield refused("a JPEG header of 65,535 x 65,535 pixels", jpeg, TOO_MANY.format(65_535, 65_535))
    webp = b"RIFF\x20\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f" + bytes(20)
    yield refused("a WebP header of 16,384 x 16,384 pixels", webp, TOO_MANY.format(16_384, 16_384))
    gif = b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x08\x02\x00\x01\0;"
    yield refused("a GIF header of 65,535 x 65,535 pixels", gif, TOO_MANY.format(65_535, 65_535))
    bmp = bytearray(encoded("BMP"))
    bmp[18:26] = struct.pack("<ii", 2**30, 2**30)
    yield refused("a BMP header of 2^30 x 2^30 pixels", bytes(bmp), TOO_MANY.format(2**30, 2**30))
    yield refused("a PPM header of 99,999 x 99,999 pixels", b"P6 99999 99999 255\n", TOO_MANY.format(99_999, 99_999))
    large = tiff(SUBJECT, tags={256: [99_999], 257: [99_999]})
    yield refused("a TIFF header of 99,999 x 99,999 pixels", large, TOO_MANY.format(99_999, 99_999))
    jp2 = bytearray(encoded("JPEG2000"))
    size = jp2.find(b"ihdr") + 4
    jp2[size : size + 8] = struct.pack(">II", 99_999, 99_999)
    yield refused("a JPEG 2000 header of 99,999 x 99,999 pixels", bytes(jp2), TOO_MANY.format(99_999, 99_999))
    text = chunk(b"zTXt", b"k\0\0" + BOMB)
    yield captioned("a PNG with 99 texts that inflate to 64 MiB each", png(LINES, text * 99), "as without them")
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)
    yield captioned("a PNG with 20 XMP packets that inflate to 64 MiB each", png(LINES, xmp * 20), "as without them")
    exif = chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB)
    yield captioned("a PNG whose EXIF text inflates to 64 MiB", png(LINES, exif), "as without it")
    profile = chunk(b"iCCP", b"icc\0\0" + BOMB)
    yield captioned("a PNG whose color profile inflates to 64 MiB", png(LINES, profile), "as without it")
    more = png(LINES + bytes(64 * 1024**2))
    yield captioned("a PNG whose pixels inflate to 64 MiB more than it has", more, "as without them")
    for data, name in ((tag_bomb(200), "TIFF"), (_with_exif(tag_bomb(200)), "JPEG")):
        what = f"a {name} of one megabyte, 200 tags of which hold all of it"
        yield captioned(what, data, "as without them") if name == "JPEG" else refused(what, data, TAGS)
    exif = chunk(b"eXIf", tag_bomb(200))
    yield captioned("a PNG whose EXIF is such a bomb", png(LINES, exif), "as without it")
    webp = encoded("WEBP", quality=90, exif=tag_bomb(200))
    words = "has EXIF tags that claim far more than there is; save it again without metadata"
    yield refused("a WebP whose EXIF is such a bomb", webp, words)
    webp = encoded("WEBP", quality=90, exif=b"II*\0" * 250_000)
    yield refused("a WebP of 250,000 beginnings of EXIF", webp, words)
    yield captioned("a progressive JPEG of 1,000 scans", many_scans(PHOTO, 1000), "as it is")
    yield refused("a progressive JPEG of 1,000 x 1,000 pixels in 5,000 scans",
                  many_scans(Image.new("L", (1000, 1000)), 5000), SCANS)  # fmt: skip


SIDE = 13_300


def large_bombs() -> Iterator[Kind]:
    """Yield files of a few megabytes that hold as many pixels as are allowed, or nearly; each takes seconds."""
    words = "has N x N pixels of a kind that takes N.N GB to decode, which is more than the N.N GB allowed for so "
    words += "small a file; make it smaller first"
    colors = chunk(b"PLTE", bytes(range(6))) + chunk(b"tRNS", b"\0")
    for what, data in (
        ("an RGBA PNG", lambda: zeros_png(SIDE, SIDE, 8, 6)),
        ("a gray PNG of 16 bits", lambda: zeros_png(SIDE, SIDE, 16, 0)),
        ("a black RGB PNG of 16 bits", lambda: zeros_png(SIDE, SIDE, 16, 2)),
        ("a palette PNG with transparency", lambda: zeros_png(SIDE, SIDE, 8, 3, colors)),
    ):
        yield Kind(f"{what} of {SIDE:,} x {SIDE:,}", _lazy(data), REFUSED, words=words, is_large=True)
    for what, data in (
        ("an RGB PNG", lambda: zeros_png(SIDE, SIDE, 8, 2)),
        ("a PNG of 1 bit", lambda: zeros_png(SIDE, SIDE, 1, 0)),
        ("a GIF", lambda: encoded("GIF", Image.new("P", (SIDE, SIDE)))),
        ("a TIFF", lambda: encoded("TIFF", Image.new("RGB", (SIDE, SIDE)), compression="tiff_deflate")),
    ):
        yield Kind(f"{what} of {SIDE:,} x {SIDE:,}", _lazy(data), CAPTIONED, "as it is", is_large=True)
    scans = _lazy(lambda: many_scans(Image.new("L", (SIDE, SIDE)), 1000))
    yield Kind(f"a progressive JPEG of {SIDE:,} x {SIDE:,} in 1,000 scans", scans, REFUSED, words=SCANS, is_large=True)
    deep = _lazy(lambda: tiff(np.zeros((8000, 8000, 3), "u2"), compression=8))
    yield Kind("a TIFF of 16 bits of 8,000 x 8,000 in one strip", deep, REFUSED, words=words, is_large=True)
    deep = _lazy(lambda: tiff(np.zeros((8000, 8000, 3), "u2"), compression=8, rows=80))
    yield Kind("a TIFF of 16 bits of 8,000 x 8,000", deep, CAPTIONED, "as it is", is_large=True)
    short = _lazy(lambda: zeros_png(SIDE, SIDE, 8, 2, share=0.97))
    words = "is damaged or cut short…"
    yield Kind(f"an RGB PNG of {SIDE:,} x {SIDE:,}, 3 percent cut off", short, REFUSED, words=words, is_large=True)


def many_scans(photo: Image.Image, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan, which refines one coefficient, comes ``scans`` times more."""
    data = encoded("JPEG", photo, quality=92, progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + data[-2:]


def _lazy(data: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data())


def tag_bomb(tags: int, size: int = 1_000_000) -> bytes:
    """Return a TIFF directory each of whose ``tags`` says that its value is the whole file."""
    entries = b"".join(struct.pack("<HHII", 1000 + number, 7, size, 0) for number in range(tags))
    return (b"II*\0" + struct.pack("<IH", 8, tags) + entries + bytes(4)).ljust(size, b"\0")


def _with_exif(exif: bytes) -> bytes:
    """Return a JPEG with EXIF over as many segments as it needs."""
    parts = (b"Exif\0\0" + exif[start : start + 65_000] for start in range(0, len(exif), 65_000))
    return JPEG[:2] + b"".join(segment(0xE1, part) for part in parts) + JPEG[2:]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 255, marker, len(content) + 2) + content


# Shapes and colors


def shapes_and_colors() -> Iterator[Kind]:
    dot = np.full((1, 1, 3), (200, 30, 40), np.uint8)
    yield captioned("a photo of 1 x 1 pixels", encoded("PNG", Image.fromarray(dot)), "as it is", shows=dot, tolerance=0)
    for width, height in ((1, 20_000), (20_000, 1), (3, 5)):
        pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        data = encoded("PNG", Image.fromarray(pixels))
        yield captioned(f"a photo of {width:,} x {height:,} pixels", data, "as it is", shows=pixels, tolerance=0)
    gray = np.dstack([GRAY] * 3)
    deep = GRAY.astype(">u2") * 257
    lines = b"".join(b"\0" + row.tobytes() for row in deep.astype(">u2"))
    yield captioned("a gray PNG of 16 bits", png(lines, depth=16, color=0), "in 8 bits, not clipped", shows=gray)
    both = (SUBJECT.astype(int) * 16).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in both)
    yield captioned("a PNG of 12 bits in 16", png(lines, depth=16), "as bright as it was meant", tolerance=1)
    bilevel = PHOTO.convert("1")
    pixels = np.dstack([np.asarray(bilevel).astype(np.uint8) * 255] * 3)
    yield captioned("a PNG of 1 bit", encoded("PNG", bilevel), "in black and white", shows=pixels, tolerance=0)
    yield captioned("a TIFF of floats", tiff(SUBJECT.astype("f4") / 255), "in 8 bits", tolerance=1)
    yield captioned("a CMYK JPEG with Adobe's inverted colors", _cmyk(), "in its colors")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wrong = encoded("JPEG", PHOTO.convert("CMYK"), quality=95, icc_profile=profile)
    yield captioned("a CMYK JPEG with a profile for RGB", wrong, "in its colors, without the profile")
    yield captioned("a CMYK JPEG with a profile of garbage", _cmyk(icc_profile=b"x" * 999), "in its colors")
    yield captioned(
        "a JPEG with half of a profile", JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\2xx") + JPEG[2:], "as without it"
    )
    yield captioned("a PNG with a profile of garbage", png(LINES, chunk(b"iCCP", b"icc\0\0data")), "as without it")
    lab = ImageCms.buildTransform(profile_of("sRGB"), profile_of("LAB"), "RGB", "LAB")
    yield captioned("a TIFF in L*a*b*", encoded("TIFF", ImageCms.applyTransform(PHOTO, lab)), "in its colors")
    palette = PHOTO.quantize(200)
    palette.paste(0, (0, 0, WIDTH, HEIGHT // 2))
    expected = np.asarray(palette.convert("RGB")).copy()
    expected[: HEIGHT // 2] = 255
    data = encoded("PNG", palette, transparency=0)
    expected[np.asarray(palette) == 0] = 255
    yield captioned("a palette with a transparent color", data, "on white", shows=expected, tolerance=0)
    faded = PHOTO.convert("RGBA")
    faded.putalpha(128)
    expected = (SUBJECT.astype(int) * 128 + 255 * 127) // 255
    yield captioned("a half transparent PNG", encoded("PNG", faded), "on white", shows=expected, tolerance=1)
    faded.putalpha(0)
    white = np.full_like(SUBJECT, 255)
    words = "is wholly transparent, so that only white is seen; save it without transparency"
    yield captioned("a wholly transparent PNG", encoded("PNG", faded), "as white", shows=white, words=words)
    short = encoded("PNG", palette).replace(b"PLTE", b"PLTf")
    yield refused("a palette PNG without its palette", short, "…")


def profile_of(name: str) -> ImageCms.core.CmsProfile:
    return ImageCms.createProfile(name)  # type: ignore[arg-type]


def _cmyk(**options: object) -> bytes:
    return encoded("JPEG", PHOTO.convert("CMYK"), quality=95, **options)


# Several frames


def frames() -> Iterator[Kind]:
    others = [PHOTO.rotate(180), PHOTO.rotate(90)]
    options = {"save_all": True, "append_images": others, "duration": 100}
    for format, name in (("GIF", "GIF"), ("WEBP", "WebP"), ("AVIF", "AVIF"), ("PNG", "PNG (APNG)")):
        yield captioned(f"an animated {name}", encoded(format, **options), "its first frame", tolerance=12)
    pages = {"save_all": True, "append_images": others}
    yield captioned("a TIFF of three pages", encoded("TIFF", **pages), "its first page", tolerance=0)
    yield captioned("an MPO of three photos", encoded("MPO", **pages), "its first photo")
    yield captioned("an MPO cut after its first photo", _half(encoded("MPO", **pages)), "its first photo")
    mpf = segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 22)
    yield captioned("a JPEG with an MPO index of garbage", JPEG[:2] + mpf + JPEG[2:], "as without it")
    options["append_images"] = [PHOTO]
    clear = Image.new("RGBA", PHOTO.size, (0, 0, 0, 0))
    words = (
        "has a first frame that is wholly transparent, so that only white is seen; save the frame you mean as a photo"
    )
    white = np.full_like(SUBJECT, 255)
    yield captioned(
        "a GIF whose first frame is empty", encoded("GIF", clear, **options), "as white", shows=white, words=words
    )
    many = encoded("GIF", PHOTO.quantize(8).resize((16, 12)), save_all=True,
                   append_images=[Image.new("P", (16, 12), n % 9) for n in range(2000)])  # fmt: skip
    small = np.asarray(PHOTO.quantize(8).resize((16, 12)).convert("RGB"))
    yield captioned("a GIF of 2,001 frames", many, "its first frame", shows=small, tolerance=2)
    order = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + chunk(b"fcTL", b"\0\0\0\5" + bytes(22))
    yield captioned("an APNG that claims 2^31 - 1 frames", png(LINES, order), "as without them", tolerance=0)


# Metadata

_STORED = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: np.rot90(pixels, 2),
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, 1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, -1),
}


def metadata() -> Iterator[Kind]:
    yield captioned("EXIF orientation 1", _oriented(SUBJECT, 1), "as it is", tolerance=5)
    for orientation, stored in _STORED.items():
        yield captioned(
            f"EXIF orientation {orientation}", _oriented(stored(SUBJECT), orientation), "upright", tolerance=5
        )
    for orientation in (0, 9, 65_535):
        yield captioned(f"EXIF orientation {orientation}", _oriented(SUBJECT, orientation), "as it is", tolerance=5)
    garbage = {
        "cut": b"Exif\0\0II*\0",
        "that points outside the file": b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(12),
        "whose directory points to itself": b"Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0",
        "of random bytes": b"Exif\0\0II*\0\x08\0\0\0" + np.random.default_rng(2).bytes(900),
    }
    for what, exif in garbage.items():
        yield captioned(f"a JPEG with EXIF {what}", JPEG[:2] + segment(0xE1, exif) + JPEG[2:], "as it is")
    large = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x/>" * 16_000) * 200
    yield captioned("a JPEG with 13 MB of XMP", JPEG[:2] + large + JPEG[2:], "as without it")
    entity = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;&b;&b;</x>'
    entity = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + entity)
    yield captioned("a JPEG whose XMP declares entities", JPEG[:2] + entity + JPEG[2:], "as without it")
    comment = segment(0xFE, b"\x1b[2J\n\0" * 9000) * 100
    yield captioned("a JPEG with 6 MB of comments", JPEG[:2] + comment + JPEG[2:], "as without them")
    iptc = segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04" + b"\xff" * 4)
    yield captioned("a JPEG with broken IPTC data", JPEG[:2] + iptc + JPEG[2:], "as without them")
    broken = chunk(b"tEXt", b"a\0b", checksum=0)
    yield captioned("a PNG with a text of a wrong checksum", png(LINES, broken), "as without it", tolerance=0)
    yield captioned("a PNG of 100,000 empty chunks", png(LINES, chunk(b"teSt", b"") * 100_000), "as without them")


def _oriented(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded("JPEG", Image.fromarray(np.ascontiguousarray(pixels)), quality=95, exif=exif)


# TIFF


def tiffs() -> Iterator[Kind]:
    yield refused("a TIFF without a single tag", b"II*\0\x08\0\0\0\0\0" + bytes(8), "…")
    yield refused("a TIFF whose directory lies outside", b"II*\0\xff\xff\xff\x7f" + bytes(40), "…")
    yield refused("a TIFF of 60,000 samples a pixel", tiff(SUBJECT, tags={277: [60_000]}), HEADER)
    yield refused("a TIFF of 0 bits", tiff(SUBJECT, tags={258: [0, 0, 0]}), HEADER)
    yield refused("a TIFF of 2^31 bits", tiff(SUBJECT, tags={258: [2**31] * 3}), HEADER)
    yield refused("a TIFF of an unknown compression", tiff(SUBJECT, compression=54_321), "…")
    yield refused("a TIFF whose pixels lie outside the file", tiff(SUBJECT, tags={273: [2**31]}), "…")
    yield refused("a TIFF of tiles of 0 pixels", tiff(SUBJECT.astype("u2"), tile=(16, 16), tags={322: [0]}), "…")
    yield refused(
        "a TIFF of tiles of 1 pixel", tiff(SUBJECT.astype("u2"), tile=(16, 16), tags={322: [1], 323: [1]}), "…"
    )
    yield captioned("a TIFF of a strip per row", tiff(SUBJECT.astype("u2") * 257, rows=1), "as it is", tolerance=1)
    loop = bytearray(tiff(SUBJECT))
    at = struct.unpack("<I", loop[4:8])[0]
    entries = struct.unpack("<H", loop[at : at + 2])[0]
    loop[at + 2 + 12 * entries : at + 6 + 12 * entries] = struct.pack("<I", at)
    yield captioned("a TIFF whose next page is its first", bytes(loop), "its first page", tolerance=0)
    words = f"is a kind of TIFF that can't be read (…a camera's raw mosaic, compression none); {CONVERT}"
    yield refused("a TIFF of a camera's raw mosaic", tiff(GRAY.astype("u2"), 32_803), words)
