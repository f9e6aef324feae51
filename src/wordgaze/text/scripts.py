"""The world's scripts: which write no spaces, what stays with the letter before it, and their names.

The rules are those of Unicode's text segmentation (UAX 29) as far as captions need them, over Python's own tables.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

# Blocks of scripts that put no spaces between words: of China and Japan, and of South-East Asia and Tibet.
_UNSEGMENTED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff"
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf"
)
_WITHOUT_SPACES = re.compile(f"[{_UNSEGMENTED}]")
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f]")

# Stays with the letter before it, beside marks: joiners, skin tones and tags of emoji, vowels of Thai and Lao that end
# a syllable, vowels and finals of Hangul in parts, signs that repeat or prolong, and small kana.
_TRAILING = re.compile(
    "[\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\u0e2f\u0e30\u0e32\u0e33\u0e45\u0e46\u0eaf\u0eb0\u0eb2\u0eb3\u0ebd"
    "\u0ec6\u1160-\u11ff\u3005\u303b\u309d\u309e\u30fc-\u30fe\uff70\uff9e\uff9fぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶ\u31f0-\u31ff]"
)
# Takes the letter after it with it: a joiner, signs that stack the next consonant (Khmer, Burmese, Tai Tham), and
# vowels of Thai, Lao and Tai Viet that are written before the consonant they follow.
_LEADING = re.compile("[\u200d\u17d2\u1039\u1a60\u0e40-\u0e44\u0ec0-\u0ec4\uaab5\uaab6\uaab9\uaabb\uaabc]")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")


def writes_no_spaces(text: str) -> bool:
    """Return whether ``text`` holds a letter of a script without spaces between words."""
    return _WITHOUT_SPACES.search(text) is not None


def clusters(text: str) -> list[str]:
    """Return what readers take for single characters: letters with their marks, emoji joined to one picture."""
    starts = [index for index in range(len(text)) if _starts_cluster(text, index)]
    return [text[start:stop] for start, stop in pairwise([*starts, len(text)])]


def may_start_word(text: str, index: int) -> bool:
    """Return whether a word may begin at ``text[index]`` without a space before it.

    Only beside a letter of a script without spaces, and never within a cluster. Katakana stays together, since it
    spells out single foreign words; closing punctuation stays with what it closes, opening with what it opens.
    """
    if not 0 < index < len(text) or not _starts_cluster(text, index):
        return False
    before, after = text[index - 1], text[index]
    if _KATAKANA.match(before) and _KATAKANA.match(after):
        return False
    opening = ("Ps", "Pi")
    kind = unicodedata.category(after)
    if unicodedata.category(before) in opening or (kind[0] == "P" and kind not in opening):
        return False
    return writes_no_spaces(before + after)


def script(letter: str) -> str:
    """Return the name of a letter's script, as in "Thai", "Arabic", "Han"; "emoji" and "symbols" for what is none."""
    name = unicodedata.name(letter, "")
    if name.startswith("CJK") or name.startswith("KANGXI"):
        return "Han"
    if unicodedata.category(letter)[0] in "LM" and name:
        return name.split(" ")[0].split("-")[0].capitalize()
    return "emoji" if ord(letter) >= 0x1F000 else "symbols"


def _starts_cluster(text: str, index: int) -> bool:
    if index == 0:
        return True
    before, letter = text[index - 1], text[index]
    if _FLAG.match(letter) and _FLAG.match(before):  # two letters of a country are a flag
        run = re.search("[\U0001f1e6-\U0001f1ff]*$", text[:index])
        return run is None or len(run[0]) % 2 == 0
    if unicodedata.category(letter)[0] == "M" or _TRAILING.match(letter):
        return False
    return _LEADING.match(before) is None
