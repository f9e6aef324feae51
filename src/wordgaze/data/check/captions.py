"""What is wrong with captions: each by itself, those of one photo, and those of the whole set."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from wordgaze.data.check.findings import Finding
from wordgaze.data.check.language import language_of, script_of
from wordgaze.data.readers.caption_file import CaptionedPhoto

MOST_WORDS, MOST_LETTERS = 50, 300
"""A caption of more is very long; letters count where a script writes no spaces."""

MANY_PHOTOS, MANY_SHARE = 5, 1 / 1000
"""A caption is of many photos from the fifth on, and from one photo in a thousand on."""

_DECIDED, _SHARE = 20, 0.9
"""A set is in one script or language if at least 20 captions tell, and nine in ten of these agree."""

_SHOWN = 60
_PLACEHOLDER = re.compile(
    r"(null|none|nan|n/?a|nil|undefined|todo|tbd|(no )?(caption|description|text)|caption here|lorem ipsum.*|\?+|-+)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(https?://|www\.)\S+", re.IGNORECASE)
_FILE_NAME = re.compile(r"[\w() -]+\.(jpe?g|png|webp|gif|bmp|tiff?|heic|avif)", re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
_ENTITY = re.compile(r"&(#\d+|#x[0-9a-f]+|[a-z]{2,8});", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff]")

# Windows-1252, and as Latin-1 the five bytes that it leaves open and the letters that it has elsewhere.
_BYTES = {chr(byte): byte for byte in range(256)}
_BYTES |= {bytes([byte]).decode("cp1252", "ignore"): byte for byte in range(128, 160)}


def excerpt(caption: str) -> str:
    """Return a caption in quotes, cut where it is long."""
    text = " ".join(caption.split()).encode(errors="backslashreplace").decode()
    return f'"{text}"' if len(text) <= _SHOWN else f'"{text[: _SHOWN - 3]}..."'


def same_text(caption: str) -> str:
    """Return what two captions share that differ only in case, spaces and final stops."""
    return " ".join(unicodedata.normalize("NFKC", caption).casefold().split()).rstrip(" .!")


def why_no_text(caption: str) -> str:
    """Return why a caption that is not empty says nothing in words; "" where it does."""
    text = caption.strip()
    if _PLACEHOLDER.fullmatch(text.rstrip(".")):
        return "a placeholder"
    if _ADDRESS.fullmatch(text):
        return "an address"
    if _FILE_NAME.fullmatch(text) and " " not in text:
        return "a file's name"
    if _MARKUP.search(text):
        return "HTML"
    if not any(map(str.isalpha, text)):
        return "without a letter"
    return ""


def as_meant(caption: str) -> str | None:
    """Return a caption as it was meant whose UTF-8 was read as Latin letters ("cafÃ©"), or with "&amp;"; else None."""
    if _ENTITY.search(caption) and html.unescape(caption) != caption:
        return html.unescape(caption)
    if caption.isascii():
        return None
    try:
        meant = bytes(_BYTES[letter] for letter in caption).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return None
    return meant if meant != caption else None


def why_misread(caption: str) -> str:
    """Return what shows that a caption was read in a wrong encoding; "" where nothing does."""
    if "\ufffd" in caption:
        return "holds the sign for letters that were lost (U+FFFD)"
    meant = as_meant(caption)
    if meant is not None:
        how = "escaped as in HTML" if _ENTITY.search(caption) else "UTF-8 that was read as Latin letters"
        return f"is {how}; meant is {excerpt(meant)}"
    control = _CONTROL.search(caption.strip())
    return f"holds the character U+{ord(control[0]):04X}, which is no text" if control else ""


def check_captions(photos: Sequence[CaptionedPhoto]) -> Iterator[Finding]:
    """Yield what is wrong with the captions, which stand as in their file."""
    for index, photo in enumerate(photos):
        if not photo.captions:
            yield Finding("no-caption", str(photo.path), "has no caption", index)
        seen: dict[str, int] = {}
        for number, caption in enumerate(photo.captions):
            kind, message = _fault(caption, seen, number)
            if kind:
                yield Finding(kind, str(photo.path), f"caption {number + 1} {message}", index, number)
    yield from _common_captions(photos)
    yield from _strays(photos)


def _fault(caption: str, seen: dict[str, int], number: int) -> tuple[str, str]:
    if not caption.strip():
        return "empty-caption", "is empty"
    if why := why_no_text(caption):
        return "not-text", f"is {why}: {excerpt(caption)}"
    if why := why_misread(caption):
        return "encoding", f"{why}: {excerpt(caption)}"
    first = seen.setdefault(same_text(caption), number)
    if first != number:
        return "duplicate-caption", f"repeats caption {first + 1}: {excerpt(caption)}"
    words, letters = len(caption.split()), len(caption)
    if words > MOST_WORDS:
        return "long-caption", f"has {words} words: {excerpt(caption)}"
    if letters > MOST_LETTERS:
        return "long-caption", f"has {letters} characters: {excerpt(caption)}"
    return "", ""


def _common_captions(photos: Sequence[CaptionedPhoto]) -> Iterator[Finding]:
    indices: defaultdict[str, list[int]] = defaultdict(list)
    for index, photo in enumerate(photos):
        for text in dict.fromkeys(map(same_text, photo.captions)):
            if text:
                indices[text].append(index)
    many = max(MANY_PHOTOS, MANY_SHARE * len(photos))
    common = [(text, places) for text, places in indices.items() if len(places) >= many]
    for text, places in sorted(common, key=lambda item: -len(item[1])):
        files = tuple(str(photos[index].path) for index in places)
        more = f", and {len(places) - 1:,} other photos" if len(places) > 1 else ""
        yield Finding(
            "common-caption",
            files[0],
            f"has the caption {excerpt(text)}{more} have it, too",
            places[0],
            None,
            None,
            files,
        )


def _strays(photos: Sequence[CaptionedPhoto]) -> Iterator[Finding]:
    """Yield the captions in another script or language than nine in ten."""
    for name_of in (script_of, language_of):
        names = [name_of(caption) for photo in photos for caption in photo.captions]
        counts = Counter(name for name in names if name is not None)
        [(usual, count)] = counts.most_common(1) or [("", 0)]
        if counts.total() < _DECIDED or count < _SHARE * counts.total():
            continue
        places = ((index, number) for index, photo in enumerate(photos) for number in range(len(photo.captions)))
        for name, (index, number) in zip(names, places, strict=True):
            if name not in (None, usual):
                caption = excerpt(photos[index].captions[number])
                message = f"caption {number + 1} is in {name}, most others are in {usual}: {caption}"
                yield Finding("other-language", str(photos[index].path), message, index, number)
