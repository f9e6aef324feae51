"""TIFF files whose samples Pillow has no mode for: deep, many, in planes, of floats; and which kind a file is.

Pillow, through libtiff, still takes the compression away: it is handed the strips as the bytes that they are.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from wordgaze.data.colors import add_alpha, to_8_bits, usual_range
from wordgaze.data.quiet import open_with_pillow
from wordgaze.errors import PhotoError

_COMPRESSIONS = {
    1: "none", 2: "CCITT RLE", 3: "CCITT group 3", 4: "CCITT group 4", 5: "LZW", 6: "old-style JPEG", 7: "JPEG",
    8: "deflate", 32773: "PackBits", 32946: "deflate", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG",
    34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_BYTE_COMPRESSIONS = {1, 5, 8, 32773, 32946, 34925, 50000}  # which work on bytes, whatever they mean
_COLORS = {
    0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "L*a*b*",
    9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "a camera's raw mosaic", 32844: "LogL", 32845: "LogLuv",
    34892: "linear raw",
}  # fmt: skip
_FORMATS = {
    1: "unsigned integers",
    2: "signed integers",
    3: "floats",
    4: "bits",
    5: "complex integers",
    6: "complex",
}
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes of a value, by kind; of others one
_MAX_SAMPLES = 1024
_LEAST_TILE = 16  # pixels a side; the format allows only multiples of it
_BYTES_AT_ONCE = 2**20


@dataclass
class TiffLayout:
    """The first directory of a TIFF file."""

    tags: dict[int, Any]
    is_big_endian: bool

    def number(self, tag: int, default: int) -> int:
        value = self.tags.get(tag, default)
        return int(value[0] if isinstance(value, tuple) else value)

    @property
    def size(self) -> tuple[int, int]:
        return self.number(256, 0), self.number(257, 0)

    @property
    def samples(self) -> int:
        return self.number(277, 1)

    @property
    def bits(self) -> tuple[int, ...]:
        bits = self.tags.get(258, (1,))
        return tuple(set(bits if isinstance(bits, tuple) else (bits,)))

    @property
    def sample_formats(self) -> tuple[int, ...]:
        formats = self.tags.get(339, (1,))
        return tuple(set(formats if isinstance(formats, tuple) else (formats,)))

    @property
    def compression(self) -> int:
        return self.number(259, 1)

    @property
    def color(self) -> int:
        return self.number(262, 1)

    @property
    def is_of_bytes(self) -> bool:
        """Return whether the compression works on bytes, whatever they mean."""
        return self.compression in _BYTE_COMPRESSIONS

    @property
    def is_for_pillow(self) -> bool:
        """Return whether Pillow reads this kind, and reads it correctly."""
        if not self.is_of_bytes:
            return True
        is_plain = max(self.bits) <= 8 and self.sample_formats in ((1,), (4,))
        return is_plain and not (self.color == 6 and self.compression == 1) and self.samples <= 6

    def kind(self) -> str:
        """Return the kind of file, for a sentence."""
        bits = "/".join(map(str, self.bits))
        formats = " and ".join(_FORMATS.get(code, f"format {code}") for code in self.sample_formats)
        color = _COLORS.get(self.color, f"color kind {self.color}")
        compression = _COMPRESSIONS.get(self.compression, f"number {self.compression}")
        return f"{self.samples} x {bits}-bit {formats}, {color}, compression {compression}"


def read_layout(file: BinaryIO) -> TiffLayout | None:
    """Return the first directory of a TIFF file, or None if it can't be read."""
    try:
        file.seek(0)
        header = file.read(8)
        if header[2:4] in (b"\x2b\0", b"\0\x2b"):
            header += file.read(8)
        directory = ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
        layout = TiffLayout({int(tag): directory[tag] for tag in directory}, header[:2] == b"MM")
        is_usable = (
            min(layout.size) > 0
            and 0 < layout.samples <= _MAX_SAMPLES
            and layout.tags.keys() & {273, 324}
            and set(layout.sample_formats) <= _FORMATS.keys()
            and 0 < min(layout.bits) <= max(layout.bits) <= 128
            and layout.kind()
        )
        return layout if is_usable else None
    except Exception:  # of a damaged directory: nearly anything
        return None


def ends_before_layout(file: BinaryIO) -> bool:
    """Return whether a TIFF file ends before the first directory, which many programs write last."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    header = file.read(16)
    order = ">" if header.startswith(b"MM") else "<"
    is_big = header[2:4] in (b"\x2b\0", b"\0\x2b")
    start, form = (8, "Q") if is_big else (4, "I")
    if len(header) < 16:
        return True
    (directory,) = struct.unpack_from(order + form, header, start)
    if directory + 8 > size:
        return True
    file.seek(directory)
    (entries,) = struct.unpack(order + ("Q" if is_big else "H"), file.read(8 if is_big else 2))
    if is_big:
        return bool(directory + 8 + 20 * entries > size)
    ends = [directory + 2 + 12 * entries]
    for _ in range(entries):
        entry = file.read(12)
        if len(entry) == 12:
            _, kind, count, offset = struct.unpack(order + "HHII", entry)
            length = _SIZES.get(kind, 1) * count
            ends.append(offset + length if length > 4 else 0)
    return bool(max(ends) > size)


def check_kind(layout: TiffLayout) -> None:
    """Raise PhotoError for a kind of file that :func:`read_tiff` can't read."""
    if (
        not layout.is_of_bytes
        or layout.color not in (0, 1, 2, 3, 5, 6, 8)
        or len(layout.bits) > 1
        or len(layout.sample_formats) > 1
        or _sample_type(layout) is None
        or layout.number(266, 1) != 1
    ):
        raise _unsupported(layout)


def read_tiff(file: BinaryIO, layout: TiffLayout) -> tuple[Image.Image, int]:
    """Return the picture and how many of its rows are there; the rest is black."""
    samples, rows = _read_samples(file, layout)
    if layout.color in (3, 8):
        image = _from_palette(samples, layout) if layout.color == 3 else _from_lab(samples, layout)
    else:
        colors, opacity = _in_8_bits(samples, layout)
        del samples  # or three copies would be held
        image = _to_image(colors, opacity, layout)
    image.getexif()[274] = layout.number(274, 1)
    return image, rows


# What reading takes in memory


def bytes_to_read(layout: TiffLayout) -> int:
    """Return what :func:`read_tiff` takes at most; held by tests/hostile/test_memory.py."""
    dtype = _sample_type(layout)
    assert dtype is not None
    width, height = layout.size
    wanted, bands = _wanted(layout), _bands(layout)
    pixels = width * height
    samples = pixels * wanted * dtype.itemsize
    # A block is decompressed by Pillow, taken out of its picture, and filled up.
    as_read = samples + 3 * block_bytes(layout) + 8 * max(_row_bytes(layout), _BYTES_AT_ONCE)
    in_8_bits = samples + pixels * {3: 16, 6: 9, 8: 3 * dtype.itemsize + 11}.get(layout.color, wanted)
    # With the copies until the picture is RGB.
    picture = pixels * (wanted + (22 if wanted > bands else 13 if bands > 1 else 7))
    return max(as_read, in_8_bits, picture) + 4 * pixels * (layout.number(274, 1) > 1)


def block_bytes(layout: TiffLayout) -> int:
    """Return what a strip or tile takes once it is decompressed."""
    width, height = _block_size(layout)
    # Colors of JPEGs are turned to RGB, with a fourth byte, in the block.
    return max(height * _row_bytes(layout), height * width * 4 * (layout.color == 6))


def _row_bytes(layout: TiffLayout) -> int:
    samples = 1 if _are_planes(layout) else layout.samples
    return -(-_block_size(layout)[0] * samples * max(layout.bits) // 8)


def _block_size(layout: TiffLayout) -> tuple[int, int]:
    width, height = layout.size
    if 324 in layout.tags:
        return layout.number(322, 0), layout.number(323, 0)
    return width, min(layout.number(278, height), height)


def _are_planes(layout: TiffLayout) -> bool:
    return layout.number(284, 1) == 2 and layout.samples > 1


def _wanted(layout: TiffLayout) -> int:
    """Return how many samples of a pixel are read: the colors, and what may say how opaque they are."""
    return min(layout.samples, _bands(layout) + 1)


def _unsupported(layout: TiffLayout) -> PhotoError:
    return PhotoError(f"is a kind of TIFF that can't be read ({layout.kind()}); convert it to JPEG or PNG")


def _bands(layout: TiffLayout) -> int:
    """Return how many samples are colors. Three or more of "black is zero" are how GDAL writes deep RGB."""
    if layout.color == 5:
        return 4
    return 3 if layout.color in (2, 6, 8) or (layout.samples >= 3 and layout.color < 2) else 1


# From strips or tiles to samples


def _read_samples(file: BinaryIO, layout: TiffLayout) -> tuple[np.ndarray, int]:
    """Return (height, width, samples) of the samples that are wanted, and how many rows are there."""
    width, height = layout.size
    wanted = _wanted(layout)
    if layout.color == 6 and not _are_planes(layout) and (samples := _read_subsampled(file, layout)) is not None:
        return samples[:height, :width], height
    out = np.zeros((height, width, wanted), _sample_type(layout))
    if _are_planes(layout):
        return out, min(_read_plane(file, layout, plane, 1, out[..., plane : plane + 1]) for plane in range(wanted))
    return out, _read_plane(file, layout, 0, layout.samples, out)


def _read_plane(file: BinaryIO, layout: TiffLayout, plane: int, samples: int, out: np.ndarray) -> int:
    """Write the first of a plane's samples to ``out`` (height, width, ...), and return how many rows are there."""
    width, height = layout.size
    is_tiled = 324 in layout.tags
    block_width, block_height = _block_size(layout)
    offsets, sizes = (layout.tags.get(tag, ()) for tag in ((324, 325) if is_tiled else (273, 279)))
    if not offsets or min(block_width, block_height) < (_LEAST_TILE if is_tiled else 1):
        raise _unsupported(layout)
    row_size = _row_bytes(layout)
    across, down = -(-width // block_width), -(-height // block_height)
    if len(sizes) != len(offsets):
        sizes = [row_size * block_height] * len(offsets)
    rows = height
    for index in range(across * down):
        top, left = index // across * block_height, index % across * block_width
        in_block = block_height if is_tiled else min(block_height, height - top)
        number = plane * across * down + index
        if number >= len(offsets):
            return min(rows, top)
        data = _read_at(file, offsets[number], sizes[number])
        there = data and _decompress(data, layout, row_size, in_block, is_whole=len(data) == sizes[number])
        if not there or len(there) < in_block * row_size:
            rows = min(rows, top + len(there) // row_size)
            there = there + bytes(in_block * row_size - len(there))
        block = np.frombuffer(there, np.uint8).reshape(in_block, row_size)
        part = out[top : top + in_block, left : left + block_width]
        step = max(1, _BYTES_AT_ONCE // row_size)
        for start in range(0, len(part), step):
            some = _to_samples(block[start : start + step], layout, block_width, samples)
            part[start : start + step] = some[: len(part) - start, : part.shape[1], : part.shape[2]]
    return rows


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _decompress(data: bytes, layout: TiffLayout, row_size: int, rows: int, is_whole: bool) -> bytes:
    if layout.compression == 1:
        return data[: row_size * rows]
    if not is_whole:
        return b""
    file = _tiff_of_bytes(data, layout.compression, row_size, rows)
    with open_with_pillow(io.BytesIO(file), ["TIFF"]) as image:
        return image.tobytes()


def _tiff_of_bytes(data: bytes, compression: int, width: int, height: int) -> bytes:
    """Return a TIFF of one strip of gray bytes."""
    entries = [(256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, 0), (277, 1)]
    entries += [(278, height), (279, len(data))]
    start = 8 + 2 + 12 * len(entries) + 4
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4) + data


def _sample_type(layout: TiffLayout) -> np.dtype | None:
    bits, format = layout.bits[0], layout.sample_formats[0]
    if format == 3 and bits in (16, 32, 64):
        return np.dtype(f"f{bits // 8}")
    if format in (1, 2, 4) and bits in (8, 16, 32, 64):
        return np.dtype(f"{'i' if format == 2 else 'u'}{bits // 8}")
    if format in (1, 4) and bits < 16:
        return np.dtype("u2")
    return None


def _to_samples(block: np.ndarray, layout: TiffLayout, width: int, samples: int) -> np.ndarray:
    """Return (rows, width, samples) of rows of bytes."""
    bits, dtype, predictor = layout.bits[0], _sample_type(layout), layout.number(317, 1)
    assert dtype is not None
    rows = len(block)
    if bits != 8 * dtype.itemsize:
        values = np.empty((rows, width * samples), dtype)
        weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.uint16)
        for start in range(0, width * samples, _BYTES_AT_ONCE):  # a multiple of 8: these begin with a byte
            end = min(start + _BYTES_AT_ONCE, width * samples)
            one_a_bit = np.unpackbits(block[:, start * bits // 8 : -(-end * bits // 8)], axis=1)
            values[:, start:end] = one_a_bit[:, : (end - start) * bits].reshape(rows, -1, bits) @ weights
        return values.reshape(rows, width, samples)
    if predictor == 3 and dtype.kind == "f":  # Adobe's technical note 3: bytes of equal weight side by side
        steps = np.cumsum(block.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
        by_weight = steps.reshape(rows, dtype.itemsize, width * samples)
        big_endian = np.ascontiguousarray(by_weight.transpose(0, 2, 1))
        return big_endian.view(dtype.newbyteorder(">")).reshape(rows, width, samples)
    stored = dtype.newbyteorder(">" if layout.is_big_endian else "<")
    values = np.ascontiguousarray(block).view(stored).reshape(rows, width, samples)
    if predictor == 2:
        whole = np.dtype(f"u{dtype.itemsize}")
        return np.cumsum(values.astype(dtype).view(whole), axis=1, dtype=whole).view(dtype)
    return values


def _read_subsampled(file: BinaryIO, layout: TiffLayout) -> np.ndarray | None:
    """Return uncompressed YCbCr whose colors stand once for several pixels, or None where each has its own."""
    width, height = layout.size
    across, down = layout.tags.get(530, (2, 2))
    sizes, offsets = layout.tags.get(279, ()), layout.tags.get(273, ())
    if layout.compression != 1 or not offsets or len(sizes) != len(offsets) or sum(sizes) >= 3 * width * height:
        return None
    units = -(-width // across)
    unit = across * down + 2
    data = b"".join(_read_at(file, offset, size) for offset, size in zip(offsets, sizes, strict=True))
    rows = -(-height // down)
    if layout.bits != (8,) or len(data) < rows * units * unit:
        raise _unsupported(layout)
    coded = np.frombuffer(data, np.uint8)[: rows * units * unit].reshape(rows, units, unit)
    by_unit = coded[..., :-2].reshape(rows, units, down, across)
    luma = by_unit.transpose(0, 2, 1, 3).reshape(rows * down, units * across)
    colors = coded[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    return np.dstack([luma, colors])


# From samples to a picture


def _in_8_bits(samples: np.ndarray, layout: TiffLayout) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the colors, and how opaque they are where the file says so."""
    bands = _bands(layout)
    if samples.shape[2] < bands:
        raise ValueError("fewer samples than colors")
    bits = layout.bits[0]
    top = (1 << bits) - 1 if bits < 16 and layout.sample_formats[0] != 2 else None
    colors = to_8_bits(samples[..., :bands], (0, top) if top else usual_range(samples[..., :bands]))
    if layout.color == 0 and bands == 1:
        np.subtract(255, colors, out=colors)
    if samples.shape[2] == bands or _extra(layout) not in (1, 2):
        return colors, None
    alpha = samples[..., bands]
    return colors, to_8_bits(alpha, (0, top) if top else usual_range(alpha))


def _extra(layout: TiffLayout) -> int:
    """Return what the first sample that is no color means: 1 or 2 for opacity, 1 where colors are multiplied by it."""
    extra = layout.tags.get(338, ())
    return next(iter(extra if isinstance(extra, tuple) else (extra,)), 0)


def _to_image(colors: np.ndarray, opacity: np.ndarray | None, layout: TiffLayout) -> Image.Image:
    bands = colors.shape[2]
    mode = {1: "L", 3: "YCbCr" if layout.color == 6 else "RGB", 4: "CMYK"}[bands]
    image = Image.frombytes(mode, (colors.shape[1], colors.shape[0]), cast(bytes, colors.data))
    if mode in ("CMYK", "YCbCr"):
        image = image.convert("RGB")
    return image if opacity is None else add_alpha(image, opacity, is_premultiplied=_extra(layout) == 1)


def _from_palette(samples: np.ndarray, layout: TiffLayout) -> Image.Image:
    table = np.array(layout.tags[320], np.uint16).reshape(3, -1).T
    return Image.fromarray(to_8_bits(table, (0, 65535))[samples[..., 0]])


def _from_lab(samples: np.ndarray, layout: TiffLayout) -> Image.Image:
    if layout.bits[0] not in (8, 16) or layout.sample_formats[0] == 3:
        raise _unsupported(layout)
    high = (samples[..., :3] >> (layout.bits[0] - 8)).astype(np.uint8)
    return Image.frombytes("LAB", (high.shape[1], high.shape[0]), high.tobytes(), "raw", "LAB")
