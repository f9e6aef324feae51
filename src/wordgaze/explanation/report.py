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
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wordgaze.data.geometry import Geometry
from wordgaze.explanation.overlay import (
    COLOR_MAPS,
    OPACITY,
    UNGROUNDED,
    full_scale,
    percent,
    position_in_words,
    refine,
)

if TYPE_CHECKING:
    from wordgaze.explanation.explanation import ExplainedWord, Explanation

LONGEST = 1600
"""Pixels of a photo's long side in a report; more is made smaller."""

_LARGEST = 1_050_000  # bytes of a JPEG; a third more as text, so that a photo with its maps stays under 1.5 MB
_HINT = "Point at a word, tap it, or use the arrow keys."
_BARS = " The bar below a word is its probability; the bar above a word shows how much the chosen word attended to it."


def html_report(explanations: Sequence[Explanation]) -> str:
    """Return a page: pointing at a word, tapping it or an arrow key shows over the photo where the model looked.

    It shows the caption of each explanation, and its alternatives. Inside a frame, the page leaves out its title
    and asks for the height it needs.
    """
    items = [explanation.report_item() for explanation in explanations]
    style, script = _part("report.css"), _part("report.js")
    settings = {
        "colors": {name: _base64(colors.astype(np.uint8).tobytes()) for name, colors in COLOR_MAPS.items()},
        "opacity": OPACITY,
        "ungrounded": UNGROUNDED,
    }
    has_words = any(caption.words for item in items for caption in _captions(item))
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    parts = {
        "TITLE": html.escape(items[0].name + more if items else "no photos"),
        "STYLE": style,
        "SCRIPT": script,
        "HASHES": f"style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        "CHOICES": "".join(f"<option value={name}>{name.capitalize()}</option>" for name in COLOR_MAPS),
        "HINT": f"{_HINT} " if has_words else "",
        "BARS": _BARS if has_words else "",
        "OPACITY": f"{OPACITY:.0%}".removesuffix("%"),
        "KIND": "gallery" if len(items) > 1 else "single",
        "ITEMS": "".join(_article(item, number, len(items) > 1) for number, item in enumerate(items)),
        "PAGE": json.dumps(settings, separators=(",", ":")),
    }
    # In one pass, so that a photo called @ITEMS@ is only a name.
    return re.sub("@([A-Z]+)@", lambda mark: parts[mark[1]], _PAGE)


def _captions(item: Explanation) -> tuple[Explanation, ...]:
    return item, *item.alternatives


def html_frame(explanations: Sequence[Explanation]) -> str:
    """Return the same page in a frame, for a notebook."""
    page = html.escape(html_report(explanations))
    return (
        f'<iframe title="What each word looked at" srcdoc="{page}" '
        'style="display:block;width:100%;height:42rem;border:0"></iframe>'
    )


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what the page's policy lets through: this style, this script and nothing that got in otherwise."""
    return "sha256-" + _base64(hashlib.sha256(text.encode()).digest())


def _base64(values: bytes) -> str:
    return base64.b64encode(values).decode("ascii")


def _article(item: Explanation, number: int, several: bool) -> str:
    captions = _captions(item)
    data = {
        "box": [float(edge) for edge in item.geometry.box],
        "captions": [_numbers(caption) for caption in captions],
    }
    return _ARTICLE.format(
        name=html.escape(item.name),
        enlarge='<button type="button" class="enlarge">Larger</button>' if several else "",
        caption=html.escape(item.caption.text),
        photo=_base64(_jpeg(item.photo)),
        width=item.photo.width,
        height=item.photo.height,
        words="".join(_line(caption, index) for index, caption in enumerate(captions)),
        hint=_HINT,
        captions=_choice(captions, number) if len(captions) > 1 else "",
        table=_table(item),
        data=json.dumps(data, separators=(",", ":")),
    )


def _numbers(caption: Explanation) -> list[dict[str, object]]:
    """Return what the page needs to draw each word's map."""
    return [
        {
            "grid": word.map.shape,
            "map": _base64(_strengths(word.map, caption.geometry).tobytes()),
            "grounded": word.grounded,
            # Without the first: a caption's start is no word.
            "attention": [round(float(share), 3) for share in attention[1:]],
        }
        for word, attention in zip(caption.words, caption.words_attention.tolist(), strict=True)
    ]


def _strengths(map_: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return a map as bytes, 255 where it is painted strongest; the page draws it as ``overlay`` does."""
    full = full_scale(geometry.place(refine(map_)))
    strengths = np.clip(map_ / full, 0, 1) if full > 0 else np.zeros_like(map_)
    return np.rint(strengths * 255).astype(np.uint8)


def _line(caption: Explanation, index: int) -> str:
    words = " ".join(_button(word, caption.geometry) for word in caption.words)
    hidden = " hidden" if index else ""
    return (
        # Words of Hebrew and Arabic go from right to left.
        f'<p class="words" dir="auto" role="group" aria-label="Caption, word by word"{hidden}>'
        f"{words or html.escape(caption.caption.text)}</p>\n"
    )


def _button(word: ExplainedWord, geometry: Geometry) -> str:
    facts = f"“{word.text}”: {'given' if word.probability is None else f'{percent(word.probability)} probable'} · "
    if not word.grounded:
        facts += "the model can't place such words, so the map says little"
    else:
        facts += (
            f"looked mostly at the {_where(word, geometry)} · "
            f"spread over about {_spread(word)} of {word.map.size} patches"
        )
    kind = "" if word.grounded else ' class="ungrounded"'
    share = 1.0 if word.probability is None else word.probability
    return (
        f'<button type="button" aria-pressed="false" data-facts="{html.escape(facts)}" '
        f'data-share="{share:.3f}"{kind}>{html.escape(word.text)}</button>'
    )


def _spread(word: ExplainedWord) -> int:
    """Return how many patches, looked at alike, have the map's entropy: its perplexity."""
    return round(2**word.entropy)


def _where(word: ExplainedWord, geometry: Geometry) -> str:
    return position_in_words(word.peak, geometry.photo_size)


def _choice(captions: Sequence[Explanation], number: int) -> str:
    """Return the captions to choose from, each with its probability per word."""
    rows = []
    for index, caption in enumerate(captions):
        note = f" <i>({html.escape(caption.note)})</i>" if caption.note else ""
        # The geometric mean of the probabilities of the words and of the end.
        share = math.exp(caption.caption.features()[0])
        rows.append(
            f'<label><input type="radio" name="caption-{number}" autocomplete="off"{"" if index else " checked"}>'
            f'<span dir="auto">{html.escape(caption.caption.text)}{note}</span>'
            f'<span class="bar" data-share="{share:.3f}"></span>'
            f'<span class="share">{percent(share)}</span></label>\n'
        )
    legend = "<legend>Captions, with the mean probability of a word</legend>"
    return f'<fieldset class="captions">{legend}\n{"".join(rows)}</fieldset>'


def _number(word: ExplainedWord) -> str:
    return "given" if word.probability is None else f"{word.probability:.3f}"


def _table(item: Explanation) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(word.text)}</th><td>{_number(word)}</td><td>{word.entropy:.2f}</td>"
        f"<td>{_where(word, item.geometry) if word.grounded else '–'}</td></tr>\n"
        for word in item.words
    )
    return (
        f"<details><summary>Numbers of “{html.escape(item.caption.text)}”</summary>\n"
        '<div class="table"><table><thead><tr><th scope=col>word</th><th scope=col>probability</th>'
        "<th scope=col>entropy, bits</th><th scope=col>looked mostly at</th></tr></thead>\n"
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _jpeg(photo: Image.Image) -> bytes:
    """Return at most ``_LARGEST`` bytes: a photo of noise loses quality first, then size."""
    while True:
        for quality in (88, 75, 60):
            file = io.BytesIO()
            photo.save(file, "JPEG", quality=quality, optimize=True)
            if file.tell() <= _LARGEST:
                return file.getvalue()
        photo = photo.resize((max(1, photo.width * 3 // 4), max(1, photo.height * 3 // 4)), Image.Resampling.LANCZOS)


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
<p class="hint">@HINT@Brighter: looked at more. Darkened: not shown to the model.@BARS@</p>
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
