"""Odd files of one photo, each with what `open_photo` owes: the photo, the photo with a warning, or a refusal.

`odd_photos()` makes them anew: nothing here is a file of someone else's.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 160, 120


@dataclass(frozen=True)
class OddPhoto:
    name: str
    data: bytes
    tolerance: float | None = None  # mean difference from `expected`; None: refused
    expected: str = "rgb"  # or "gray", "white", "black"
    message: str | None = None  # the pattern of the warning or the refusal; None: neither


def photo() -> Image.Image:
    """Draw a photo that looks different from each side, smooth and rough in places."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rough = np.random.default_rng(5).normal(0, 9, (HEIGHT, WIDTH, 1))
    smooth = np.dstack([40 + x, 220 - 1.5 * y, 90 + 60 * np.sin(x / 11) + 0 * y])
    smooth[20:60, 30:80] = (230, 40, 30)
    smooth[70:110, 100:150] = (20, 60, 200)
    return Image.fromarray(np.clip(smooth + rough, 0, 255).astype(np.uint8))


PHOTO = photo()
PIXELS = np.asarray(PHOTO)
GRAY = np.asarray(PHOTO.convert("L"))


def encoded(format: str, image: Image.Image = PHOTO, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def odd_photos() -> Iterator[OddPhoto]:
    for kind in (_cut, _jpeg, _png, _tiff, _tiff_samples, _other, _empty):
        yield from kind()


# Files that end too early

_CUT = r"cut short: 1[0-9]{2} of 120 rows can be read; get the file again"
_ALL = r"cut short, though all of its 120 rows can be read(, in less detail)?; get the file again"
_FEW = r"damaged or cut short: only [0-9]+ of 120 rows can be read; get the file again"


def _cut() -> Iterator[OddPhoto]:
    whole = {
        "jpeg": encoded("JPEG", quality=92),
        "jpeg-444": encoded("JPEG", quality=95, subsampling=0),
        "jpeg-restarts": encoded("JPEG", quality=92, restart_marker_rows=1),
        "jpeg-gray": encoded("JPEG", PHOTO.convert("L")),
        "jpeg-cmyk": encoded("JPEG", PHOTO.convert("CMYK"), quality=95),
        "png": encoded("PNG"),
        "png-interlaced": png(_adam7(PIXELS), interlaced=True),
        "gif": encoded("GIF", PHOTO.quantize(200), interlace=0),
        "gif-interlaced": encoded("GIF", PHOTO.quantize(200), interlace=1),
        "bmp": encoded("BMP"),
        "ppm": encoded("PPM"),
        "tiff": encoded("TIFF"),
        "webp": encoded("WEBP", quality=90),
        "webp-lossless": encoded("WEBP", lossless=True),
        "avif": encoded("AVIF", quality=90),
    }
    for name, data in whole.items():
        if name == "avif":  # whose decoder takes few files that are filled up
            yield OddPhoto("avif-half", data[: len(data) // 2], message="damaged")
            continue
        expected = "gray" if name == "jpeg-gray" else "rgb"
        ends = {"jpeg": 2, "png": 12}  # what stands after the last pixel
        if end := ends.get(name.partition("-")[0]):
            yield OddPhoto(f"{name}-without-end", data[:-end], 7, expected, _ALL)
        yield OddPhoto(f"{name}-without-2-percent", data[: -len(data) // 50], 9, expected, f"{_CUT}|{_ALL}")
        yield OddPhoto(f"{name}-of-80-percent", data[: len(data) * 8 // 10], message=_FEW)
        yield OddPhoto(f"{name}-half", data[: len(data) // 2], message=_FEW)
    data = whole["jpeg"]
    yield OddPhoto("jpeg-with-zeros-for-its-end", data[: -len(data) // 50] + bytes(len(data) // 50), 9, message=_CUT)
    yield OddPhoto("jpeg-with-zeros-for-half", data[: len(data) // 2] + bytes(len(data) // 2), message=_FEW)
    yield OddPhoto("jpeg-before-zeros", data + bytes(5000), 7)
    yield OddPhoto("jpeg-ending-in-a-marker", data[:-1], 7, message=_ALL)
    for name, after in (("its-end", b"\xff\xd9"), ("another", data)):
        yield OddPhoto(f"jpeg-of-98-percent-before-{name}", data[: -len(data) // 50] + after, 9, message=_CUT)
        yield OddPhoto(f"jpeg-half-before-{name}", data[: len(data) // 2] + after, message=_FEW)
    gray = PHOTO.copy()
    gray.paste((128, 128, 128), (0, 0, WIDTH, HEIGHT))
    yield OddPhoto("jpeg-gray-to-its-end", encoded("JPEG", gray), 255)
    yield OddPhoto("avif-without-3-bytes", whole["avif"][:-3], 7, message=_CUT)
    packed = encoded("TIFF", compression="tiff_lzw")  # its directory stands at its end
    for count in (9, len(packed) // 50):
        message = "its end, where this TIFF says how to read the rest, is missing; get the file again"
        yield OddPhoto(f"tiff-packed-without-{count}-bytes", packed[:-count], message=message)
    data = encoded("JPEG", quality=92, progressive=True)
    yield OddPhoto("jpeg-progressive-without-end", data[:-2], 7, message=_ALL)
    yield OddPhoto("jpeg-progressive-of-90-percent", data[: len(data) * 9 // 10], 7, message=_ALL)
    yield OddPhoto("jpeg-progressive-of-15-percent", data[: len(data) * 15 // 100], message=_FEW)
    data = encoded("JPEG2000")
    yield OddPhoto("jpeg-2000-without-end", data[:-2], 1, message=_ALL)
    yield OddPhoto("jpeg-2000-half", data[: len(data) // 2], message=_FEW)
    exif = Image.Exif()
    exif[270] = "a photo"
    yield OddPhoto("webp-without-all-its-exif", encoded("WEBP", quality=90, exif=exif)[:-4], 6, message=_ALL)
    frames = {"save_all": True, "append_images": [PHOTO.rotate(90)] * 3}
    for format, part in (("GIF", 0.6), ("WEBP", 0.6), ("MPO", 0.7), ("PNG", 0.7)):
        image = PHOTO.quantize(200) if format == "GIF" else PHOTO
        message = None if format in ("GIF", "MPO") else _ALL  # which need not be read to the end
        data = encoded(format, image, **frames)
        yield OddPhoto(f"{format.lower()}-without-later-frames", data[: int(len(data) * part)], 9, message=message)


# JPEG


def _jpeg() -> Iterator[OddPhoto]:
    data = encoded("JPEG", quality=92)

    def with_segment(marker: int, content: bytes) -> bytes:
        return data[:2] + struct.pack(">BBH", 255, marker, len(content) + 2) + content + data[2:]

    yield OddPhoto(
        "jpeg-of-12-bits",
        data.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        message="kind of JPEG.*12 bits",
    )
    frame = data.find(b"\xff\xc0") + 5
    yield OddPhoto(
        "jpeg-without-a-height",
        data[:frame] + bytes(2) + data[frame + 2 :],
        message="kind of JPEG.*its height comes after",
    )
    yield OddPhoto("jpeg-with-broken-exif", with_segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(12)), 7)
    yield OddPhoto("jpeg-with-broken-mpf", with_segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 22), 7)
    yield OddPhoto("jpeg-with-part-of-a-profile", with_segment(0xE2, b"ICC_PROFILE\0\1\3xxxxx"), 7)
    yield OddPhoto("jpeg-with-broken-iptc", with_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04" + b"\xff" * 4), 7)
    yield OddPhoto("jpeg-cmyk", encoded("JPEG", PHOTO.convert("CMYK"), quality=95), 7)
    cmyk = encoded("JPEG", PHOTO.convert("CMYK"), quality=95)
    adobe = cmyk.find(b"Adobe") - 4
    yield OddPhoto("jpeg-cmyk-without-adobe", cmyk[:adobe] + cmyk[adobe + 16 :], 7)
    sideways = Image.Exif()
    sideways[274] = 6
    turned = PHOTO.transpose(Image.Transpose.ROTATE_90)
    yield OddPhoto("jpeg-sideways-without-end", encoded("JPEG", turned, quality=92, exif=sideways)[:-2], 5,
                   message=r"cut short, though all of its 160 rows")  # fmt: skip


# PNG


def chunk(name: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(name + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def _lines(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def _adam7(pixels: np.ndarray) -> bytes:
    passes = ("0088", "4088", "0448", "2044", "0224", "1022", "0112")
    steps = ([int(digit) for digit in part] for part in passes)
    return b"".join(_lines(np.ascontiguousarray(pixels[y::dy, x::dx])) for x, y, dx, dy in steps)


def png(
    lines: bytes,
    extra: bytes = b"",
    depth: int = 8,
    color: int = 2,
    interlaced: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixels: bytes | None = None,
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, color, 0, 0, interlaced))
    pixels = zlib.compress(lines) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


BOMB = zlib.compress(bytes(64 * 1024**2))


def _png() -> Iterator[OddPhoto]:
    lines, large = _lines(PIXELS), zlib.compress(b"node " * 300_000)
    xmp = b"XML:com.adobe.xmp\0\1\0\0\0"
    extras = {
        "large-ztxt": chunk(b"zTXt", b"workflow\0\0" + large),
        "large-itxt": chunk(b"iTXt", b"workflow\0\1\0\0\0" + large),
        "large-xmp": chunk(b"iTXt", xmp + large),
        "large-text": chunk(b"tEXt", b"workflow\0" + b"node " * 300_000),
        "large-profile": chunk(b"iCCP", b"icc\0\0" + large),
        "bombs": chunk(b"zTXt", b"k\0\0" + BOMB) * 20 + chunk(b"iCCP", b"k\0\0" + BOMB),
        "xmp-bombs": chunk(b"iTXt", xmp + BOMB) * 20,
        "bombs-for-exif": chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB) * 20,
        "text-of-a-wrong-checksum": chunk(b"tEXt", b"a\0b", checksum=0),
        "exif-of-a-wrong-checksum": chunk(b"eXIf", b"II*\0", checksum=0),
        "profile-of-no-known-compression": chunk(b"iCCP", b"icc\0\1data"),
        "profile-of-garbage": chunk(b"iCCP", b"icc\0\0data"),
        "short-chunks": b"".join(chunk(name, b"\0") for name in (b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"acTL")),
        "frames-out-of-order": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", b"\0\0\0\5" + bytes(22)),
    }
    for name, extra in extras.items():
        yield OddPhoto(f"png-with-{name}", png(lines, extra), 0)
    yield OddPhoto("png-with-bombs-behind", png(lines)[:-12] + extras["bombs"] + chunk(b"IEND", b""), 0)
    yield OddPhoto("png-before-garbage", png(lines) + b"garbage" * 999, 0)
    yield OddPhoto("png-with-more-rows", png(lines + lines[:3000]), 0)
    damaged = bytearray(zlib.compress(lines))
    damaged[-1] ^= 1
    yield OddPhoto(
        "png-of-a-wrong-sum",
        png(b"", pixels=bytes(damaged)),
        0,
        message="is damaged, though all of its 120 rows",
    )
    damaged[len(damaged) // 2 : len(damaged) // 2 + 99] = bytes(99)
    yield OddPhoto("png-damaged", png(b"", pixels=bytes(damaged)), message=_FEW)
    apple = png(lines).replace(b"\0\0\0\rIHDR", chunk(b"CgBI", b"\x50\0\x20\6") + b"\0\0\0\rIHDR", 1)
    yield OddPhoto("png-of-apple", apple, message="PNG in Apple's own form.*convert it")
    deep = PIXELS.astype(">u2") * 257
    opaque = np.full((HEIGHT, WIDTH, 1), 65535, ">u2")
    yield OddPhoto("png-deep", png(_lines(deep), depth=16), 0)
    yield OddPhoto("png-deep-with-alpha", png(_lines(np.dstack([deep, opaque])), depth=16, color=6), 0)
    gray = GRAY.astype(">u2")
    yield OddPhoto(
        "png-gray-deep-with-alpha",
        png(_lines(np.dstack([gray * 257, opaque]).astype(">u2")), depth=16, color=4),
        0,
        "gray",
    )
    yield OddPhoto("png-gray-of-12-bits-in-16", png(_lines((gray * 16).astype(">u2")), depth=16, color=0), 1, "gray")
    for bits in (10, 12):
        low = (PIXELS.astype(int) << (bits - 8)).astype(">u2")
        yield OddPhoto(f"png-of-{bits}-bits-in-16", png(_lines(low), depth=16), 1)
        for what, most in (("alpha", 65535), ("alpha-alike", (1 << bits) - 1)):
            both = np.dstack([low, np.full((HEIGHT, WIDTH, 1), most)]).astype(">u2")
            yield OddPhoto(f"png-of-{bits}-bits-in-16-with-{what}", png(_lines(both), depth=16, color=6), 1)
    sideways = np.ascontiguousarray(np.rot90(PIXELS))
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0".hex().encode()
    text = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n%s\n" % (len(exif) // 2, exif))
    size = (HEIGHT, WIDTH)
    yield OddPhoto("png-sideways-by-imagemagick", png(_lines(sideways), chunk(b"zTXt", text), size=size), 0)
    large = zlib.compress(b'<x tiff:Orientation="6"/>' + b" " * 2_000_000)
    yield OddPhoto("png-sideways-by-a-large-xmp", png(_lines(sideways), chunk(b"iTXt", xmp + large), size=size), 0)


# TIFF


def tiff(
    samples: np.ndarray,
    color: int = 2,
    *,
    bits: int | None = None,
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    rows: int | None = None,
    compression: int = 1,
    blocks: list[bytes] | None = None,
    tags: dict[int, Sequence[int]] | None = None,
) -> bytes:
    """Return a TIFF file of samples (H, W) or (H, W, C), in their own byte order."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, count = samples.shape
    order = ">" if samples.dtype.str[0] == ">" else "<"
    kind = {"u": 1, "i": 2, "f": 3, "c": 6}[samples.dtype.kind]
    if blocks is None:
        rows = rows or height
        down, across = (tile[1], tile[0]) if tile else (rows, width)
        planes = [samples[..., i : i + 1] for i in range(count)] if planar else [samples]
        blocks = []
        for plane in planes:
            if tile:
                plane = np.pad(plane, ((0, -height % down), (0, -width % across), (0, 0)))
            parts = (
                plane[y : y + down, x : x + across] for y in range(0, height, down) for x in range(0, width, across)
            )
            blocks += [np.ascontiguousarray(part).tobytes() for part in parts]
    if compression == 8:
        blocks = [zlib.compress(block) for block in blocks]
    starts = [8 + sum(map(len, blocks[:i])) for i in range(len(blocks))]
    layout: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [bits or samples.itemsize * 8] * count, 259: [compression], 262: [color],
        277: [count], 284: [2 if planar else 1], 339: [kind] * count,
    }  # fmt: skip
    if tile:
        layout |= {322: [tile[0]], 323: [tile[1]], 324: starts, 325: list(map(len, blocks))}
    else:
        layout |= {273: starts, 278: [rows or height], 279: list(map(len, blocks))}
    layout |= tags or {}
    body = b"".join(blocks)
    at = 8 + len(body)
    entries, values = b"", b""
    for tag, numbers in sorted(layout.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, values = (
                struct.pack(order + "I", at + 6 + 12 * len(layout) + len(values)),
                values + packed,
            )
        entries += struct.pack(order + "HHI", tag, 4, len(numbers)) + packed
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", at)
    return head + body + struct.pack(order + "H", len(layout)) + entries + bytes(4) + values


SCALED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "u1": lambda p: p,
    "u2": lambda p: p.astype("u2") * 257,
    "u4": lambda p: p.astype("u4") * 16843009,
    "u8": lambda p: p.astype("u8") * (2**64 // 255 - 1),
    "i1": lambda p: (p.astype(int) - 128).astype("i1"),
    "i2": lambda p: (p.astype(int) * 32767 // 255).astype("i2"),
    "i4": lambda p: p.astype("i4") * 8421504,
    "f2": lambda p: (p / 255).astype("f2"),
    "f4": lambda p: (p / 255).astype("f4"),
    "f8": lambda p: p / 255,
    "f4-to-255": lambda p: p.astype("f4"),
    "f4-over-1": lambda p: (p / 250).astype("f4"),
    "u2-of-12-bits": lambda p: p.astype("u2") * 16,
    "u2-of-8-bits": lambda p: p.astype("u2"),
}


def _tiff_samples() -> Iterator[OddPhoto]:
    for name, scaled in SCALED.items():
        rgb, gray = scaled(PIXELS), scaled(GRAY)
        near = 5 if name == "f4-over-1" else 1
        for order in "<>" if name in ("u2", "i4", "f4") else "<":
            mine = rgb.astype(rgb.dtype.newbyteorder(order)), gray.astype(rgb.dtype.newbyteorder(order))
            ending = f"{name}-{'big' if order == '>' else 'little'}"
            yield OddPhoto(f"tiff-rgb-{ending}", tiff(mine[0]), near)
            yield OddPhoto(f"tiff-gray-{ending}", tiff(mine[1], 1), near, "gray")
            yield OddPhoto(f"tiff-planes-{ending}", tiff(mine[0], planar=True, rows=37), near)
            yield OddPhoto(f"tiff-tiles-deflated-{ending}", tiff(mine[0], tile=(64, 48), compression=8), near)
        bands = np.concatenate([rgb, rgb, rgb[..., :1]], 2)
        yield OddPhoto(f"tiff-7-bands-{name}", tiff(bands, tags={338: [0] * 4}), near)
        yield OddPhoto(f"tiff-bands-of-gdal-{name}", tiff(rgb, 1, tags={338: [0, 0]}), near)


def _packed(samples: np.ndarray, bits: int) -> list[bytes]:
    bit_planes = (samples.reshape(HEIGHT, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(bit_planes.astype(np.uint8).reshape(HEIGHT, -1), axis=1).tobytes()]


def _tiff() -> Iterator[OddPhoto]:
    deep, opaque = SCALED["u2"](PIXELS), np.full((HEIGHT, WIDTH), 65535, "u2")
    gray = SCALED["u2"](GRAY)
    yield OddPhoto("tiff-gray-alpha", tiff(np.dstack([gray, opaque]), 1, tags={338: [2]}), 1, "gray")
    yield OddPhoto("tiff-gray-extra", tiff(np.dstack([gray, gray]), 1, tags={338: [0]}), 1, "gray")
    yield OddPhoto("tiff-rgb-alpha", tiff(np.dstack([deep, opaque]), tags={338: [2]}), 1)
    yield OddPhoto("tiff-rgb-premultiplied", tiff(np.dstack([deep, opaque]), tags={338: [1]}), 1)
    yield OddPhoto("tiff-rgb-float-alpha", tiff(np.dstack([PIXELS / 255, opaque / 65535]), tags={338: [2]}), 1)
    yield OddPhoto("tiff-white-is-zero", tiff(65535 - gray, 0), 1, "gray")
    yield OddPhoto("tiff-white-is-zero-float", tiff(1 - GRAY / 255, 0), 1, "gray")
    yield OddPhoto("tiff-200-bands", tiff(np.repeat(GRAY[..., None], 200, 2), 1, tags={338: [0] * 199}), 1, "gray")
    for bits in (10, 12, 14):
        wide = PIXELS.astype(int) * (2**bits - 1) // 255
        blocks = _packed(wide, bits)
        yield OddPhoto(f"tiff-{bits}-bits", tiff(PIXELS, bits=bits, blocks=blocks), 1)
    yield OddPhoto("tiff-4-bits", tiff(PIXELS, bits=4, blocks=_packed(PIXELS >> 4, 4)), 9)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd", "lzma"):
        yield OddPhoto(f"tiff-{compression}", encoded("TIFF", compression=compression), 6)
    yield OddPhoto("tiff-bigtiff", encoded("TIFF", big_tiff=True), 0)
    cmyk = np.asarray(PHOTO.convert("CMYK"))
    yield OddPhoto("tiff-cmyk", tiff(cmyk, 5), 1)
    yield OddPhoto("tiff-cmyk-deep", tiff(SCALED["u2"](cmyk), 5), 1)
    yield OddPhoto("tiff-cmyk-planes", tiff(cmyk, 5, planar=True), 1)
    ycbcr = np.asarray(PHOTO.convert("YCbCr"))
    yield OddPhoto("tiff-ycbcr", tiff(ycbcr, 6, tags={530: [1, 1]}), 2)
    yield OddPhoto("tiff-ycbcr-of-pillow", encoded("TIFF", PHOTO.convert("YCbCr")), 2)
    luma = ycbcr[..., 0].reshape(HEIGHT // 2, 2, WIDTH // 2, 2).transpose(0, 2, 1, 3).reshape(HEIGHT // 2, -1, 4)
    units = [np.concatenate([luma, ycbcr[::2, ::2, 1:]], 2).tobytes()]
    yield OddPhoto("tiff-ycbcr-subsampled", tiff(PIXELS, 6, blocks=units, tags={530: [2, 2]}), 9)
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    yield OddPhoto("tiff-lab", encoded("TIFF", ImageCms.applyTransform(PHOTO, lab)), 2)
    apart = PIXELS.copy()
    apart[:, 1:] -= PIXELS[:, :-1]
    yield OddPhoto("tiff-predictor", tiff(apart, compression=8, tags={317: [2]}), 0)
    apart = deep.copy()
    apart[:, 1:] -= deep[:, :-1]
    yield OddPhoto("tiff-predictor-deep", tiff(apart, compression=8, tags={317: [2]}), 0)
    floats = (PIXELS / 255).astype(">f4")
    weights = floats.view("u1").reshape(HEIGHT, WIDTH * 3, 4).transpose(0, 2, 1).reshape(HEIGHT, -1, 3)
    apart = weights.copy()
    apart[:, 1:] -= weights[:, :-1]
    yield OddPhoto("tiff-predictor-float", tiff(floats, compression=8, blocks=[apart.tobytes()], tags={317: [3]}), 1)
    sideways = np.ascontiguousarray(np.rot90(PIXELS))
    yield OddPhoto("tiff-sideways", tiff(sideways, tags={274: [6]}), 0)
    yield OddPhoto("tiff-sideways-deep", tiff(SCALED["u2"](sideways), tags={274: [6]}), 1)
    palette = PHOTO.quantize(200)
    colors = np.zeros((65536, 3), int)
    colors[:200] = np.reshape(palette.getpalette()[:600], (200, 3)) * 257
    table = {320: colors.T.ravel().tolist()}
    yield OddPhoto("tiff-palette-deep", tiff(np.asarray(palette).astype("u2"), 3, tags=table), 9)
    yield OddPhoto("tiff-cut-deep", tiff(deep, rows=8)[: 8 + WIDTH * HEIGHT * 6 // 2], message="damaged or cut short")
    yield OddPhoto("tiff-complex", tiff(PIXELS.astype("c8")), message="kind of TIFF.*64-bit complex.*convert it")
    yield OddPhoto("tiff-camera", tiff(gray, 32803), message="kind of TIFF.*a camera's raw mosaic.*convert it")
    yield OddPhoto("tiff-jpeg-xl", tiff(PIXELS, compression=50002), message="kind of TIFF.*JPEG XL.*convert it")


# Others


def _bmp(header: int, bits: int, pixels: bytes, masks: Sequence[int] = (), height: int = HEIGHT) -> bytes:
    masked = struct.pack(f"<{len(masks)}I", *masks)
    info = struct.pack("<IiiHHIIiiII", header, WIDTH, height, 1, bits, 3 if masks else 0, len(pixels), 0, 0, 0, 0)
    info = (info + masked).ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(pixels), 0, 0, 14 + len(info)) + info + pixels


def _other() -> Iterator[OddPhoto]:
    bgr = np.ascontiguousarray(PIXELS[::-1, :, ::-1])
    empty = np.dstack([bgr, np.zeros((HEIGHT, WIDTH), np.uint8)]).tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    yield OddPhoto("bmp-with-an-empty-alpha", _bmp(108, 32, empty, masks), 0)
    yield OddPhoto("bmp-of-32-bits", _bmp(40, 32, empty), 0)
    yield OddPhoto("bmp-upside-down", _bmp(40, 24, bgr[::-1].tobytes(), height=-HEIGHT), 0)
    red, green, blue = np.moveaxis(PIXELS[::-1].astype("<u2"), 2, 0)
    five = (red >> 3 << 11) | (green >> 2 << 5) | (blue >> 3)
    yield OddPhoto("bmp-of-16-bits", _bmp(40, 16, five.tobytes(), (0xF800, 0x7E0, 0x1F)), 4)
    yield OddPhoto(
        "bmp-of-12-bits",
        _bmp(56, 16, five.tobytes(), (0xF00, 0xF0, 0xF, 0)),
        message="Unsupported BMP.*convert it",
    )
    yield OddPhoto("bmp-of-64-bits", _bmp(40, 64, empty * 2), message="Unsupported BMP.*convert it")
    yield OddPhoto("ppm-deep", b"P6 160 120 65535\n" + SCALED["u2"](PIXELS).astype(">u2").tobytes(), 1)
    yield OddPhoto("ppm-of-100", b"P6 160 120 100\n" + (PIXELS.astype(int) * 100 // 255).astype("u1").tobytes(), 2)
    yield OddPhoto("ppm-text", b"P3\n# text\n160 120 255\n" + " ".join(map(str, PIXELS.ravel())).encode(), 0)
    yield OddPhoto("pfm", b"Pf\n160 120\n-1.0\n" + (GRAY[::-1] / 255).astype("<f4").tobytes(), 1, "gray")
    yield OddPhoto("jpeg-2000-of-16-bits", encoded("JPEG2000", Image.fromarray(SCALED["u2"](GRAY))), 1, "gray")
    message = r"^is {}, not a photo in a format that can be read \(JPEG.*\); {}$"
    for name, data, kind, advice in (
        ("web-page", b"\n<!DOCTYPE html><title>404</title>", "a web page", "download the photo itself"),
        (
            "pointer",
            b"version https://git-lfs.github.com/spec/v1\noid",
            "a pointer of Git LFS",
            ".*git lfs pull",
        ),
        ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing", "convert it.*"),
        ("svg-in-xml", b"<?xml version='1.0'?>\n<svg/>", "an SVG drawing", "convert it.*"),
        ("pdf", b"%PDF-1.7\n", "a PDF document", "convert it.*"),
        ("photoshop", b"8BPS\0\1" + bytes(20), "a Photoshop document", "convert it.*"),
        ("jpeg-xl", b"\xff\x0a" + bytes(20), "a JPEG XL photo", "convert it.*"),
        ("zip", b"PK\3\4" + bytes(20), "an archive", "unpack it first"),
        ("json", b'{"error": "not found"}', "JSON", "download the photo itself"),
        ("mp4", b"\0\0\0\x18ftypmp42" + bytes(20), "a video", "save a frame of it"),
        ("zeros", bytes(5000), "a file that begins with zeros", "get it again.*"),
    ):
        yield OddPhoto(f"no-photo-{name}", data, message=message.format(kind, advice))
    yield OddPhoto("no-photo-text", b"Dear diary", message="^is not a photo in a format that can be read")
    huge = b"RIFF\x20\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f" + bytes(20)
    yield OddPhoto("webp-huge", huge, message="^has 16384 x 16384 = 268,435,456 pixels, more than")
    endless = b"RIFF\x20\0\0\0WEBPVP8L\xf0\xff\xff\xff" + encoded("WEBP", lossless=True)[20:200]
    yield OddPhoto("webp-of-4-gigabytes", endless, message="^is damaged or cut short")
    huge = tiff(np.zeros((1, 1, 200), "f8"), tags={256: [13_000], 257: [13_000]})
    yield OddPhoto("tiff-huge", huge, message="^has 13000 x 13000 pixels of a kind that takes 6.1 GB to decode")


# Photos that show nothing


def _empty() -> Iterator[OddPhoto]:
    clear = PHOTO.convert("RGBA")
    clear.putalpha(0)
    message = "^is wholly transparent, so that only white is seen; save it without transparency$"
    yield OddPhoto("png-clear", encoded("PNG", clear), 0, "white", message)
    yield OddPhoto("webp-clear", encoded("WEBP", clear, lossless=True, exact=True), 0, "white", message)
    yield OddPhoto("tiff-clear", tiff(np.asarray(clear), tags={338: [2]}), 0, "white", message)
    speck = clear.copy()
    speck.putpixel((3, 3), (0, 0, 0, 255))
    faint = PHOTO.convert("RGBA")
    faint.putalpha(1)
    for name, image in (("speck", speck), ("faint", faint)):
        message = "^is almost entirely transparent, so that only white is seen; save it without transparency$"
        yield OddPhoto(f"png-{name}", encoded("PNG", image), 1, "white", message)
    logo = Image.new("RGBA", PHOTO.size, (255, 255, 255, 0))
    logo.paste((255, 255, 255, 255), (20, 20, 60, 60))
    message = "^is white where it is not transparent, so that only white is seen; save it without transparency$"
    yield OddPhoto("png-white-logo", encoded("PNG", logo), 0, "white", message)
    yield OddPhoto("png-white", encoded("PNG", Image.new("RGBA", PHOTO.size, "white")), 0, "white")
    frames = {"save_all": True, "append_images": [PHOTO.convert("RGBA")] * 3, "duration": 100}
    blank = Image.new("RGBA", PHOTO.size, (0, 0, 0, 0))
    message = "^has a first frame that is wholly transparent, so that only white is seen; save the frame you mean"
    for format in ("GIF", "PNG", "WEBP", "AVIF"):
        yield OddPhoto(f"{format.lower()}-first-frame-clear", encoded(format, blank, **frames), 0, "white", message)
    frames["append_images"] = [PHOTO]
    message = "^has a first frame that is of a single color; save the frame you mean as a photo$"
    for format in ("GIF", "PNG", "WEBP"):
        black = Image.new("RGB", PHOTO.size)
        yield OddPhoto(f"{format.lower()}-first-frame-black", encoded(format, black, **frames), 0, "black", message)
    yield OddPhoto("png-black", encoded("PNG", Image.new("RGB", PHOTO.size)), 0, "black")
