"""Penn Treebank words of captions as pycocoevalcap gets them from Stanford's PTBTokenizer 3.4.1, without Java.

Each rule is a regular expression for a token and, for some, for what must follow it. At every position the rule that
matches furthest wins, what must follow included; of two that match equally far, the earlier one. The rules are the
Penn Treebank's conventions (clitics split off, brackets spelled out, abbreviations with their stop) and what the Java
program was seen to do; where that is odd, the rule says so.

Known to differ: the Java program lower-cases a Greek sigma beside digits by its own idea of where a word ends, takes an
emoji for two characters where an address needs two, reads a tag with an open quotation on into the next caption, and
takes a line break other than "\n" for the end of the caption.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

# Goes up when the words of any caption change: scores of before and after don't compare.
VERSION = 1

# What pycocoevalcap throws away after tokenizing. It also means to drop round and curly brackets, but names them
# in capitals, while it lets the tokenizer write "-lrb-": they stay.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)

# --- Characters ---------------------------------------------------------------------------------------------
# The rules see a caption's shape, in which each character beyond ASCII that no rule names stands for its kind.
_LETTER, _MARK, _DIGIT, _SYMBOL, _OTHER = "\ue000\ue001\ue002\ue003\ue004"
_NAMED = frozenset(
    "\x80\x91\x92\x93\x94\x96\x97\xa0¢£¤«\xad²³¹»¼½¾֊٫٬‐‑–—―‘’‚‛“”„‟…‹›⁄₠€⅓⅔、⁰⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉⁺⁻₊₋"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u3000"
)


def _codes(ranges: str) -> frozenset[int]:
    spans = ([int(end, 16) for end in span.split("-")] for span in ranges.split())
    return frozenset(code for span in spans for code in range(span[0], span[-1] + 1))


# Letters and digits since Unicode 6.0, which the Java program does not know.
_NEW_LETTERS = _codes(
    "37F 528-52F 560 588 5EF 860-88E 8A1 8AD-8C9 978 980 9FC AF9 C34 C5A-C5D C80 CDD D04 D54-D5F E86 E89 E8C"
    " E8E-E93 E98 EA0 EA8-EA9 EAC 13F5-13FD 16F1-16F8 170D 171F 1878 191D-191E 19B0-19C0 19C8-19C9 1B4C"
    " 1C80-1CBF 1CF2-1CF3 1CFA 2C2F 2C5F 312E-312F 31BB-31BF 4DB6-4DBF 9FCD-9FFF A698-A69D A78F A794-A79F"
    " A7AB-A7F7 A8FD-A8FE A9E0-A9FE AA7E-AA7F AB30-ABBF"
)
_NEW_DIGITS = _codes("DE6-DEF A9F0-A9F9")
_LETTERS_SINCE_MARKS = _codes("1885-1886")
# Combining marks and the like that it takes for part of a word.
_MARKS = _codes(
    "2C2-379 384-385 3F6 483-487 55A-55F 591-5BD 5BF 5C1-5C2 5C4-5C5 5C7 615-61A 64B-65E 670 6D6-6FE 70F-7F3"
    " 900-903 93C-94E 951-955 962-963 981-9E3 A01-A4F A81-ACF B82-BCD C01-C03 C3E-C56 D3E-D48 E31-E3A E47-E4E"
    " EB1-ECD"
)
# Signs that are a token of their own. All others (emoji beyond the first plane, control characters, the
# punctuation of most scripts) are dropped, and part words as a space does.
_SYMBOLS = _codes(
    "A1-37E 387 589 5BE-5C6 5F3-603 606-60C 614-61B 61E-61F 66A-7F8 964-965 E3F-E4F 1FBD 2016-2023 2030-203B"
    " 203E-2042 207A-208E 20A4 2100-214F 2155-215E 2190-2BFF 3001-3002 3012 30FB FF01-FFE1 FFE5-FFE6"
)


class _Shapes(dict[int, str]):
    """A table for ``str.translate`` that finds a character's kind when it first occurs."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = kind = character if code < 128 or character in _NAMED else _kind(character)
        return kind


def _kind(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if code > 0xFFFF or category == "Cn" or code in _NEW_LETTERS or code in _NEW_DIGITS:
        return _OTHER
    if category[0] == "L" or code in _LETTERS_SINCE_MARKS:
        return _LETTER
    if category == "Nd":
        return _DIGIT
    if code in _MARKS:
        return _MARK
    return _SYMBOL if code in _SYMBOLS else _OTHER


_SHAPES = _Shapes()

# --- Pieces of rules ----------------------------------------------------------------------------------------
_SPACE = "[ \t\xa0\u2000-\u200a\u3000]"
_ANY_SPACE = "[ \t\n\xa0\u2000-\u200a\u3000]"
_ALPHA = f"[A-Za-z{_LETTER}]"
_NUMERAL = f"[0-9{_DIGIT}]"
_ALNUM = f"[A-Za-z0-9{_LETTER}{_DIGIT}]"
_ACCENTED = "&[aeiouAEIOU](?i:acute|grave|uml);"
_IN_WORD = f"(?:[A-Za-z{_LETTER}{_MARK}\xad]|{_ACCENTED})"
_IN_WORD_OR_DIGIT = f"(?:[A-Za-z0-9{_LETTER}{_MARK}{_DIGIT}\xad]|{_ACCENTED})"
# A missing space after a stop does not part words: "on the plate.A spoon" has the word "plate.a".
_WORD = f"{_IN_WORD}{_IN_WORD_OR_DIGIT}*(?:[.!?]{_IN_WORD}{_IN_WORD_OR_DIGIT}*)*"
_APOSTROPHE = "(?:['’\x92]|&(?i:apos);)"
_APOSTROPHE_OR_TICK = "(?:['’\x92`‘\x91‛]|&(?i:apos);)"
_NOT = f"[nN]{_APOSTROPHE_OR_TICK}[tT]"
_CLITIC = f"{_APOSTROPHE}(?:[msdMSD]|(?i:re|ve|ll))"
_THING_PART = f"(?:[dDoOlL]{_APOSTROPHE_OR_TICK}{_ALNUM})?{_ALNUM}+"
_THING = f"{_THING_PART}(?:[-_֊‐‑]{_THING_PART})*"
_COMPANY = "[A-Z]+(?:(?:&(?i:amp);|[+&])[A-Z]+)+"
_HYPHENATED = "[A-Za-z0-9][A-Za-z0-9.,\xad]*(?:-(?:[A-Za-z](?:\\.[A-Za-z])+\\.|[A-Za-z0-9\xad]+))+"
_NUMBER = f"(?:{_NUMERAL}*(?:[.:,\xad٫٬]{_NUMERAL}+)+|{_NUMERAL}+)"
_URL_END = '[^ \t\n\f\r"<>|.!?(){},-]'
_PATH = f'/[^ \t\n\f\r"<>|()]+{_URL_END}'
_IN_ADDRESS = '[^ \t\n\f\r"<>|(){}.\xa0]'
_TAG_NAME = "[A-Za-z][A-Za-z0-9_:.-]*"
_ATTRIBUTE = f"{_TAG_NAME}(?: *= *(?:'[^'\n]*'|\"[^\"\n]*\"))?"
_TAG = f"<(?:[!?][A-Za-z-][^>\r\n]*|/?{_TAG_NAME} *|{_TAG_NAME}(?: +{_ATTRIBUTE})* */? *)>"

# Two lists of words with a stop of their own; the rules tell them apart.
_TITLES = (
    "mr|mrs|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|messrs|govs?|adm|rev|maj|sgt|cpl|pvt|capt|ste?|ave|pres"
    "|lieut|hon|brig|co?mdr|pfc|spc|supts?|det|mt|ft|adj|adv|asst|assoc|ens|insp|mlle|mme|msgr|sfc|alex|wm|jos"
    "|cie|treas|invt|elec|natl|dept|cf|vs|ph"
)
_ABBREVIATIONS = (
    "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|inc|cos?|corp|plc|ltd|bldg|blvd"
    "|bros|bhd|assn|univ|intl|sys|jr|sr|esq|etc|est|ext|tel|sq|seq|rd|rt|ct|md|va|vt|ga|ky|mo|ala?|ariz|calif"
    "|colo|conn|fla|ind|kans?|mich|minn|mont|neb|nev|okla|penn|tenn|wisc?|wyo|dak|(?:ed|ph)\\.d"
)
_CAPITALIZED_ABBREVIATIONS = (
    "A(?i:z|rk)|L(?i:a)|P(?i:a)|D(?i:el)|I(?i:ll)|O(?i:re)|T(?i:ex)|M(?i:ass|iss)|W(?i:ash)|[Pp]+t[ye]s?"
)
# Theirs only before a number.
_NUMBERED = "ca|no|op|pp|art|fig|nos|figs|prop"
# Words that start a sentence, so that the stop after a single letter before them ends one.
_STARTERS = (
    "A An As At He If In It So We But Her Now One Our She The Yet You Here Last Many More Once Some Such That Then"
    " They This What When About After Other Since Their There These While Earlier Additionally According However"
    " Mr\\. Ms\\."
)
_STARTER = "|".join(f"{word[0]}(?i:{word[1:]})" for word in _STARTERS.split())
_EXTENSIONS = (
    "bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql"
    "|tar|txt|wav|x|xml|zip"
)

# --- How a token is written ---------------------------------------------------------------------------------
_Writer = Callable[[str], str]  # an empty string: not at all
_QUOTES = str.maketrans(
    dict.fromkeys("‘‛‹\x91", "`")
    | dict.fromkeys("’›\x92", "'")
    | dict.fromkeys("“«\x93", "``")
    | dict.fromkeys("”»\x94", "''")
)


def _as(written: str) -> _Writer:
    return lambda token: written


def _without_soft_hyphens(token: str) -> str:
    return token.replace("\xad", "") or "-"


def _unbroken(token: str) -> str:
    return token.replace(" ", "\xa0")


def _spelled(token: str) -> str:
    return _unbroken(token).replace("(", "-LRB-").replace(")", "-RRB-")


def _quotes(token: str) -> str:
    return token.replace("&apos;", "'").translate(_QUOTES)


def _ampersands(token: str) -> str:
    return re.sub("(?i)&amp;", "&", token)


def _rule(token: str, *, then: str = "", write: _Writer = str) -> tuple[re.Pattern[str], _Writer]:
    return re.compile(f"({token}){then}"), write


# --- Rules --------------------------------------------------------------------------------------------------
_RULES = [
    _rule(f"{_SPACE}+", write=_as("")),
    _rule("(?i:can(?=not)|gon(?=na)|got(?=ta)|lem(?=me)|gim(?=me)|wan(?=na))", then="(?i:not|[nt]a|me)"),
    _rule("'[tT]", then="(?i:is|was)"),
    _rule(_TAG, write=_unbroken),
    _rule("[–—―\x96\x97]|&(?i:md|mdash|ndash);", write=_as("--")),
    _rule("&(?i:amp);", write=_as("&")),
    _rule("&(?:(?i:ht|tl|ur|lr|qc|ql|qr|odq|cdq)|#[0-9]+);"),
    # Words before a clitic. "n't" parts from ASCII letters only.
    _rule("[A-Za-z\xad]*[A-MO-Za-mo-z]", then=_NOT, write=_without_soft_hyphens),
    _rule(_WORD, then=_CLITIC, write=_without_soft_hyphens),
    _rule(_WORD, write=_without_soft_hyphens),
    # Apostrophes within a word: a vowel before and after as in "o'clock", or a list of words.
    _rule(
        f"{_APOSTROPHE}[nN]{_APOSTROPHE}?|[lLdDjJ]{_APOSTROPHE}|(?i:dunkin|somethin|ol){_APOSTROPHE}"
        f"|{_APOSTROPHE}(?i:em|till?|cause|[2-9]0s)|[oO]{_APOSTROPHE_OR_TICK}[oO]"
        f"|{_ALPHA}+[aeiouyAEIOUY]{_APOSTROPHE_OR_TICK}[aeiouA-Z]{_ALPHA}*"
        "|(?i:cont'd\\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)"
    ),
    _rule(f"[A-HJ-XZn]{_APOSTROPHE_OR_TICK}{_ALPHA}{{2,}}"),
    _rule(f"[yY]{_APOSTROPHE}", then=_ALPHA),
    _rule(f"{_NOT}|{_CLITIC}", then="[^A-Za-z]", write=_quotes),
    # Addresses, without and with a path. "-_" is a range, as it seems to be there: of ASCII only small letters
    # and # % & * + ~ may stand before ".com", and "a1.com" is a word only by the rule for words.
    _rule(f'(?i:https?)://[^ \t\n\f\r"<>|(){{}}]+{_URL_END}'),
    _rule('(?i:www)\\.(?:[^ \t\n\f\r"<>|.!?(){},]+\\.)+[a-zA-Z]{2,4}'),
    _rule(f'(?i:www)\\.(?:[^ \t\n\f\r"<>|.!?(){{}},]+\\.)+[a-zA-Z]{{2,4}}{_PATH}'),
    _rule("(?:[^ \t\n\f\r\"`'<>|.!?(){},-_$]+\\.)+(?i:com|net|org|edu)"),
    _rule(f"(?:[^ \t\n\f\r\"`'<>|.!?(){{}},-_$]+\\.)+(?i:com|net|org|edu){_PATH}"),
    _rule(
        f'(?:&(?i:lt);|<)?[a-zA-Z0-9][^ \t\n\f\r"<>|()\xa0{{}}]*@(?:{_IN_ADDRESS}+\\.)*{_IN_ADDRESS}+(?:&(?i:gt);|>)?'
    ),
    _rule("@[A-Za-z_][A-Za-z_0-9]*"),
    _rule(f"#{_IN_WORD}+"),
    # Numbers.
    _rule(f"{_NUMERAL}{{1,2}}[-/]{_NUMERAL}{{1,2}}[-/]{_NUMERAL}{{2,4}}"),
    _rule(f"[-+]?{_NUMBER}", write=_without_soft_hyphens),
    _rule("[⁺⁻₊₋]?(?:[⁰¹²³⁴-⁹]+|[₀-₉]+)"),
    _rule(f"(?:{_NUMERAL}{{1,4}}[- \xa0])?{_NUMERAL}{{1,4}}(?:\\\\?/|⁄){_NUMERAL}{{1,4}}", write=_unbroken),
    _rule("¼", write=_as("1/4")),
    _rule("½", write=_as("1/2")),
    _rule("¾", write=_as("3/4")),
    _rule("⅓", write=_as("1/3")),
    _rule("⅔", write=_as("2/3")),
    _rule(
        "-(?:RRB|LRB|RCB|LCB|RSB|LSB)-|(?i:c\\.d\\.s|pro-|anti-)|[sS](?:&|&(?i:amp);)(?i:p-500|ls)"
        f"|(?i:cap){_APOSTROPHE}[nN]|[cC]{_APOSTROPHE}(?i:est)",
        write=_ampersands,
    ),
    _rule(f"{_APOSTROPHE}[0-9][0-9]", then=_ANY_SPACE),
    # Words with hyphens, slashes and such.
    _rule(_THING),
    _rule(_COMPANY, write=_ampersands),
    _rule("[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}"),
    # Two more characters are looked at, whatever they are, so that "etc.x" is parted and "etc.xy" a word.
    _rule(f"(?:(?i:{_ABBREVIATIONS})|{_CAPITALIZED_ABBREVIATIONS})\\.", then="(?:[\\s\\S]{2})?"),
    _rule(_HYPHENATED, write=_without_soft_hyphens),
    # Money, faces, programming languages.
    _rule("[A-Z]*\\$|#"),
    _rule("[\x80¤₠€]", write=_as("$")),
    _rule("¢", write=_as("cents")),
    _rule("£", write=_as("#")),
    _rule("[<>]?[:;=][-o*']?[()DPdpO\\\\{@|[\\]]", then="[^A-Za-z0-9]", write=_spelled),
    _rule("[-^x=~<>']_[-^x=~<>']|\\([-^x=~<>'][_.]?[-^x=~<>']\\)", write=_spelled),
    _rule("\\([\\^x=~<>']-[\\^x=~<>'`]\\)", write=_spelled),
    _rule("[cCfF]#|[cC]\\+\\+"),
    _rule("<<|>>"),
    # Abbreviations, file names, telephone numbers.
    _rule(f"(?:(?i:{_TITLES})|[Mm](?:fg|tg))\\."),
    _rule("[A-Za-z]", then=f"\\.{_ANY_SPACE}+(?:{_STARTER}|{_TAG}){_ANY_SPACE}"),
    _rule("[A-Za-z](?:\\.[A-Za-z])*\\."),
    _rule("(?i:(?:canada|sino|korean|eu|japan|non)-u\\.s|u\\.s\\.-u\\.(?:k|s\\.s\\.r))", then=_ANY_SPACE),
    _rule(f"(?i:{_NUMBERED})\\.", then=f"{_ANY_SPACE}?{_NUMERAL}"),
    _rule(
        f"{_IN_WORD_OR_DIGIT}+(?:\\.{_IN_WORD_OR_DIGIT}+)*\\.(?i:{_EXTENSIONS})",
        then=f"(?:{_ANY_SPACE}|[.?!,])",
    ),
    _rule(
        "(?:\\([0-9]{2,3}\\)[ \xa0]?|(?:\\+\\+?)?(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0])"
        "[0-9]{3,4}[- \xa0]?[0-9]{3,5}|(?:(?:\\+\\+?)?[0-9]{2,4}\\.)?[0-9]{2,4}\\.[0-9]{3,4}\\.[0-9]{3,5}",
        write=_spelled,
    ),
    # A stop before a comma is taken for an abbreviation's: "ready to bat.,".
    _rule(f"(?:{_HYPHENATED}|{_WORD}|{_THING}|{_COMPANY})\\.", then="[,;:、]", write=_without_soft_hyphens),
    # Punctuation.
    *(
        _rule(re.escape(bracket), write=_as(f"-{name}-"))
        for bracket, name in zip("()[]{}", ["LRB", "RRB", "LSB", "RSB", "LCB", "RCB"], strict=True)
    ),
    _rule("-{2,}", write=lambda token: "--" if len(token) < 5 else token),
    _rule("\\.{3,5}|(?:\\.[ \xa0]){2,4}\\.|…", write=_as("...")),
    _rule("@+|#+|_+|(?:\\\\\\*){1,3}|\\*+"),
    _rule("[?!]+|[.,;:=、]"),
    # Two curly quotes in a row become one token of up to four ASCII quotes, which pycocoevalcap keeps.
    _rule("[“”«»‹›‘’‚„‟‛`\x91-\x94]{1,2}", write=_quotes),
    # A quoted word keeps its first letters ...
    _rule("'", then="[A-Za-z][^ \t\n\r\xa0]"),
    # ... but after a curly quote "’dog" loses its "d".
    _rule(f"{_NOT}|{_CLITIC}", write=_quotes),
    _rule(f"''|{_APOSTROPHE}", write=_quotes),
    _rule('"|&(?i:quot);', write=lambda token: "''" if token in ('"', "&quot;") else token),
    _rule("&(?i:lt);", write=_as("<")),
    _rule("&(?i:gt);", write=_as(">")),
    _rule("&(?i:nbsp);", write=_as("")),
    _rule(f"[%~&|^+\\-/\\\\<>{_SYMBOL}⁄⁺⁻₊₋]"),
]

# --- The lexer ----------------------------------------------------------------------------------------------
# Most of a caption is plain words, for which the rules can give nothing else: ASCII letters before a space or the
# line's end, with at most a comma between, and two letters or more with the stop that ends the line.
_PLAIN = re.compile(f"(?:[A-Za-z]*,?(?: +(?!{_SPACE})|(?=\n)))*(?:([A-Za-z]{{2,}}|)\\.(?=\n))?")
_KEEPS_STOP = re.compile(f"(?i:{_TITLES}|mfg|mtg|{_NUMBERED}|{_ABBREVIATIONS}|{_CAPITALIZED_ABBREVIATIONS})")
_IN_TWO = frozenset(["cannot", "gonna", "gotta", "lemme", "gimme", "wanna"])
_LINE_BREAK = re.compile("[\n\r\x0b\x0c\x85\u2028\u2029]")


def _words(text: str, end: int) -> list[str]:
    """Return the words of ``text[:end]``; what comes after is only looked at."""
    shape = text if text.isascii() else text.translate(_SHAPES)
    words: list[str] = []
    position = 0
    while position < end:
        plain = _PLAIN.match(shape, position)
        if plain and plain.end() > position and not (plain[1] and _KEEPS_STOP.fullmatch(plain[1])):
            plain_words = plain[0].lower().replace(",", " ").replace(".", " ").split()
            if _IN_TWO.isdisjoint(plain_words):
                words += plain_words
            else:
                for word in plain_words:
                    words += [word[:3], word[3:]] if word in _IN_TWO else [word]
            position = plain.end()
            continue
        position, token = _next(text, shape, position)
        # An address with a no-break space at the end of a line, which is stripped.
        if token[-1:].isspace() and not text[position:end].strip():
            token = token.rstrip()
        token = token.lower()
        if token and token not in PUNCTUATION:
            words.append(token)
    return words


def _next(text: str, shape: str, position: int) -> tuple[int, str]:
    """Return where the token at ``position`` ends, and how it is written: "" for space, or for what no rule knows."""
    furthest, end, write = position, position + 1, _as("")
    for pattern, writer in _RULES:
        match = pattern.match(shape, position)
        if match and match.end() > furthest:
            furthest, end, write = match.end(), match.end(1), writer
    return end, write(text[position:end])


def tokenize(caption: str) -> list[str]:
    """Return the lower-case words of one caption, without punctuation.

    A word may hold a no-break space: "1 1/2" is one. Line breaks of any kind count as spaces.
    """
    line = _LINE_BREAK.sub(" ", caption)
    return _words(line + "\n", len(line))


def tokenize_all(captions: Iterable[str]) -> list[list[str]]:
    """Return the words of each caption as pycocoevalcap finds them, which tokenizes all as one text, a line each.

    That differs from ``tokenize`` where a caption's end depends on the next caption: in "near exit S." the stop
    belongs to the letter, unless the next one starts with a word such as "The".
    """
    words: list[list[str]] = []
    rest = ""
    for line in reversed([_LINE_BREAK.sub(" ", caption) for caption in captions]):
        words.append(_words(line + rest, len(line)))
        rest = f"\n{line}{rest if line.isspace() or not line else rest[:1]}"
    return words[::-1]
