"""Fonts for the words under a picture: matplotlib's own, else an installed one that has their letters.

Installed fonts are searched only where matplotlib's lacks a letter. matplotlib itself is not imported: that would make
folders in the user's home.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, features

from wordgaze.text.scripts import clusters, script

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
_STRIKES = (109, 136, 160)  # the only sizes of the pictures in some fonts of emoji
_NO_LETTER = "\U0010ffff"  # which no font has, so that it shows what a font draws for such
# Fonts that draw a box with a number for every letter, or nothing.
_FOR_NOTHING = ("lastresort", "blank", "unifont", "tofu", "fallback")
_PLAIN = ("serif", "mono", "italic", "oblique", "condensed", "light", "thin", "black", "medium", "display")

# By script, what the names of its fonts hold beside its own name, and the word for its letter shapes in Noto's.
_EAST_ASIAN = (
    "cjk",
    "gothic",
    "hei",
    "song",
    "ming",
    "meiryo",
    "malgun",
    "pingfang",
    "hiragino",
    "droidsansfallback",
)
_HINTS = dict.fromkeys(("Han", "Hiragana", "Katakana", "Hangul", "Bopomofo"), _EAST_ASIAN)
_PACKAGES = {**dict.fromkeys(_HINTS, "fonts-noto-cjk"), "emoji": "fonts-noto-color-emoji"}


class FontWarning(UserWarning):
    """A picture's labels have letters that no font on this machine has."""


class Face(NamedTuple):
    """A font's file, which of its faces, and the only size that a font of emoji pictures has."""

    path: str
    number: int = 0
    strike: int | None = None

    def length(self, text: str, size: int) -> float:
        """Return how wide ``text`` is in pixels at ``size``."""
        font = _open(self, self.strike or size)
        return font.getlength(visual(text)) * (1 if self.strike is None else size / self.strike)

    def draw(
        self, picture: Image.Image, left: int, middle: int, text: str, ink: tuple[int, int, int], size: int
    ) -> None:
        """Write ``text`` on ``picture`` with its left end at ``left``, and half of it above ``middle``."""
        font = _open(self, self.strike or size)
        if self.strike is None:
            ImageDraw.Draw(picture).text((left, middle), visual(text), ink, font, anchor="lm")
            return
        box = font.getbbox(text, anchor="lt")
        emoji = Image.new("RGBA", (int(box[2]) + 1, int(box[3]) + 1))
        ImageDraw.Draw(emoji).text((0, 0), text, ink, font, anchor="lt", embedded_color=True)
        scale = size / self.strike
        emoji = emoji.resize((max(round(emoji.width * scale), 1), max(round(emoji.height * scale), 1)))
        picture.paste(emoji, (left, middle - emoji.height // 2), emoji)


def font(size: int, bold: bool = False) -> Font:
    """Return DejaVu Sans, which comes with matplotlib: the same on every machine."""
    face = _own(bold)
    return ImageFont.load_default(size) if face is None else _open(face, size)


def face_for(text: str, bold: bool = False, context: str = "") -> Face | None:
    """Return a face that has all letters of ``text``, matplotlib's font or an installed one; None if there is none.

    ``context``: the text around it; where that has kana, the letters that China and Japan share are Japan's.
    """
    letters = frozenset(letter for letter in text if _is_drawn(letter))
    own = [face for face in (_own(bold), _own(not bold)) if face is not None]
    for face in own:
        if all(_has(face, letter) for letter in letters):
            return face
    around = {script(letter) for letter in context + text if _is_drawn(letter)}
    shapes = "JP" if around & {"Hiragana", "Katakana"} else "KR" if "Hangul" in around else "SC"
    return _installed(letters, bold, shapes)


def runs(text: str, bold: bool = False, context: str = "") -> list[tuple[Face, str]]:
    """Return ``text`` in parts, each with a face that has its letters; nothing if some letter is in no font."""
    face = face_for(text, bold, context)
    if face is not None:
        return [(face, text)]
    parts: list[tuple[Face, str]] = []
    for cluster in clusters(text):
        face = face_for(cluster, bold, context)
        if face is None:
            return []
        if parts and parts[-1][0] == face:
            parts[-1] = (face, parts[-1][1] + cluster)
        else:
            parts.append((face, cluster))
    return parts


def missing_scripts(text: str) -> list[str]:
    """Return the scripts of letters in ``text`` that no font on this machine has."""
    return sorted({script(letter) for letter in set(text) if _is_drawn(letter) and face_for(letter) is None})


def package_of(name: str) -> str:
    """Return the package of Debian and Ubuntu that has a script's letters."""
    return _PACKAGES.get(name, "fonts-noto-core")


def visual(text: str) -> str:
    """Return ``text`` in the order in which it is drawn.

    With Raqm, Pillow sees to that itself. Without it, Hebrew and Arabic words are turned round, so that they can be
    read; their letters are not joined then.
    """
    if features.check("raqm") or not any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text):
        return text
    return "".join(reversed(clusters(text)))


def _is_drawn(letter: str) -> bool:
    """Return whether a font must have a letter: spaces, joiners and variation selectors show nothing themselves."""
    selector = "\ufe00" <= letter <= "\ufe0f" or "\U000e0000" <= letter <= "\U000e0fff"
    return not selector and unicodedata.category(letter) not in ("Cc", "Cf", "Zs", "Zl", "Zp")


@cache
def _own(bold: bool) -> Face | None:
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Face(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name))


@lru_cache(maxsize=64)
def _open(face: Face, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face.path, size, face.number)


@lru_cache(maxsize=64)
def _plain(face: Face) -> ImageFont.FreeTypeFont:
    """Return the font to look letters up one by one: Raqm would put a circle under a mark that stands alone."""
    return ImageFont.truetype(face.path, face.strike or 16, face.number, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def _has(face: Face, letter: str) -> bool:
    """Return whether a face draws a letter as something, and not as it draws letters that it lacks."""
    drawn = _shape(face, letter)
    return drawn is not None and drawn != _shape(face, _NO_LETTER)


def _shape(face: Face, letter: str) -> tuple[tuple[int, int], bytes] | None:
    """Return what a letter looks like; None where nothing shows."""
    font = _plain(face)
    try:
        if face.strike is not None:
            shown = Image.new("RGBA", (face.strike * 2, face.strike * 2))
            ImageDraw.Draw(shown).text((0, 0), letter, font=font, embedded_color=True)
            return None if shown.getbbox() is None else (shown.size, shown.tobytes())
        mask = font.getmask(letter)
    except (OSError, ValueError):
        return None
    return None if mask.getbbox() is None else (mask.size, bytes(mask))


@lru_cache(maxsize=1024)
def _installed(letters: frozenset[str], bold: bool, shapes: str) -> Face | None:
    """Return the first installed face that has all ``letters``: a plain one, made for their script if there is one."""
    scripts = {script(letter) for letter in letters}
    hints = tuple(hint for name in scripts for hint in (name.lower(), *_HINTS.get(name, ())))

    def rank(path: str) -> tuple[bool, bool, int, bool, str]:
        name = os.path.basename(path).lower()
        ornate = sum(word in name.replace("sansserif", "sans") for word in _PLAIN)
        return (
            not any(hint in name for hint in hints),
            "sans" not in name,
            ornate,
            ("bold" in name) != bold,
            path,
        )

    for path in sorted(_files(), key=rank):
        complete = [face for face in _faces(path) if all(_has(face, letter) for letter in letters)]
        if complete:
            return next((face for face in complete if shapes in _name(face).split()), complete[0])
    return None


def _faces(path: str) -> Iterator[Face]:
    """Yield the faces in a file; none if it is not a font that can be read."""
    for index in range(32):
        for strike in (None, *_STRIKES):
            face = Face(path, index, strike)
            try:
                _plain(face)
            except (OSError, ValueError):
                continue
            yield face
            break
        else:
            return
        if not path.lower().endswith("c"):  # only collections have several
            return


def _name(face: Face) -> str:
    return _plain(face).getname()[0] or ""


@cache
def _files() -> tuple[str, ...]:
    """Return the fonts that are installed on this machine."""
    paths = []
    for root in _folders():
        for folder, _, names in os.walk(root):
            for name in names:
                lower = name.lower()
                if lower.endswith(_SUFFIXES) and not any(word in lower for word in _FOR_NOTHING):
                    paths.append(os.path.join(folder, name))
    return tuple(paths)


def _folders() -> list[Path]:
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", str(home / "AppData/Local"))
        return [Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts"), Path(local, "Microsoft/Windows/Fonts")]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    data = [os.environ.get("XDG_DATA_HOME") or str(home / ".local/share"), *shared.split(":")]
    return [home / ".fonts", *(Path(folder, "fonts") for folder in data if folder)]
