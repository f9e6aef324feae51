"""Every kind of hostile photo, and docs/hostile-photos.md, whose tables are made of them.

python -m tests.hostile.table    (writes the page)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.hostile import contents, files
from tests.hostile.kind import CAPTIONED, LEFT_OUT, REFUSED, Kind

from scripts import ROOT
from wordgaze.files import write_text

PAGE = ROOT / "docs/hostile-photos.md"

SECTIONS: dict[str, Callable[[], Iterator[Kind]]] = {
    "Files that end too early": contents.cut,
    "Files that are no photos": contents.no_photos,
    "Bombs": contents.bombs,
    "Large bombs": contents.large_bombs,
    "Shapes and colors": contents.shapes_and_colors,
    "Several frames": contents.frames,
    "EXIF and other metadata": contents.metadata,
    "TIFF": contents.tiffs,
    "What is no regular file": files.not_files,
    "Permissions": files.permissions,
    "Names": files.names,
    "Files that change": files.changing,
}
KINDS = {title: list(make()) for title, make in SECTIONS.items()}


def page() -> str:
    """Return docs/hostile-photos.md."""
    head, _, _ = PAGE.read_text(encoding="utf-8").partition("\n## ")
    return head + "".join(_section(title, kinds) for title, kinds in KINDS.items())


def _section(title: str, kinds: list[Kind]) -> str:
    rows = "".join(f"| {kind.what} | {_outcome(kind)} |\n" for kind in kinds)
    return f"\n## {title}\n\n| a photo's file | what happens |\n| --- | --- |\n{rows}"


def _outcome(kind: Kind) -> str:
    words = f'"{kind.words}"'.replace("|", r"\|")
    if kind.outcome == CAPTIONED:
        return f"captioned: {kind.how}"
    if kind.outcome == LEFT_OUT:
        return f"left out of folders; named itself, refused: {words}"
    return f"refused: {words}" if kind.outcome == REFUSED else f"captioned: {kind.how}; a warning: {words}"


if __name__ == "__main__":
    write_text(PAGE, page())
