"""Text files of other people: decoded, or an error that says what they are instead."""

from __future__ import annotations

import codecs
import json
import re
import zipfile
from pathlib import Path

from wordgaze.errors import DataError

_ANOTHER = "check that this is the right file"
_UNPACK = "unpack it, and name the file inside"

# What begins like this is no text: its kind, and what to do where that is not plain.
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (rb"\x1f\x8b", "a file packed with gzip", _UNPACK),
    (rb"BZh[1-9]", "a file packed with bzip2", _UNPACK),
    (rb"\xfd7zXZ\0", "a file packed with xz", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "a file packed with zstd", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!", "a RAR archive", _UNPACK),
    (rb".{257}ustar", "a tar archive", _UNPACK),
    (rb"PAR1", "a Parquet file", "save its columns as JSON or CSV"),
    (rb"ARROW1|\xff\xff\xff\xff.{2}\0\0", "an Arrow file", "save its columns as JSON or CSV"),
    (rb"SQLite format 3", "an SQLite database", "save its columns as JSON or CSV"),
    (rb"\xd0\xcf\x11\xe0", "an old Office document", "save it as CSV"),
    (rb'.{5}\0\0\0\{"', "a safetensors file (weights)", _ANOTHER),
    (rb"\x80[\x02-\x05]", "a Python pickle (or an old PyTorch checkpoint)", _ANOTHER),
    (rb"\x89HDF", "an HDF5 file (weights, or features)", _ANOTHER),
    (rb"\x93NUMPY", "a NumPy array", _ANOTHER),
    (rb"GGUF", "a GGUF file (weights)", _ANOTHER),
    (rb"%PDF", "a PDF", _ANOTHER),
    (rb"\xff\xd8\xff", "a JPEG photo", _ANOTHER),
    (rb"\x89PNG", "a PNG photo", _ANOTHER),
    (rb"GIF8|RIFF|II\*\0|MM\0\*|....ftyp", "a photo or a video", _ANOTHER),
    (rb"\x7fELF|MZ", "a program", _ANOTHER),
)
_ZIP = b"PK\x03\x04"
_LFS = "version https://git-lfs.github.com/spec"
_HTML = re.compile(r"\s*(<!--.*?-->\s*)?<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


def read_bytes(path: Path) -> bytes:
    """Return the file's bytes; raises DataError."""
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise DataError(f"{path}: can't be read (it is a folder); name a file in it.") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check path and permissions.") from None
    except ValueError as error:  # a NUL in the name
        raise DataError(f"{path!r}: can't be read ({error}); check the path.") from None


def read_text(path: Path) -> str:
    """Return the text of a file that is to hold data; raise DataError, which says what it is, where it holds none.

    UTF-8, or UTF-16 or UTF-32 that begins with its byte order mark.
    """
    return text_of(path, read_bytes(path))


def text_of(path: Path, data: bytes) -> str:
    """Return :func:`read_text` of the file ``path``, of which ``data`` has been read."""
    if not data.strip(b"\0 \t\r\n"):
        raise DataError(f"{path}: is empty; get the file again, or name another.")
    kind, remedy = _binary_kind(path, data)
    if kind:
        raise DataError(f"{path}: not UTF-8 text, but {kind}; {remedy}.")
    text = decode(path, data)
    if text.startswith(_LFS):
        raise DataError(f"{path}: a Git LFS pointer, not the file it stands for; get that with `git lfs pull`.")
    if _HTML.match(text):
        raise DataError(f"{path}: an HTML page, perhaps from a failed download; get the file again.")
    return text


def decode(path: Path, data: bytes, remedy: str = "save it as UTF-8, or name the right file") -> str:
    """Return ``data`` as text, without its byte order mark; raises DataError where it is none."""
    encoding = _encoding(data)
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        kind = "UTF-8" if encoding == "utf-8" else encoding.upper()
        # In a file of mixed encodings most lines are right.
        line = data.count(b"\n", 0, error.start) + 1
        where = f" in line {line}" if encoding == "utf-8" and line > 1 else ""
        raise DataError(f"{path}: not {kind} text (byte {error.start}){where}; {remedy}.") from None


def beginning_of(data: bytes) -> str:
    """Return the beginning of a text as far as it can be decoded, to tell what it is; empty of what is no text."""
    if data.startswith(_ZIP) or any(re.match(beginning, data[:512], re.DOTALL) for beginning, _, _ in _BINARY):
        return ""
    try:
        return data.decode(_encoding(data), errors="replace").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return ""


def _encoding(data: bytes) -> str:
    # UTF-32's mark begins with UTF-16's.
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Without a mark: where every second byte is 0 it is no UTF-8.
    return json.detect_encoding(data) if b"\0" in data[:4] else "utf-8"


def _binary_kind(path: Path, data: bytes) -> tuple[str, str]:
    """Return what a file is that is no text, and what to do about it; two empty texts for others."""
    if data.startswith(_ZIP):
        return _zip_kind(path)
    for beginning, kind, remedy in _BINARY:
        if re.match(beginning, data[:512], re.DOTALL):
            return kind, remedy
    return "", ""


def _zip_kind(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch checkpoint", _ANOTHER
    if "[Content_Types].xml" in names:
        return "an Office document (Excel, Word)", "save it as CSV"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays", _ANOTHER
    return "a zip archive", _UNPACK


def kind_of_text(text: str) -> str:
    """Return what text that is no JSON probably is, in words that follow "this is"."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    first = lines[0] if lines else ""
    if re.match(r"\s*<(\?xml|annotation)\b", first):
        return "XML"
    if all(re.match(r"[^\t]*#\d+\t", line) for line in lines):
        return "a list of captions like Flickr8k's token.txt (NAME#NUMBER, a tab, the caption)"
    if re.match(r"image_name\s*\|", first):
        return "a table like Flickr30k's results.csv"
    if re.fullmatch(r"image,caption\s*", first):
        return "a table like Flickr8k's captions.txt (image,caption)"
    if all("\t" in line for line in lines):
        return "lines with tabs (TSV)"
    if re.fullmatch(r"[^,;|]*\w([,;|][^,;|]*)+", first) and len(lines) > 1:
        return f"a table (CSV) that begins with {first.strip()!r:.60}"
    if all(re.fullmatch(r".*\.(jpe?g|png|webp|bmp|gif|tiff?)\s*", line, re.IGNORECASE) for line in lines):
        return "a list of file names"
    return f"text that begins with {first.strip()!r:.60}"
