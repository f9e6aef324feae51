"""An evaluation as one HTML file, to keep or send: the scores, and the worst and best photos."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from wordgaze.tasks.evaluate import Evaluation, ScoredPhoto
from wordgaze.tasks.page_parts import HEAD, STYLE, embedded_photo

SHOWN = 24
"""Photos at either end."""


def evaluation_page(evaluation: Evaluation, title: str) -> str:
    """Return a page without scripts and external parts; it embeds the photos whose files can be read."""
    worst = evaluation.photos[:SHOWN]
    best = evaluation.photos[len(worst) :][::-1][:SHOWN]
    parts = {
        "STYLE": STYLE,
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
    return embedded_photo(photo.packed or photo.file, photo.caption)


_PAGE = (
    HEAD
    + """</style>
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
)
