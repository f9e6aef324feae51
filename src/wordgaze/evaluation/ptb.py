"""Penn Treebank tokens of captions, as pycocoevalcap gets them from Stanford's PTBTokenizer 3.4.1, without Java.

A list of rules, each a regular expression for a token and, for some, for what must follow it. At every place the rule
that reads furthest (what must follow included) wins, and of two that read equally far the earlier one. The rules are
the Penn Treebank's conventions (clitics split off, brackets spelled out, abbreviations with their stop) and what the
Java program was seen to do; where that is odd, the rule says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

# What pycocoevalcap throws away after tokenizing. It also means to drop brackets, but names them in capitals, while
# its tokenizer writes "-lrb-": brackets stay.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)


def tokenize(caption: str) -> list[str]:
    """Lower-case words of one caption, punctuation dropped.

    A word may hold a no-break space ("1 1/2" is one), on which pycocoevalcap's BLEU and CIDEr split again. Line breaks
    of any kind count as spaces.
    """
    line = _on_one_line(caption)
    return _words(line + "\n", len(line))


def tokenize_all(captions: Iterable[str]) -> list[list[str]]:
    """Words of each caption as pycocoevalcap finds them, who tokenizes them all as one text, a line each.

    That differs from one by one where a caption's end depends on what comes next: in "exit S." the stop belongs to the
    letter, unless the next caption starts with one of a few words, such as "The".
    """
    lines = [_on_one_line(caption) for caption in captions]
    words: list[list[str]] = []
    rest = ""
    for line in reversed(lines):
        words.append(_words(line + rest, len(line)))
        rest = "\n" + (line + rest[:1] if line.strip() else line + rest)
    return words[::-1]


def _on_one_line(caption: str) -> str:
    return _LINE_BREAK.sub(" ", caption)


_LINE_BREAK = re.compile("[\n\r\x0b\x0c\x85\u2028\u2029]")

# --- Characters -------------------------------------------------------------------------------------------------------
# The rules see a caption's shape: every character beyond ASCII that no rule names stands for its kind, one of these.
LETTER, MARK, DIGIT, SYMBOL, OTHER = "\ue000\ue001\ue002\ue003\ue004"
_NAMED = frozenset(
    "\x80\x91\x92\x93\x94\x96\x97\xa0¢£¤«\xad²³¹»¼½¾֊٫٬‐‑–—―‘’‚‛“”„‟…‹›⁄₠€⅓⅔、"
    "⁰⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u3000"
)


def _ranges(text: str) -> frozenset[int]:
    spans = ([int(end, 16) for end in span.split("-")] for span in text.split())
    return frozenset(code for span in spans for code in range(span[0], span[-1] + 1))


# Unicode's categories, but of its version 6.0: letters and digits added since are unknown to the Java program.
_NEW_LETTERS = _ranges(
    "37F 528-52F 560 588 5EF 860-88E 8A1 8AD-8C9 978 980 9FC AF9 C34 C5A-C5D C80 CDD D04 D54-D5F E86 E89 E8C E8E-E93"
    " E98 EA0 EA8-EA9 EAC 13F5-13FD 16F1-16F8 170D 171F 1878 191D-191E 19B0-19C0 19C8-19C9 1B4C 1C80-1CBF 1CF2-1CF3"
    " 1CFA 2C2F 2C5F 312E-312F 31BB-31BF 4DB6-4DBF 9FCD-9FFF A698-A69D A78F A794-A79F A7AB-A7F7 A8FD-A8FE A9E0-A9FE"
    " AA7E-AA7F AB30-ABBF"
)
_NEW_DIGITS = _ranges("DE6-DEF A9F0-A9F9")
_LETTERS_THOUGH_MARKS = _ranges("1885-1886")
# Combining marks and the like of the scripts it knows: part of a word.
_MARKS = _ranges(
    "2C2-379 384-385 3F6 483-487 55A-55F 591-5BD 5BF 5C1-5C2 5C4-5C5 5C7 615-61A 64B-65E 670 6D6-6FE 70F-7F3 900-903"
    " 93C-94E 951-955 962-963 981-9E3 A01-A4F A81-ACF B82-BCD C01-C03 C3E-C56 D3E-D48 E31-E3A E47-E4E EB1-ECD"
)
# Signs that are a token of their own. All others (emoji beyond the first plane, control characters, most scripts'
# punctuation) are dropped, and part words like a space.
_SYMBOLS = _ranges(
    "A1-37E 387 589 5BE-5C6 5F3-603 606-60C 614-61B 61E-61F 66A-7F8 964-965 E3F-E4F 1FBD 2016-2023 2030-203B 203E-2042"
    " 207A-208E 20A4 2100-214F 2155-215E 2190-2BFF 3001-3002 3012 30FB FF01-FFE1 FFE5-FFE6"
)


class _Shapes(dict[int, str]):
    """A table for `str.translate` that works out each character's kind when it first comes."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code < 128 or character in _NAMED:
            kind = character
        else:
            kind = _kind(code, unicodedata.category(character))
        self[code] = kind
        return kind


def _kind(code: int, category: str) -> str:
    if code > 0xFFFF:
        return OTHER
    if category == "Cn":
        return OTHER
    if category[0] == "L":
        return OTHER if code in _NEW_LETTERS else LETTER
    if code in _LETTERS_THOUGH_MARKS:
        return LETTER
    if category == "Nd":
        return OTHER if code in _NEW_DIGITS else DIGIT
    if code in _MARKS:
        return MARK
    return SYMBOL if code in _SYMBOLS else OTHER


_SHAPES = _Shapes()

# --- Pieces of rules --------------------------------------------------------------------------------------------------
_SPACE = "[ \t\xa0\u2000-\u200a\u3000]"
_ANY_SPACE = "[ \t\n\xa0\u2000-\u200a\u3000]"
_ALPHA = f"[A-Za-z{LETTER}]"
_NUMERAL = f"[0-9{DIGIT}]"
_ALNUM = f"[A-Za-z0-9{LETTER}{DIGIT}]"
_ACCENTED = "&[aeiouAEIOU](?i:acute|grave|uml);"
_IN_WORD = f"(?:[A-Za-z{LETTER}{MARK}\xad]|{_ACCENTED})"
_IN_WORD_OR_DIGIT = f"(?:[A-Za-z0-9{LETTER}{MARK}{DIGIT}\xad]|{_ACCENTED})"
# A missing space after a stop does not part words: "the plate.a spoon" has the word "plate.a".
_WORD = f"{_IN_WORD}{_IN_WORD_OR_DIGIT}*(?:[.!?]{_IN_WORD}{_IN_WORD_OR_DIGIT}*)*"
_APOSTROPHE = "(?:['’\x92]|&(?i:apos);)"
_APOSTROPHE_OR_LIKE = "(?:['’\x92`‘\x91‛]|&(?i:apos);)"
_NOT = f"[nN]{_APOSTROPHE_OR_LIKE}[tT]"
_CLITIC = f"{_APOSTROPHE}(?:[msdMSD]|(?i:re|ve|ll))"
_HYPHEN = "[-_֊‐‑]"
_NUMBER = f"(?:{_NUMERAL}*(?:[.:,\xad٫٬]{_NUMERAL}+)+|{_NUMERAL}+)"
_URL_END = '[^ \t\n\f\r"<>|.!?(){},-]'
_PATH = f'(?:/[^ \t\n\f\r"<>|()]+{_URL_END})?'
_IN_ADDRESS = '[^ \t\n\f\r"<>|(){}.\xa0]'
_NAME = "[A-Za-z][A-Za-z0-9_:.-]*"
_QUOTED = "(?:'[^'\n]*'|\"[^\"\n]*\")"
_TAG = f"<(?:[!?][A-Za-z-][^>\r\n]*|/?{_NAME} *|{_NAME}(?: +{_NAME}(?: *= *{_QUOTED})?)* */? *)>"
_THING = (
    f"(?:[dDoOlL]{_APOSTROPHE_OR_LIKE}{_ALNUM})?{_ALNUM}+"
    f"(?:{_HYPHEN}(?:[dDoOlL]{_APOSTROPHE_OR_LIKE}{_ALNUM})?{_ALNUM}+)*"
)
_COMPANY = "[A-Z]+(?:(?:[+&]|&(?i:amp);)[A-Z]+)+"
_HYPHENATED = f"[A-Za-z0-9][A-Za-z0-9.,\xad]*(?:-(?:[A-Za-z](?:\\.[A-Za-z])+\\.|[A-Za-z0-9\xad]+))+"

# Their stop belongs to them wherever they stand ...
_TITLES = (
    "mr|mrs|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|messrs|govs?|adm|rev|maj|sgt|cpl|pvt|capt|ste?|ave|pres|lieut"
    "|hon|brig|co?mdr|pfc|spc|supts?|det|mt|ft|adj|adv|asst|assoc|ens|insp|mlle|mme|msgr|sfc|alex|wm|jos|cie|treas"
    "|invt|elec|natl|dept|cf|vs|ph"
)
# ... or with two more characters after it; "etc.x" is therefore parted, "etc.xy" a word.
_ABBREVIATIONS = (
    "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|inc|cos?|corp|plc|ltd|bldg|blvd|bros|bhd"
    "|assn|univ|intl|sys|jr|sr|esq|etc|est|ext|tel|sq|seq|rd|rt|ct|md|va|vt|ga|ky|mo|ala?|ariz|calif|colo|conn|fla|ind"
    "|kans?|mich|minn|mont|neb|nev|okla|penn|tenn|wisc?|wyo|dak|(?:ed|ph)\\.d"
)
_CAPITALIZED_ABBREVIATIONS = (
    "A(?i:z|rk)|L(?i:a)|P(?i:a)|D(?i:el)|I(?i:ll)|O(?i:re)|T(?i:ex)|M(?i:ass|iss)|W(?i:ash)|[Pp]+t[ye]s?"
)
_BEFORE_NUMBERS = "ca|no|op|pp|art|fig|nos|figs|prop"
# After a single letter with a stop, these words start a sentence, so that the stop ends the one before.
_STARTERS = (
    "A|An|As|At|He|If|In|It|So|We|But|Her|Now|One|Our|She|The|Yet|You|Here|Last|Many|More|Once|Some|Such|That|Then|They"
    "|This|What|When|About|After|Other|Since|Their|There|These|While|Earlier|Additionally|According|However|Mr\\.|Ms\\."
)
_STARTER = "|".join(f"{word[0]}(?i:{word[1:]})" if word[1:] else word for word in _STARTERS.split("|"))
_EXTENSIONS = (
    "bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|txt"
    "|wav|x|xml|zip"
)

# --- Rules ------------------------------------------------------------------------------------------------------------
_Writer = Callable[[str], list[str]]
_RULES: list[tuple[re.Pattern[str], _Writer]] = []


def _rule(token: str, *, then: str = "", write: _Writer = lambda token: [token]) -> None:
    _RULES.append((re.compile(f"({token}){then}"), write))


def _as(word: str) -> _Writer:
    return lambda token: [word]


def _unbroken(token: str) -> list[str]:
    return [token.replace(" ", "\xa0")]


def _brackets_spelled(token: str) -> list[str]:
    return [token.replace(" ", "\xa0").replace("(", "-LRB-").replace(")", "-RRB-")]


_PLAIN_QUOTES = str.maketrans(
    {'‘': '`', '\x91': '`', '‛': '`', '‹': '`', '’': "'", '\x92': "'", '›': "'",
     '“': '``', '\x93': '``', '«': '``', '”': "''", '\x94': "''", '»': "''"}
)


def _plain_apostrophe(token: str) -> list[str]:
    return [re.sub(_APOSTROPHE, "'", token).translate(_PLAIN_QUOTES)]


def _no_soft_hyphen(token: str) -> list[str]:
    return [token.replace("\xad", "") or "-"]


def _plain_quotes(token: str) -> list[str]:
    return [token.translate(_PLAIN_QUOTES)]


_rule(f"{_SPACE}+", write=lambda token: [])
_rule("(?i:can(?=not)|gon(?=na)|got(?=ta)|lem(?=me)|gim(?=me)|wan(?=na))", then="(?i:not|[nt]a|me)")
_rule("'[tT]", then="(?i:is|was)")
_rule(_TAG, write=_unbroken)
_rule("[–—―\x96\x97]|&(?:MD|mdash|ndash);", write=_as("--"))
_rule("&(?i:amp);", write=_as("&"))
_rule("&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);")
# A word without its clitic; the "n" of "n't" needs another ASCII letter before it.
_rule("[A-Za-z\xad]*[A-MO-Za-mo-z]", then=_NOT, write=_no_soft_hyphen)
_rule(_WORD, then=_CLITIC, write=_no_soft_hyphen)
_rule(_WORD, write=_no_soft_hyphen)
# Words with an apostrophe of their own.
_rule(
    f"{_APOSTROPHE}[nN]{_APOSTROPHE}?|[lLdDjJ]{_APOSTROPHE}|(?i:dunkin|somethin|ol){_APOSTROPHE}"
    f"|{_APOSTROPHE}(?i:em|till?|cause|[2-9]0s)|[oO]{_APOSTROPHE_OR_LIKE}[oO]"
    f"|{_ALPHA}+[aeiouyAEIOUY]{_APOSTROPHE_OR_LIKE}[aeiouA-Z]{_ALPHA}*"
    "|(?i:cont'd\\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)"
)
_rule(f"[A-HJ-XZn]{_APOSTROPHE_OR_LIKE}{_ALPHA}{{2,}}")
_rule(f"[yY]{_APOSTROPHE}", then=_ALPHA)
_rule(f"{_NOT}|{_CLITIC}", then="[^A-Za-z]", write=_plain_apostrophe)
_rule(f'(?i:https?)://[^ \t\n\f\r"<>|(){{}}]+{_URL_END}')
_rule(f"(?i:www)\\.(?:[^ \t\n\f\r\"<>|.!?(){{}},]+\\.)+[a-zA-Z]{{2,4}}{_PATH}")
# Of ASCII, only small letters and # % & * + ~ may stand before ".com"; names with others come through other rules.
_rule(f"(?:[^ \t\n\f\r\"`'<>|.!?(){{}},-_$]+\\.)+(?i:com|net|org|edu){_PATH}")
_rule(
    f"(?:&(?i:lt);|<)?[a-zA-Z0-9][^ \t\n\f\r\"<>|()\xa0{{}}]*@(?:{_IN_ADDRESS}+\\.)*{_IN_ADDRESS}+(?:&(?i:gt);|>)?"
)
_rule("@[A-Za-z_][A-Za-z_0-9]*")
_rule(f"#{_IN_WORD}+")
_rule(f"{_NUMERAL}{{1,2}}[-/]{_NUMERAL}{{1,2}}[-/]{_NUMERAL}{{2,4}}")
_rule(f"[-+]?{_NUMBER}", write=_no_soft_hyphen)
_rule("[⁺⁻₊₋]?(?:[⁰¹²³⁴-⁹]+|[₀-₉]+)")
_rule(f"(?:{_NUMERAL}{{1,4}}[- \xa0])?{_NUMERAL}{{1,4}}(?:\\\\?/|⁄){_NUMERAL}{{1,4}}", write=_unbroken)
for _sign, _digits in zip("¼½¾⅓⅔", ("1/4", "1/2", "3/4", "1/3", "2/3"), strict=True):
    _rule(_sign, write=_as(_digits))
_rule(
    f"-(?:RRB|LRB|RCB|LCB|RSB|LSB)-|(?i:c\\.d\\.s|pro-|anti-)|[sS](?:&|&(?i:amp);)(?i:p-500|ls)"
    f"|(?i:cap){_APOSTROPHE}[nN]|[cC]{_APOSTROPHE}(?i:est)"
)
_rule(f"{_APOSTROPHE}[0-9][0-9]", then=_ANY_SPACE)
_rule(_THING)
_rule(_COMPANY, write=lambda token: [re.sub("(?i)&amp;", "&", token)])
_rule("[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}")
_rule(f"(?:(?i:{_ABBREVIATIONS})|{_CAPITALIZED_ABBREVIATIONS})\\.", then="(?:[\\s\\S]{2})?")
_rule(_HYPHENATED, write=_no_soft_hyphen)
_rule("[A-Z]*\\$|#")
_rule("[\x80¤₠€]", write=_as("$"))
_rule("¢", write=_as("cents"))
_rule("£", write=_as("#"))
_rule("[<>]?[:;=][-o*']?[()DPdpO\\\\{@|[\\]]", then="[^A-Za-z0-9]", write=_brackets_spelled)
_rule(
    "[-^x=~<>']_[-^x=~<>']|\\([-^x=~<>'][_.]?[-^x=~<>']\\)|\\([\\^x=~<>']-[\\^x=~<>'`]\\)", write=_brackets_spelled
)
_rule("[cCfF]#|[cC]\\+\\+")
_rule("<<|>>")
_rule(f"(?:(?i:{_TITLES})|[Mm](?:fg|tg))\\.")
_rule("[A-Za-z]", then=f"\\.{_ANY_SPACE}+(?:{_STARTER}|{_TAG}){_ANY_SPACE}")
_rule("[A-Za-z](?:\\.[A-Za-z])*\\.")
_rule("(?i:(?:canada|sino|korean|eu|japan|non)-u\\.s|u\\.s\\.-u\\.(?:k|s\\.s\\.r))")
_rule(f"(?i:{_BEFORE_NUMBERS})\\.", then=f"{_ANY_SPACE}?{_NUMERAL}")
_rule(f"{_IN_WORD_OR_DIGIT}+(?:\\.{_IN_WORD_OR_DIGIT}+)*\\.(?i:{_EXTENSIONS})", then=f"(?:{_ANY_SPACE}|[.?!,])")
_rule(
    "(?:\\([0-9]{2,3}\\)[ \xa0]?|(?:\\+\\+?)?(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0])[0-9]{3,4}[- \xa0]?[0-9]{3,5}"
    "|(?:(?:\\+\\+?)?[0-9]{2,4}\\.)?[0-9]{2,4}\\.[0-9]{3,4}\\.[0-9]{3,5}",
    write=_brackets_spelled,
)
_rule(f"(?:{_HYPHENATED}|{_WORD}|{_THING}|{_COMPANY})\\.", then="[,;:、]", write=_no_soft_hyphen)
for _bracket, _name in zip("()[]{}", ("-LRB-", "-RRB-", "-LSB-", "-RSB-", "-LCB-", "-RCB-"), strict=True):
    _rule(re.escape(_bracket), write=_as(_name))
_rule("-{2,}", write=lambda token: ["--"] if len(token) < 5 else [token])
_rule("\\.{3,5}|(?:\\.[ \xa0]){2,4}\\.|…", write=_as("..."))
_rule("@+|#+|_+|(?:\\\\\\*){1,3}|\\*+")
_rule("[?!]+|[.,;:=、]")
# Two curly quotes in a row become one token of ASCII quotes, which is no longer punctuation to pycocoevalcap.
_rule("[“”«»‹›‘’‚„‟‛`\x91-\x94]{1,2}", write=_plain_quotes)
_rule("'", then="[A-Za-z][^ \t\n\r\xa0]")
# After the rule before, which spares words in straight quotes: with a curly one, "’dog" loses its "d".
_rule(f"{_NOT}|{_CLITIC}", write=_plain_apostrophe)
_rule(f"''|{_APOSTROPHE}", write=_as("'"))
_rule('"|&(?i:quot);', write=_as("''"))
_rule("&(?i:lt);", write=_as("<"))
_rule("&(?i:gt);", write=_as(">"))
_rule("&(?i:nbsp);", write=lambda token: [])
_rule(f"[%~&|^+\\-/\\\\<>{SYMBOL}⁄]")

# --- The lexer --------------------------------------------------------------------------------------------------------
# Most of a caption is plain words, of which no rule can make anything else: ASCII letters before a space or the line's
# end, a comma between at most; and a word of two letters or more with the stop that ends the line.
_PLAIN_RUN = re.compile(f"(?:[A-Za-z]*,?(?: +(?!{_SPACE})|(?=\n)))*(?:([A-Za-z]{{2,}}|)\.(?=\n))?")
_IN_TWO = frozenset(["cannot", "gonna", "gotta", "lemme", "gimme", "wanna"])
_WITH_STOP = re.compile(f"(?i:{_TITLES}|mfg|mtg|{_BEFORE_NUMBERS}|{_ABBREVIATIONS}|{_CAPITALIZED_ABBREVIATIONS})")


def _words(text: str, end: int) -> list[str]:
    """Words of `text[:end]`; the rest is only looked at."""
    shape = text if text.isascii() else text.translate(_SHAPES)
    words: list[str] = []
    place = 0
    while place < end:
        run = _PLAIN_RUN.match(shape, place)
        if run and run.end() > place and not (run[1] and _WITH_STOP.fullmatch(run[1])):
            plain = run.group().lower().replace(",", " ").replace(".", " ").split()
            if not _IN_TWO.isdisjoint(plain):
                plain = [part for word in plain for part in ((word[:3], word[3:]) if word in _IN_TWO else (word,))]
            words += plain
            place = run.end()
            continue
        place, tokens = _next(text, shape, place)
        if tokens and tokens[-1][-1:].isspace() and not text[place:end].strip():
            tokens[-1] = tokens[-1].rstrip()  # an address with a no-break space at the line's end, which is stripped
        words += [token for token in map(str.lower, tokens) if token not in PUNCTUATION]
    return words


def _next(text: str, shape: str, place: int) -> tuple[int, list[str]]:
    """Where the token at `place` ends, and how it is written; none if it is space, or a character to drop."""
    furthest, end, write = place, place + 1, None
    for pattern, writer in _RULES:
        found = pattern.match(shape, place)
        if found and found.end() > furthest:
            furthest, end, write = found.end(), found.end(1), writer
    return end, write(text[place:end]) if write else []
