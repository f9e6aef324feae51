"""What was found in the captions of a run: for people, when training starts."""

from __future__ import annotations

from collections.abc import Iterator

from wordgaze.data.captions import CaptionSet
from wordgaze.text.tokenizer import CaptionTokenizer

ENCODED = 100_000
"""Of more captions than this, every second, third, ... is encoded, so that a run begins soon."""
_SHOWN = 60


def describe_sources(captions: CaptionSet) -> Iterator[str]:
    """Yield a line on each source: what it is, and how much is in it."""
    lines = captions.description.splitlines()
    formats = captions.formats if len(captions.formats) == len(lines) else ("",) * len(lines)
    for line, format in zip(lines, formats, strict=True):
        yield f"{line} ({format})" if format else line


def describe_captions(captions: CaptionSet, tokenizer: CaptionTokenizer, max_length: int) -> str:
    """Return a line on the captions: words, ids, the longest, and how many a run cuts at ``max_length`` ids."""
    words: set[str] = set()
    total = sum(len(photo.captions) for photo in captions)
    step = -(-total // ENCODED)
    longest, ids, encoded, cut = "", 0, 0, 0
    for number, caption in enumerate(caption for photo in captions for caption in photo.captions):
        words.update(caption.lower().split())
        if number % step:
            continue
        # The start is no id to learn, the end is one.
        length = len(tokenizer.encode(caption)) - 1
        encoded += 1
        cut += length > max_length
        if length > ids:
            longest, ids = caption, length
    about = "" if step == 1 else "about "
    share = f" ({100 * cut / encoded:.1f} %)" if cut else ""
    shown = longest if len(longest) <= _SHOWN else f"{longest[: _SHOWN - 3]}..."
    return (
        f"{len(words):,} different words, {tokenizer.vocab_size:,} ids in the vocabulary; the longest caption has "
        f"{ids} ids ({len(longest.split())} words: {shown!r}); {about}{cut * step:,} of {total:,} captions{share} are "
        f"cut at data.max_length {max_length}"
    )
