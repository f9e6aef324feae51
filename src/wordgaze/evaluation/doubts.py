"""Warnings on captions whose scores mean something else than they seem to; a low score alone says nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from wordgaze.evaluation.ptb import tokenize

_FEW = 0.05
"""A smaller share of captions gets no warning: one of 5,000 in another script is no mistake of method."""

# Scripts without spaces between words: Chinese and Japanese, whose words are short, and others.
_IDEOGRAPHS = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf"
_IDEOGRAPHS += "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_OTHERS = "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f"
_OTHERS += "\ua000-\ua48f\ua980-\ua9df\uaa60-\uaa7f"
_RUNS = ((re.compile(f"[{_IDEOGRAPHS}]+"), 4), (re.compile(f"[{_OTHERS}]+"), 12))
"""A run of their letters, and the longest mean length of its words where a text is segmented."""

_SPECIAL = re.compile(
    # <start> </s> <|endoftext|> <unk> <0x0A>
    r"<[|/]?[A-Za-z_][\w|/.:+-]{0,30}>|<0x[0-9A-F]{2}>"
    r"|\[(?:CLS|SEP|PAD|UNK|MASK|BOS|EOS|ENC|DEC|START|END|INST|/INST)\]|\[unused\d+\]"
    # Of many tutorials.
    r"|\b(?:startseq|endseq)\b"
    # Pieces of words that were not joined.
    r"|(?<!\S)##(?=\w)|\u2581|\u0120[a-z]+ ?\u0120|(?<=\w)@@(?=\s|$)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\w")
_SURROGATE = re.compile("[\ud800-\udfff]")


def doubts(captions: Sequence[str], what: str) -> list[str]:
    """Return warnings on ``captions``, which are ``what``, such as "captions of FILE"."""
    findings = [
        _unsegmented(captions),
        _special(captions),
        _broken(captions),
        _wordless(captions),
        _absent(captions),
    ]
    total = f"of the {len(captions):,} {what}"
    return [
        f"{count:,} {total} {singular if count == 1 else plural}{why}"
        for count, singular, plural, why in findings
        if count
    ]


class _Doubt(NamedTuple):
    """How many captions are odd, the verb for one, the verb for several, and the rest of the sentence."""

    number: int
    singular: str = ""
    plural: str = ""
    why: str = ""


def _unsegmented(captions: Sequence[str]) -> _Doubt:
    """Count captions written without spaces between words."""
    with_letters = [text for text in captions if not text.isascii() and any(run.search(text) for run, _ in _RUNS)]
    if len(with_letters) <= _FEW * len(captions):
        return _Doubt(0)
    single = [text for text in with_letters if len(text.split()) == 1 and len(text.strip()) > 1]
    long = False
    for run, most in _RUNS:
        lengths = [len(letters) for text in with_letters for letters in run.findall(text)]
        long = long or (bool(lengths) and sum(lengths) / len(lengths) > most)
    if not long and 2 * len(single) <= len(with_letters):
        return _Doubt(0)
    why = (
        f" in a script without spaces between words ({_quoted(with_letters[0])}); scores count what stands between "
        "spaces, so segment captions and references in the same way first"
    )
    return _Doubt(len(with_letters), "is", "are", why)


def _special(captions: Sequence[str]) -> _Doubt:
    """Count captions with a tokenizer's marks."""
    marks = [set(_SPECIAL.findall(text)) for text in captions]
    counts = Counter(mark for caption_marks in marks for mark in sorted(caption_marks))
    count = sum(map(bool, marks))
    named = ", ".join(f"{mark} in {number:,}" for mark, number in counts.most_common(5))
    more = ", ..." if len(counts) > 5 else ""
    why = f" marks of a tokenizer ({named}{more}), which count as words and change the scores; remove them"
    return _Doubt(count, "holds", "hold", why)


def _broken(captions: Sequence[str]) -> _Doubt:
    count = sum(not text.isascii() and bool(_SURROGATE.search(text)) for text in captions)
    why = " half a character (a lone surrogate): cut or decoded wrongly, and that word counts as another"
    return _Doubt(count, "holds", "hold", why)


def _wordless(captions: Sequence[str]) -> _Doubt:
    empty = [text for text in captions if not _LETTER.search(text) and not tokenize(text)]
    shown = next((f" ({_quoted(text)})" for text in empty if text.strip()), "")
    return _Doubt(len(empty), "has", "have", f" no words that scores count{shown}")


def _absent(captions: Sequence[str]) -> _Doubt:
    count = sum(text.strip().lower() in ("nan", "none", "null", "n/a") for text in captions)
    return _Doubt(count, "is", "are", " what programs write where there is none (nan, None); caption those photos")


def _quoted(text: str) -> str:
    """Return the beginning of ``text``, with escapes for what can't be shown."""
    return repr(text.strip()[:20])
