"""Photos of six megapixels, of each kind that takes its own amount of memory to decode."""

from __future__ import annotations

import numpy as np
from PIL import Image
from tests.data.odd_photos import chunk, encoded, tiff
from tests.hostile.contents import zeros_png

WIDTH, HEIGHT = 3000, 2000


def photos() -> dict[str, bytes]:
    """Return the files by name."""
    return {**_with_pillow(), **_pngs(), **_tiffs()}


def _with_pillow() -> dict[str, bytes]:
    row = np.arange(WIDTH * 3, dtype=np.uint8).reshape(1, WIDTH, 3)
    rgb = Image.fromarray(np.repeat(row, HEIGHT, axis=0))
    rgba = rgb.convert("RGBA")
    rgba.putalpha(100)
    exif = Image.Exif()
    exif[274] = 6
    files = {
        "rgb.jpg": encoded("JPEG", rgb),
        "turned.jpg": encoded("JPEG", rgb, exif=exif),
        "gray.jpg": encoded("JPEG", rgb.convert("L")),
        "progressive.jpg": encoded("JPEG", rgb, progressive=True),
        "cmyk.jpg": encoded("JPEG", rgb.convert("CMYK")),
        "lossy.webp": encoded("WEBP", rgb, method=0),
        "alpha.webp": encoded("WEBP", rgba, method=0),
        "lossless.webp": encoded("WEBP", rgb, method=0, lossless=True),
        "rgb.avif": encoded("AVIF", rgb, speed=10),
        "alpha.avif": encoded("AVIF", rgba, speed=10),
        "rgb.jp2": encoded("JPEG2000", rgb),
        "rgba.jp2": encoded("JPEG2000", rgba),
        "palette.gif": encoded("GIF", rgb.convert("P")),
        "clear.gif": encoded("GIF", rgb.convert("P"), transparency=3),
        "rgb.bmp": encoded("BMP", rgb),
        "rgba.bmp": encoded("BMP", rgba),
        "gray.ppm": encoded("PPM", rgb.convert("L")),
        "ycbcr.tif": encoded("TIFF", rgb, compression="jpeg"),
        "strips.tif": encoded("TIFF", rgb, compression="tiff_deflate"),
        "rgba.tif": encoded("TIFF", rgba, compression="tiff_lzw"),
    }
    files["cut.jpg"] = files["rgb.jpg"][: -len(files["rgb.jpg"]) // 50]
    files["cut.bmp"] = files["rgb.bmp"][: -len(files["rgb.bmp"]) // 50]
    return files


def _pngs() -> dict[str, bytes]:
    colors = chunk(b"PLTE", bytes(range(6)))
    return {
        "rgb.png": zeros_png(WIDTH, HEIGHT, 8, 2),
        "rgba.png": zeros_png(WIDTH, HEIGHT, 8, 6),
        "gray.png": zeros_png(WIDTH, HEIGHT, 8, 0),
        "gray-alpha.png": zeros_png(WIDTH, HEIGHT, 8, 4),
        "bit.png": zeros_png(WIDTH, HEIGHT, 1, 0),
        "palette.png": zeros_png(WIDTH, HEIGHT, 8, 3, colors),
        "clear.png": zeros_png(WIDTH, HEIGHT, 8, 3, colors + chunk(b"tRNS", b"\0")),
        "gray16.png": zeros_png(WIDTH, HEIGHT, 16, 0),
        "gray16-clear.png": zeros_png(WIDTH, HEIGHT, 16, 0, chunk(b"tRNS", b"\0\0")),
        "dark16.png": zeros_png(WIDTH, HEIGHT, 16, 2),
        "dark16-alpha.png": zeros_png(WIDTH, HEIGHT, 16, 6),
        "cut.png": zeros_png(WIDTH, HEIGHT, 8, 2, share=0.97),
        "cut-rgba.png": zeros_png(WIDTH, HEIGHT, 8, 6, share=0.97),
    }


def _tiffs() -> dict[str, bytes]:
    def samples(bands: int, kind: str) -> np.ndarray:
        return np.full((HEIGHT, WIDTH, bands), 9, kind)

    deflate = {"compression": 8, "rows": 64}
    whole = {"compression": 8, "rows": HEIGHT}
    return {
        "rgb8-one-strip.tif": tiff(samples(3, "u1"), **whole),
        "rgb16.tif": tiff(samples(3, "u2"), **deflate),
        "rgb16-one-strip.tif": tiff(samples(3, "u2"), **whole),
        "rgb16-planes.tif": tiff(samples(3, "u2"), planar=True, **deflate),
        "rgb16-alpha.tif": tiff(samples(4, "u2"), tags={338: [2]}, **deflate),
        "rgb16-premultiplied.tif": tiff(samples(4, "u2"), tags={338: [1]}, **deflate),
        "rgb16-turned.tif": tiff(samples(3, "u2"), tags={274: [6]}, **deflate),
        "cmyk16.tif": tiff(samples(4, "u2"), 5, **deflate),
        "lab16.tif": tiff(samples(3, "u2"), 8, **deflate),
        "gray16.tif": tiff(samples(1, "u2"), 1, **deflate),
        "gray32f.tif": tiff(samples(1, "f4"), 1, **deflate),
        "rgb64f.tif": tiff(samples(3, "f8"), **deflate),
        "nine-samples.tif": tiff(samples(9, "u2"), **whole),
    }
