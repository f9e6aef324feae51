"""Captions and their maps as one HTML file, to keep and to send: no server, no network."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wordgaze.data.transform import Geometry
from wordgaze.explanation.overlay import (
    COLORS,
    OPACITY,
    full_scale,
    peak,
    percent,
    place_in_words,
    refine,
    resize,
)

_LONGEST = 1600  # pixels
_LARGEST = (
    1_050_000  # bytes of a JPEG; a third more as text, so that a photo with its maps stays under 1.5 MB
)


@dataclass(frozen=True, eq=False)
class ReportWord:
    """A word, its probability, its entropy in bits and its map (H_p, W_p)."""

    text: str
    probability: float
    entropy: float
    map: np.ndarray


@dataclass(frozen=True, eq=False)
class ReportItem:
    """A photo (RGB) with its caption; ``geometry``: where the maps' input lies on it."""

    photo: Image.Image
    name: str
    caption: str
    words: tuple[ReportWord, ...]
    geometry: Geometry


def html_report(items: Sequence[ReportItem]) -> str:
    """A page on which pointing at a word, tapping it or an arrow key shows over the photo where the model looked."""
    parts = {
        "TITLE": html.escape(", ".join(item.name for item in items)),
        "ITEMS": "".join(map(_article, items)),
        "COLORS": json.dumps(COLORS.astype(int).tolist(), separators=(",", ":")),
        "OPACITY": str(OPACITY),
        "LEGEND": _legend(),
    }
    # In one pass, so that a photo called @ITEMS@ is only a name.
    return re.sub("@([A-Z]+)@", lambda mark: parts[mark[1]], _PAGE)


def _article(item: ReportItem) -> str:
    photo, geometry = item.photo, item.geometry
    if max(photo.size) > _LONGEST:
        photo, geometry = resize(photo, geometry, _LONGEST)
    data = {
        "box": [float(edge) for edge in geometry.box],
        "words": [_numbers(word, geometry) for word in item.words],
    }
    words = " ".join(_button(word, geometry) for word in item.words)
    return _ARTICLE.format(
        name=html.escape(item.name),
        caption=html.escape(item.caption),
        photo=base64.b64encode(_jpeg(photo)).decode(),
        width=photo.width,
        height=photo.height,
        words=words or html.escape(item.caption),
        data=json.dumps(data, separators=(",", ":")),
    )


def _numbers(word: ReportWord, geometry: Geometry) -> dict[str, object]:
    """The map as bytes, 255 where it is painted strongest; the page draws it as ``overlay`` does."""
    full = full_scale(geometry.place(refine(word.map)))
    strengths = np.clip(word.map / full, 0, 1) if full > 0 else np.zeros_like(word.map)
    values = np.rint(strengths * 255).astype(np.uint8)
    return {"grid": word.map.shape, "map": base64.b64encode(values.tobytes()).decode()}


def _button(word: ReportWord, geometry: Geometry) -> str:
    cells = word.map.size
    facts = (
        f"“{word.text}”: probability {percent(word.probability)}, looked mostly at the {_where(word.map, geometry)}, "
        f"spread {word.entropy:.1f} of {np.log2(cells):.1f} bits"
    )
    return (
        f'<button type="button" aria-pressed="false" data-facts="{html.escape(facts)}" '
        f'style="--p:{word.probability:.3f}">{html.escape(word.text)}</button>'
    )


def _where(patch_map: np.ndarray, geometry: Geometry) -> str:
    return place_in_words(peak(patch_map, geometry), geometry.photo_size)


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


def _legend() -> str:
    colors = (
        f"rgb({r:.0f} {g:.0f} {b:.0f} / {OPACITY * i / 8:.2f})" for i, (r, g, b) in enumerate(COLORS[::31])
    )
    return f"linear-gradient(to right, {', '.join(colors)})"


_ARTICLE = """
<article>
<h2>{name}</h2>
<figure style="--shape:{width}/{height};--wide:{width}px">
<img src="data:image/jpeg;base64,{photo}" width="{width}" height="{height}" alt="{caption}">
<canvas aria-hidden="true"></canvas>
</figure>
<p class="words" role="group" aria-label="Caption, word by word">{words}</p>
<p class="facts" aria-live="polite"></p>
<script type="application/json">{data}</script>
</article>"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>wordgaze: @TITLE@</title>
<style>
:root { --paper: #fafafa; --card: #fff; --ink: #18181b; --quiet: #5f5f68; --line: #e4e4e7; --mark: #b4530a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #131316; --card: #1c1c20; --ink: #f4f4f5; --quiet: #a6a6b0; --line: #34343a; --mark: #f9a63f; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0; }
.hint, .facts { color: var(--quiet); font-size: .9rem; margin: .25rem 0 0; }
.legend { display: flex; align-items: center; gap: .6rem; color: var(--quiet); font-size: .8rem; margin: .5rem 0 0; }
.legend i { flex: none; width: 9rem; height: .6rem; border-radius: .3rem; background: @LEGEND@, #606060; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem;
  margin: 1.25rem 0 0; }
h2 { font-size: .85rem; font-weight: 500; color: var(--quiet); margin: 0 0 .6rem; overflow-wrap: anywhere; }
figure { position: relative; margin: 0 auto; overflow: hidden; border-radius: .4rem; aspect-ratio: var(--shape);
  width: min(100%, max(var(--wide), 30rem), 70vh * var(--shape)); }
img, canvas { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
canvas { visibility: hidden; }
.looking img { filter: saturate(.3) brightness(.7); }
.looking canvas { visibility: visible; }
.words { font-size: 1.35rem; line-height: 1.9; margin: .9rem 0 0; text-align: center; }
button { font: inherit; color: inherit; background: none; border: 0; border-radius: .35rem; padding: .05rem .3rem;
  margin: 0; cursor: pointer; position: relative; touch-action: manipulation; overflow-wrap: anywhere; }
button::after { content: ""; position: absolute; left: .3rem; bottom: .05rem; height: 2px; background: var(--mark);
  width: calc((100% - .6rem) * var(--p)); }
button:focus-visible { outline: 2px solid var(--mark); }
button.shown, button[aria-pressed=true] { background: color-mix(in srgb, var(--mark) 22%, transparent); }
.facts { text-align: center; min-height: 1.4em; }
</style>
</head>
<body>
<h1>What each word looked at</h1>
<p class="hint">Point at a word or tap it; with the keyboard, Tab to a caption and go on with the arrow keys.
Escape shows the plain photo. The line under a word is its probability.</p>
<p class="legend"><span>looked less</span><i></i><span>more</span></p>
<noscript><p class="hint">The maps need JavaScript; this page loads nothing from elsewhere.</p></noscript>
<main>@ITEMS@
</main>
<script>
"use strict";
const COLORS = @COLORS@, OPACITY = @OPACITY@, LONGEST = 640;

// Cubic convolution (Keys 1981) between the centers of the patches: for each pixel, which cells count how much.
function weights(pixels, size, start, stop, cells) {
  const near = t => (1.5 * t - 2.5) * t * t + 1, far = t => ((-.5 * t + 2.5) * t - 4) * t + 2;
  const cubic = t => t < 1 ? near(t) : t < 2 ? far(t) : 0;
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = ((pixel + .5) * size / pixels - start) * cells / (stop - start);
    if (at < 0 || at >= cells) return [];
    const taps = [];
    let sum = 0;
    for (let cell = Math.max(0, Math.floor(at - 2)); cell < Math.min(cells, at + 2); cell++) {
      const weight = cubic(Math.abs(at - .5 - cell));
      sum += weight;
      if (weight) taps.push([cell, weight]);
    }
    return taps.map(([cell, weight]) => [cell, weight / sum]);
  });
}

function paint(canvas, width, height, box, word) {
  const [rows, columns] = word.grid, bytes = Uint8Array.from(atob(word.map), c => c.charCodeAt(0));
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const [w, h] = [width, height].map(side => Math.max(1, Math.round(side * scale)));
  [canvas.width, canvas.height] = [w, h];
  const across = weights(w, width, box[0], box[2], columns), down = weights(h, height, box[1], box[3], rows);
  const wide = new Float32Array(rows * w);
  for (let row = 0; row < rows; row++)
    for (let x = 0; x < w; x++)
      for (const [cell, weight] of across[x]) wide[row * w + x] += weight * bytes[row * columns + cell];
  const context = canvas.getContext("2d"), image = context.createImageData(w, h);
  for (let y = 0, at = 0; y < h; y++)
    for (let x = 0; x < w; x++, at += 4) {
      let value = 0;
      for (const [cell, weight] of down[y]) value += weight * wide[cell * w + x];
      const strength = Math.round(Math.min(255, Math.max(0, value))), color = COLORS[strength];
      image.data[at] = color[0]; image.data[at + 1] = color[1]; image.data[at + 2] = color[2];
      image.data[at + 3] = strength * OPACITY;
    }
  context.putImageData(image, 0, 0);
}

for (const article of document.querySelectorAll("article")) {
  const data = JSON.parse(article.querySelector("script").textContent);
  const figure = article.querySelector("figure"), canvas = figure.querySelector("canvas");
  const [width, height] = ["width", "height"].map(side => +figure.querySelector("img").getAttribute(side));
  const buttons = [...article.querySelectorAll("button")], facts = article.querySelector(".facts");
  let kept = -1, shown = -1;  // kept: the word that was tapped, or reached by keyboard
  const show = index => {
    if (index === shown) return;
    shown = index;
    buttons.forEach((button, i) => button.classList.toggle("shown", i === index));
    figure.classList.toggle("looking", index >= 0);
    facts.textContent = index < 0 ? "" : buttons[index].dataset.facts;
    if (index >= 0) paint(canvas, width, height, data.box, data.words[index]);
  };
  const keep = index => {
    kept = index;
    buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", i === index);
      button.tabIndex = i === Math.max(0, index) ? 0 : -1;  // one stop for Tab per caption
    });
    show(index);
  };
  buttons.forEach((button, index) => {
    button.tabIndex = index ? -1 : 0;
    button.addEventListener("pointerenter", event => event.pointerType === "mouse" && show(index));
    button.addEventListener("pointerleave", event => event.pointerType === "mouse" && show(kept));
    button.addEventListener("click", () => keep(kept === index ? -1 : index));
    button.addEventListener("focus", () => button.matches(":focus-visible") && keep(index));
    button.addEventListener("keydown", event => {
      const last = buttons.length - 1;
      const [before, after] = [Math.max(0, index - 1), Math.min(last, index + 1)];
      const next = { ArrowRight: after, ArrowDown: after, ArrowLeft: before, ArrowUp: before, Home: 0, End: last };
      if (event.key === "Escape") keep(-1);
      if (!(event.key in next)) return;
      event.preventDefault();
      keep(next[event.key]);
      buttons[next[event.key]].focus();
    });
  });
}
</script>
</body>
</html>
"""
