"""Which script and language a caption is in, as far as finding strays in a set needs it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache

# Words that hold sentences together, and that mean nothing in the other languages of this table.
_WORDS = {
    "English": "the is are of with and an at while his her by from their there this that two standing sitting",
    "German": "der die das ein eine einem einer eines und mit auf ist sind auf zwei steht sitzt im von vor zum",
    "French": "le les une des du et avec sur est dans qui aux deux sont son près devant assis debout",
    "Spanish": "el los las una un con y en está están sobre del dos su junto por hombre mujer",
    "Italian": "il lo gli della del nel di che è sono su due una un sulla con uomo donna",
    "Portuguese": "os um uma com em está estão ao da na dois duas seu sua homem mulher",
    "Dutch": "het een van met op en zijn staat zit twee naast voor aan bij naar",
    "Swedish": "och en ett på med är som av två står sitter framför bredvid",
    "Polish": "na z jest są w się przed obok dwa dwie stoi siedzi ze",
    "Turkish": "bir ve ile olan üzerinde iki yanında adam kadın önünde duran",
}
_LANGUAGES_OF: dict[str, tuple[str, ...]] = {}
for _language, _words in _WORDS.items():
    for _word in set(_words.split()):
        _LANGUAGES_OF[_word] = (*_LANGUAGES_OF.get(_word, ()), _language)

_ENOUGH = 2
"""Words of a language, more than of any other, that decide for it."""


@cache
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "").split(" ")[0].split("-")[0]
    # A Japanese caption mixes three.
    return "Han" if name in ("CJK", "KANGXI", "HIRAGANA", "KATAKANA", "HALFWIDTH") else name.capitalize()


def script_of(text: str) -> str | None:
    """Return the script of most letters, as in "Latin", "Cyrillic", "Han"; None for a text without letters."""
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else None
    counts = Counter(map(_script, filter(str.isalpha, text)))
    return counts.most_common(1)[0][0] if counts else None


def language_of(text: str) -> str | None:
    """Return the language of a text in Latin letters by its small words; None where they don't decide."""
    words = text.casefold().replace(".", " ").replace(",", " ").split()
    languages = [language for word in words if word in _LANGUAGES_OF for language in _LANGUAGES_OF[word]]
    if len(languages) < _ENOUGH:
        return None
    (language, count), (_, second) = (*Counter(languages).most_common(2), ("", 0))[:2]
    return language if count >= _ENOUGH and count > second else None
