"""Swap left and right in the captions of mirrored photos."""

from __future__ import annotations

import re

_SIDE = re.compile(r"\b(?<!-)(left|right)(-?(?:most|wards?|hand|handed|side|facing))?\b(?!-)", re.IGNORECASE)
_SIDE_FOLLOWS = re.compile(
    r"(?:'s|s'|\b(?:the|an?|his|her|its|their|my|your|our|to|from|on|top|bottom|upper|lower|front|rear|back|far|"
    r"center|pointing|looking|facing|heading|turn|turns|turning|sharp|then|(?:left|right) (?:and|or|to)))\s+$",
    re.IGNORECASE,
)
_OF_A_SIDE = re.compile(
    r"\s+(?:of|hands?|handed|arms?|foot|feet|legs?|sides?|shoulders?|ears?|eyes?|knees?|wrists?|elbows?|forearms?|"
    r"fists?|paws?|wings?|shoes?|turns?|corners?|lanes?|field|half|page|(?:and|or|to)\s+(?:left|right))\b",
    re.IGNORECASE,
)


def swap_left_right(caption: str) -> str:
    """Return the caption of the mirrored photo: left and right swapped, also in "rightmost" or "left-handed".

    Both words have other meanings ("was left open", "right next to"), so alone they are swapped only where a word
    beside them says that a side is meant: "the left", "his left hand", "left of", "left and right".
    """
    return _SIDE.sub(_other_side, caption)


def _other_side(match: re.Match[str]) -> str:
    side, compound = match.group(1), match.group(2) or ""
    is_side = compound or _SIDE_FOLLOWS.search(match.string[: match.start()])
    if not is_side and not _OF_A_SIDE.match(match.string[match.end() :]):
        return match.group()
    other = "right" if side.lower() == "left" else "left"
    if side.isupper():
        other = other.upper()
    elif side[0].isupper():
        other = other.capitalize()
    return other + compound
