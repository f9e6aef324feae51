"""What the pages of several tasks share: their style, and photos that the page itself holds."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

from wordgaze.data.packed import PackedPhoto
from wordgaze.data.photos import open_photo
from wordgaze.errors import PhotoError

LONGEST = 320
"""Pixels of a photo's longer side."""

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>wordgaze: @TITLE@</title>
<style>
@STYLE@"""
"""How a page begins: no script, nothing from elsewhere. Its styles may go on."""

STYLE = """:root { --paper: #fafafa; --card: #fff; --ink: #18181b; --quiet: #5f5f68; --line: #e4e4e7; --mark: #a33c00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #131316; --card: #1c1c20; --ink: #f4f4f5; --quiet: #a6a6b0; --line: #34343a; --mark: #f9a63f; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .75rem; }
h3 { font-size: .8rem; font-weight: 500; color: var(--quiet); margin: 0 0 .5rem; }
table { display: block; max-width: 100%; overflow-x: auto; white-space: nowrap; border-collapse: collapse;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .15rem 1rem .15rem 0; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th, .scores, li { color: var(--quiet); font-weight: 400; font-size: .85rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: .9rem; }
img { display: block; max-width: 100%; height: auto; border-radius: .4rem; margin: 0 auto; }
.caption { font-weight: 600; margin: .6rem 0 .2rem; }
.scores, .absent { margin: .2rem 0; }
.absent { color: var(--mark); font-size: .85rem; }
ul { margin: .4rem 0 0; padding-left: 1.1rem; }
"""


def embedded_photo(source: Path | PackedPhoto, description: str) -> str:
    """Return a photo, made smaller, as an ``img`` that needs no file; "" where it can't be read."""
    try:
        # Whoever asks for a page has had the warnings.
        picture = open_photo(source, on_warning=lambda _: None)
    except PhotoError:
        return ""
    picture.thumbnail((LONGEST, LONGEST))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80, optimize=True)
    data = base64.b64encode(content.getvalue()).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{picture.width}" height="{picture.height}" '
        f'alt="{html.escape(description)}">\n'
    )
