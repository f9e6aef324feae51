"""A check of captioned photos as one HTML file, to keep or send: what is wrong, with pictures."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from wordgaze.data.check.findings import KINDS, Finding
from wordgaze.data.packed import PackedPhoto
from wordgaze.files import one_line
from wordgaze.tasks.data_check import DataCheck
from wordgaze.tasks.page_parts import HEAD, STYLE, embedded_photo

SHOWN = 24
"""Findings of a kind that are shown with their photos; more are listed by name, up to ``LISTED``."""

LISTED = 1000

_NO_PICTURE = ("missing-photo", "unreadable-photo", "broken-file", "broken-entry")
_OF_ONE_CAPTION = 8


def check_page(check: DataCheck) -> str:
    """Return a page without scripts and external parts; it embeds the photos whose files can be read."""
    contents = check.contents
    summary = f"{len(contents.photos):,} photos, {check.captions:,} captions"
    if check.against is not None:
        summary += f"; against {len(check.against.photos):,} photos of {_name(str(check.against.path))}"
    summary += f": {check.count(wrong=True):,} wrong, {check.count(wrong=False):,} doubtful"
    sources = _packed(check)
    parts = {
        "STYLE": STYLE,
        "TITLE": html.escape(f"{_name(str(contents.path))}: {check.count(wrong=True):,} wrong"),
        "HEADING": html.escape(_name(str(contents.path))),
        "SUMMARY": html.escape(summary),
        "COUNTS": _counts(check),
        "KINDS": "".join(_section(kind, findings, sources) for kind, findings in check.findings.items()),
    }
    # In one pass, so that a photo called @KINDS@ is only a name.
    return re.sub("@([A-Z]+)@", lambda mark: parts[mark[1]], _PAGE)


def _name(path: str) -> str:
    # Bytes of a name that are no text can't be in a page.
    return one_line(path).encode(errors="backslashreplace").decode()


def _counts(check: DataCheck) -> str:
    if not check.findings:
        return "<p>Nothing is wrong.</p>"
    rows = "".join(
        f'<tr><td><a href="#{kind}">{html.escape(KINDS[kind].many)}</a></td><td>{len(findings):,}</td>'
        f"<td>{'wrong' if KINDS[kind].wrong else 'doubtful'}</td></tr>\n"
        for kind, findings in check.findings.items()
    )
    return f"<table>\n{rows}</table>"


def _section(kind: str, findings: list[Finding], sources: Mapping[str, PackedPhoto]) -> str:
    shown, listed = findings[:SHOWN], findings[SHOWN:LISTED]
    more = len(findings) - len(shown) - len(listed)
    parts = [f'<h2 id="{kind}">{html.escape(KINDS[kind].counted(len(findings)))}</h2>']
    parts.append(f'<p class="scores">{html.escape(KINDS[kind].remedy)}</p>')
    parts.append(f"<main>{''.join(_article(finding, sources) for finding in shown)}</main>")
    if listed:
        rows = "".join(f"<li>{_sentence(finding)}</li>\n" for finding in listed)
        rest = f"<p>and {more:,} more</p>" if more else ""
        parts.append(f"<details><summary>{len(listed):,} more</summary>\n<ul>{rows}</ul>{rest}</details>")
    return "\n".join(parts) + "\n"


def _sentence(finding: Finding) -> str:
    return html.escape(f"{_name(finding.file)}: {_name(finding.message)}")


def _files(finding: Finding) -> list[str]:
    """Return the photos that a finding is shown with."""
    if finding.kind in _NO_PICTURE:
        return []
    files = finding.photos or (finding.file, *([finding.other] if finding.other else []))
    return list(files[:_OF_ONE_CAPTION])


def _packed(check: DataCheck) -> dict[str, PackedPhoto]:
    """Return those of the photos to show that are no files of their own."""
    shown = {file for findings in check.findings.values() for finding in findings[:SHOWN] for file in _files(finding)}
    photos = chain(check.contents.photos, () if check.against is None else check.against.photos)
    return {str(photo.path): photo.packed for photo in photos if photo.packed and str(photo.path) in shown}


def _article(finding: Finding, sources: Mapping[str, PackedPhoto]) -> str:
    pictures = [embedded_photo(sources.get(file, Path(file)), _name(file)) for file in _files(finding)]
    return (
        f'\n<article>\n<h3>{html.escape(_name(finding.file))}</h3>\n<div class="photos">{"".join(pictures)}</div>\n'
        f'<p class="caption">{html.escape(_name(finding.message))}</p>\n</article>'
    )


_PAGE = (
    HEAD
    + """a { color: var(--mark); }
.photos { display: flex; flex-wrap: wrap; gap: .4rem; justify-content: center; }
.photos img { flex: 0 1 auto; min-width: 0; max-width: calc(50% - .2rem); object-fit: contain; margin: 0;
  outline: 1px solid var(--line); }
.photos img:only-child { max-width: 100%; }
.caption { font-weight: 400; font-size: .9rem; }
h2::first-letter { text-transform: uppercase; }
summary { cursor: pointer; }
</style>
</head>
<body>
<h1>@HEADING@</h1>
<p>@SUMMARY@</p>
@COUNTS@
@KINDS@
</body>
</html>
"""
)
