"""Penn Treebank tokens of a caption, as pycocoevalcap gets them from Stanford's tokenizer, without Java."""

from __future__ import annotations

import re

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_TOKEN = re.compile(
    r"can(?=not\b)|gon(?=na\b)|got(?=ta\b)|wan(?=na\b)|gim(?=me\b)|lem(?=me\b)"
    r"|'(?:s|m|d|re|ve|ll)\b|n't\b|[^\W\d_]+?(?=n't\b)"
    r"|\d+(?:[.,:]\d+)+|(?:[^\W\d_]\.)+(?:[^\W\d_]\b)?|(?:mr|mrs|ms|dr|st|jr|sr)\.(?=\s)"
    r"|\w+(?:[-/&]\w+)*|\.{3}|--+|\S"
)


def tokenize(caption: str) -> list[str]:
    """Lower-case PTB tokens of one caption, punctuation dropped."""
    return [token for token in _TOKEN.findall(caption.lower()) if token not in PUNCTUATION and token != '"']
