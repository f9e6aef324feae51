"""Captions and their maps as one HTML file, to keep and to send: no server, no network.

``report.css`` and ``report.js`` beside this file are its style and its script; they go into the file as they are.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from PIL import Image

from wordgaze.data.transform import Geometry
from wordgaze.explanation.overlay import (
    COLOR_MAPS,
    OPACITY,
    UNGROUNDED,
    full_scale,
    peak,
    percent,
    place_in_words,
    refine,
    resize,
)

LONGEST = 1600
"""Pixels of a photo's long side in a report; more is made smaller."""

_LARGEST = (
    1_050_000  # bytes of a JPEG; a third more as text, so that a photo with its maps stays under 1.5 MB
)
_HINT = "Point at a word, tap it, or use the arrow keys."


@dataclass(frozen=True, eq=False)
class ReportWord:
    """A word, its probability, its entropy in bits and its map (H_p, W_p).

    ``grounded``: False for words that the model has no skill to place (of, on, with); they are painted in grey.
    ``attention``: what it paid of self-attention to the caption's start and to each of its words (1 + words), from 0
    to 1, if that is to be shown.
    """

    text: str
    probability: float
    entropy: float
    map: np.ndarray
    grounded: bool = True
    attention: Sequence[float] = ()


@dataclass(frozen=True, eq=False)
class ReportCaption:
    """A caption of a photo, with its words; ``log_probability``: natural logarithm, of the whole caption with its end.

    ``note`` says in a few words where the caption comes from, if that must be said.
    """

    text: str
    words: tuple[ReportWord, ...]
    log_probability: float | None = None
    note: str = ""

    @property
    def confidence(self) -> float | None:
        """From 0 to 1: the geometric mean of the probabilities of the words and of the end."""
        if self.log_probability is None:
            return None
        return math.exp(self.log_probability / (len(self.words) + 1))


@dataclass(frozen=True, eq=False)
class ReportItem:
    """A photo (RGB) with its caption; ``geometry``: where the maps' input lies on it.

    ``log_probability`` and ``note`` as of :class:`ReportCaption`; ``alternatives``: other captions to choose from. A
    photo with a side of more than ``LONGEST`` pixels is made smaller, since a report may hold many.
    """

    photo: Image.Image
    name: str
    caption: str
    words: tuple[ReportWord, ...]
    geometry: Geometry
    log_probability: float | None = None
    note: str = ""
    alternatives: tuple[ReportCaption, ...] = ()

    def __post_init__(self) -> None:
        if max(self.photo.size) > LONGEST:
            photo, geometry = resize(self.photo, self.geometry, LONGEST)
            object.__setattr__(self, "photo", photo)
            object.__setattr__(self, "geometry", geometry)

    @property
    def captions(self) -> tuple[ReportCaption, ...]:
        own = ReportCaption(self.caption, self.words, self.log_probability, self.note)
        return own, *self.alternatives


def html_report(items: Sequence[ReportItem]) -> str:
    """A page on which pointing at a word, tapping it or an arrow key shows over the photo where the model looked.

    Inside a frame, it leaves out its title and asks for the height it needs.
    """
    style, script = _part("report.css"), _part("report.js")
    settings = {
        "colors": {name: _base64(colors.astype(np.uint8).tobytes()) for name, colors in COLOR_MAPS.items()},
        "opacity": OPACITY,
        "ungrounded": UNGROUNDED,
    }
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    parts = {
        "TITLE": html.escape(items[0].name + more if items else "no photos"),
        "STYLE": style,
        "SCRIPT": script,
        "HASHES": f"style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        "CHOICES": "".join(f"<option value={name}>{name.capitalize()}</option>" for name in COLOR_MAPS),
        "ABOVE": ", the bar above it what the chosen word read of it" if _has_attention(items) else "",
        "OPACITY": f"{OPACITY:.0%}".removesuffix("%"),
        "KIND": "gallery" if len(items) > 1 else "single",
        "ITEMS": "".join(_article(item, number, len(items) > 1) for number, item in enumerate(items)),
        "PAGE": json.dumps(settings, separators=(",", ":")),
    }
    # In one pass, so that a photo called @ITEMS@ is only a name.
    return re.sub("@([A-Z]+)@", lambda mark: parts[mark[1]], _PAGE)


def _has_attention(items: Sequence[ReportItem]) -> bool:
    return any(len(word.attention) for item in items for caption in item.captions for word in caption.words)


def html_frame(items: Sequence[ReportItem]) -> str:
    """The same page in a frame, for a notebook."""
    page = html.escape(html_report(items))
    return (
        f'<iframe title="What each word looked at" srcdoc="{page}" '
        'style="display:block;width:100%;height:42rem;border:0"></iframe>'
    )


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's policy lets through: this style, this script and nothing that got in otherwise."""
    return "sha256-" + _base64(hashlib.sha256(text.encode()).digest())


def _base64(values: bytes) -> str:
    return base64.b64encode(values).decode("ascii")


def _article(item: ReportItem, number: int, several: bool) -> str:
    geometry = item.geometry
    data = {
        "box": [float(edge) for edge in geometry.box],
        "captions": [[_numbers(word, geometry) for word in caption.words] for caption in item.captions],
    }
    best = item.captions[0]
    return _ARTICLE.format(
        name=html.escape(item.name),
        enlarge='<button type="button" class="enlarge">Larger</button>' if several else "",
        caption=html.escape(best.text),
        photo=_base64(_jpeg(item.photo)),
        width=item.photo.width,
        height=item.photo.height,
        words="".join(_line(caption, geometry, index) for index, caption in enumerate(item.captions)),
        hint=_HINT,
        captions=_choice(item.captions, number) if len(item.captions) > 1 else "",
        table=_table(best, geometry),
        data=json.dumps(data, separators=(",", ":")),
    )


def _numbers(word: ReportWord, geometry: Geometry) -> dict[str, object]:
    """The map as bytes, 255 where it is painted strongest; the page draws it as ``overlay`` does."""
    full = full_scale(geometry.place(refine(word.map)))
    strengths = np.clip(word.map / full, 0, 1) if full > 0 else np.zeros_like(word.map)
    values = np.rint(strengths * 255).astype(np.uint8)
    attention = [round(float(share), 3) for share in word.attention[1:]]  # a caption's start is no word
    return {
        "grid": word.map.shape,
        "map": _base64(values.tobytes()),
        "grounded": word.grounded,
        "attention": attention,
    }


def _line(caption: ReportCaption, geometry: Geometry, index: int) -> str:
    words = " ".join(_button(word, geometry) for word in caption.words)
    hidden = " hidden" if index else ""
    return (
        # Words of Hebrew and Arabic go from right to left.
        f'<p class="words" dir="auto" role="group" aria-label="Caption, word by word"{hidden}>'
        f"{words or html.escape(caption.text)}</p>\n"
    )


def _button(word: ReportWord, geometry: Geometry) -> str:
    facts = f"“{word.text}”: {percent(word.probability)} probable · "
    if not word.grounded:
        facts += "the model can't place such words, so the map says little"
    else:
        facts += (
            f"looked mostly at the {_where(word, geometry)} · "
            f"spread over about {_spread(word)} of {word.map.size} patches"
        )
    kind = "" if word.grounded else ' class="ungrounded"'
    return (
        f'<button type="button" aria-pressed="false" data-facts="{html.escape(facts)}" '
        f'data-share="{word.probability:.3f}"{kind}>{html.escape(word.text)}</button>'
    )


def _spread(word: ReportWord) -> int:
    """As many patches, looked at alike, have the map's entropy: its perplexity."""
    return round(2**word.entropy)


def _where(word: ReportWord, geometry: Geometry) -> str:
    return place_in_words(peak(word.map, geometry), geometry.photo_size)


def _choice(captions: Sequence[ReportCaption], number: int) -> str:
    """The captions to choose from, each with its confidence."""
    rows = []
    for index, caption in enumerate(captions):
        note = f" <i>({html.escape(caption.note)})</i>" if caption.note else ""
        share = caption.confidence
        bar = "" if share is None else f'<span class="bar" data-share="{share:.3f}"></span>'
        rows.append(
            f'<label><input type="radio" name="caption-{number}" autocomplete="off"{"" if index else " checked"}>'
            f'<span dir="auto">{html.escape(caption.text)}{note}</span>{bar}'
            f'<span class="share">{"" if share is None else percent(share)}</span></label>\n'
        )
    legend = "<legend>Captions, with the confidence per word</legend>"
    return f'<fieldset class="captions">{legend}\n{"".join(rows)}</fieldset>'


def _table(caption: ReportCaption, geometry: Geometry) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(word.text)}</th><td>{word.probability:.3f}</td><td>{word.entropy:.2f}</td>"
        f"<td>{_where(word, geometry) if word.grounded else '–'}</td></tr>\n"
        for word in caption.words
    )
    return (
        f"<details><summary>Numbers of “{html.escape(caption.text)}”</summary>\n"
        '<div class="table"><table><thead><tr><th scope=col>word</th><th scope=col>probability</th>'
        "<th scope=col>entropy, bits</th><th scope=col>looked mostly at</th></tr></thead>\n"
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _jpeg(photo: Image.Image) -> bytes:
    """At most ``_LARGEST`` bytes: a photo of noise loses quality first, then size."""
    while True:
        for quality in (88, 75, 60):
            file = io.BytesIO()
            photo.save(file, "JPEG", quality=quality, optimize=True)
            if file.tell() <= _LARGEST:
                return file.getvalue()
        photo = photo.resize(
            (max(1, photo.width * 3 // 4), max(1, photo.height * 3 // 4)), Image.Resampling.LANCZOS
        )


_ARTICLE = """
<article>
<div class="name"><h2>{name}</h2>{enlarge}</div>
<figure>
<img src="data:image/jpeg;base64,{photo}" width="{width}" height="{height}" alt="{caption}">
<canvas aria-hidden="true"></canvas>
</figure>
{words}<p class="facts" aria-live="polite">{hint}</p>
{captions}
{table}
<script type="application/json">{data}</script>
</article>"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; @HASHES@; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark">
<title>wordgaze: @TITLE@</title>
<style>@STYLE@</style>
</head>
<body>
<header>
<div class="title">
<h1>What each word looked at</h1>
<p class="hint">Brighter: looked at more. Darkened: not shown to the model. The bar below a word is its
probability@ABOVE@.</p>
</div>
<div class="controls" role="group" aria-label="How maps are drawn">
<span class="legend"><span>less</span><canvas aria-hidden="true"></canvas><span>more</span></span>
<label>Colors <select name="colors" autocomplete="off">@CHOICES@</select></label>
<label>Opacity <input type="range" name="opacity" min="0" max="100" value="@OPACITY@" autocomplete="off"></label>
<div class="switch" role="radiogroup" aria-label="Maps">
<label><input type="radio" name="cells" value="smooth" checked autocomplete="off">Smooth</label>
<label><input type="radio" name="cells" value="patches" autocomplete="off">Patches</label>
</div>
</div>
</header>
<p class="hint" id="unscripted">The maps need JavaScript; this page loads nothing from elsewhere.</p>
<main class="@KIND@">@ITEMS@
</main>
<script type="application/json" id="page">@PAGE@</script>
<script>@SCRIPT@</script>
</body>
</html>
"""
