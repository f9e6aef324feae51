"""An evaluation as one HTML file, to keep or send: the scores, and the worst and best photos."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence

from wordgaze.data.photos import open_photo
from wordgaze.errors import PhotoError
from wordgaze.tasks.evaluate import Evaluation, ScoredPhoto

SHOWN = 24
"""Photos at either end."""

_LONGEST = 320
"""Pixels of a photo's longer side."""


def evaluation_page(evaluation: Evaluation, title: str) -> str:
    """Return a page without scripts and external parts; it embeds the photos whose files can be read."""
    worst = evaluation.photos[:SHOWN]
    best = evaluation.photos[len(worst) :][::-1][:SHOWN]
    parts = {
        "TITLE": html.escape(title),
        "SCORES": _table(("", "value", "95 % interval"), evaluation.rows()),
        "AGAINST": _against(evaluation),
        "WARNINGS": "".join(f"<p>{html.escape(warning)}.</p>" for warning in evaluation.warnings),
        "WORST": "".join(map(_article, worst)),
        "BEST": f"<h2>The best</h2>\n<main>{''.join(map(_article, best))}</main>" if best else "",
    }
    # In one pass, so that a caption @BEST@ is only a caption.
    return re.sub("@([A-Z]+)@", lambda mark: parts[mark[1]], _PAGE)


def _against(evaluation: Evaluation) -> str:
    if evaluation.against is None:
        return ""
    columns = ("", "value", "against", "difference", "95 % interval", "better")
    heading = f"<h2>Against {html.escape(evaluation.against.file)}</h2>"
    hint = '<p class="scores">“better”: the share of draws of the photos in which this system is better.</p>'
    return heading + _table(columns, evaluation.comparison_rows()) + hint


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{body}</table>"


def _article(photo: ScoredPhoto) -> str:
    name = str(photo.photo_id) if photo.file is None else f"{photo.photo_id} · {photo.file.name}"
    scores = " · ".join(f"{metric} {value:.3f}" for metric, value in photo.scores.items())
    absent = (
        f'<p class="absent">not there: {html.escape(", ".join(photo.hallucinated))}</p>' if photo.hallucinated else ""
    )
    return f"""
<article>
<h3>{html.escape(name)}</h3>
{_picture(photo)}<p class="caption">{html.escape(photo.caption)}</p>
<p class="scores">{html.escape(scores)}</p>
{absent}<ul>{"".join(f"<li>{html.escape(reference)}</li>" for reference in photo.references)}</ul>
</article>"""


def _picture(photo: ScoredPhoto) -> str:
    if photo.file is None:
        return ""
    try:
        # Warnings came when the photo was captioned.
        picture = open_photo(photo.file, on_warning=lambda _: None)
    except PhotoError:
        # Scores need no pictures.
        return ""
    picture.thumbnail((_LONGEST, _LONGEST))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80, optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{picture.width}" height="{picture.height}" '
        f'alt="{html.escape(photo.caption)}">\n'
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>wordgaze: @TITLE@</title>
<style>
:root { --paper: #fafafa; --card: #fff; --ink: #18181b; --quiet: #5f5f68; --line: #e4e4e7; --mark: #a33c00; }
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
</style>
</head>
<body>
<h1>@TITLE@</h1>
@WARNINGS@
@SCORES@
@AGAINST@
<h2>The worst</h2>
<main>@WORST@</main>
@BEST@
</body>
</html>
"""
