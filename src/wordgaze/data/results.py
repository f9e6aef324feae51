"""Captions that a model has written, one a photo, in the files that people keep them in."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wordgaze.data.json_file import broken, keys_of, kind_of_json, unfit
from wordgaze.data.photo_ids import Spelled
from wordgaze.data.table_file import DELIMITERS, table_rows, without_preamble
from wordgaze.data.text_file import kind_of_text, read_text
from wordgaze.errors import DataError

RESULTS = (
    'give a JSON list of {"image_id": ..., "caption": ...}, the same as JSON Lines, a table with these columns, or '
    "what `wordgaze caption` printed"
)
"""What to do about a file of another kind."""


class Result(NamedTuple):
    """A photo, its caption (None for a photo that failed), and the location in the file."""

    photo: Spelled
    caption: str | None
    location: str


@dataclass(frozen=True)
class Results:
    """What a file holds, in its order."""

    path: Path
    entries: tuple[Result, ...]


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read captions from a list of objects (JSON or JSON Lines), an object PHOTO → caption, or a table (CSV, TSV).

    Raises DataError where the file is of another kind, or an entry lacks its photo or its caption.
    """
    path = Path(path)
    text = read_text(path)
    entries = _json_entries(path, text) if text.lstrip()[:1] in ("{", "[") else _table_entries(path, text)
    return Results(path, tuple(entries))


# --- One entry ----------------------------------------------------------------------------------------------------

_IDS = "image_id imageid img_id cocoid photo_id"
_NAMES = """
    file file_name filename image image_name image_file image_path img img_name img_path path filepath file_path photo
    coco_url url
"""
_MORE_IDS = "id imgid key"
_PHOTO_KEYS = {
    **dict.fromkeys(_IDS.split(), False),
    **dict.fromkeys(_NAMES.split(), True),
    **dict.fromkeys(_MORE_IDS.split(), False),
}
"""The keys of a photo, the surest first, and whether they hold a file's name."""
# fmt: off
_WRITTEN = (
    "generated_text", "generated_caption", "generated", "prediction", "predictions", "predicted", "predicted_caption",
    "pred", "pred_caption", "hypothesis", "hyp", "candidate", "output", "response", "answer",
)
# fmt: on
_CAPTIONS = ("caption", "captions", "text", "sentence", "comment")
"""The keys of captions: those that a model must have written, and those that a person may have."""


def _entry(path: Path, location: str, item: object) -> Result:
    if not isinstance(item, dict):
        raise DataError(f"{path}: {location} needs an image_id and a caption, a text; it is {item!r:.80}.")
    values = {_plain(key): value for key, value in item.items()}
    photo = _photo(values)
    if photo is not None and "error" in values and not any(key in values for key in _CAPTIONS):
        return Result(photo, None, location)
    texts = {key: _text(values[key]) for key in (*_WRITTEN, *_CAPTIONS) if key in values}
    caption = _caption(path, location, {key: text for key, text in texts.items() if text is not None})
    several = next((value for value in values.values() if isinstance(value, list) and len(value) > 1), None)
    if photo is not None and caption is None and several is not None and all(isinstance(text, str) for text in several):
        raise DataError(f"{path}: {location} has {len(several)} captions, like references; give one for each photo.")
    if photo is None or caption is None:
        raise DataError(f"{path}: {location} needs an image_id and a caption, a text; it is {item!r:.80}.")
    return Result(photo, caption, location)


def _plain(key: object) -> str:
    """Return a key spelled as ours: "image_id" for "Image ID"."""
    return re.sub(r"[\s-]+", "_", str(key).strip().strip('"').lower())


def _photo(values: Mapping[str, Any]) -> Spelled | None:
    for key, is_name in _PHOTO_KEYS.items():
        value = values.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return Spelled(value, is_name)
        if isinstance(value, float) and math.isfinite(value):
            return Spelled(value, is_name)
    return None


def _text(value: object) -> str | None:
    """Return a caption, also one in a list or an object of its own; None where there is none, or several."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = next((value[key] for key in (*_CAPTIONS, *_WRITTEN) if key in value), None)
    return value if isinstance(value, str) else None


def _caption(path: Path, location: str, texts: Mapping[str, str]) -> str | None:
    written = [key for key in _WRITTEN if key in texts]
    keys = [*written, *(key for key in _CAPTIONS[:1] if key in texts)] if written else list(texts)[:1]
    if len({texts[key] for key in keys}) > 1:
        raise DataError(
            f"{path}: {location} has {' and '.join(map(repr, keys))}, which differ; keep the one to score, as "
            "'caption'."
        )
    return texts[keys[0]] if keys else None


# --- JSON ---------------------------------------------------------------------------------------------------------

_WRAPPERS = ("annotations", "results", "predictions", "captions", "data", "outputs", "items", "images")


def _json_entries(path: Path, text: str) -> Iterator[Result]:
    values = _values(path, text)
    if len(values) > 1:  # JSON Lines, or lists one after another, as several processes write them
        items = ((line, item) for line, value in values for item in (value if isinstance(value, list) else [value]))
        return (_entry(path, f"line {line}", item) for line, item in items)
    content = values[0][1]
    if isinstance(content, dict):
        entries = _of_object(path, content)
        if entries is not None:
            return iter(entries)
    elif isinstance(content, list):
        if not content:
            raise DataError(f"{path}: an empty list; {RESULTS}.")
        kind = kind_of_json(content)
        if kind.startswith(("a list of detected", "a list of conversations")):
            raise DataError(f"{path}: {kind}, not results; {RESULTS}.")
        if not any(map(_has_photo, content)) and any(map(_has_text, content)):
            raise DataError(
                f"{path}: captions without photos: entry 0 needs an image_id beside its caption, as all do."
            )
        return (_entry(path, f"entry {index}", item) for index, item in enumerate(content))
    raise DataError(f"{path}: {kind_of_json(content) or f'an object with {keys_of(content)}'}, not results; {RESULTS}.")


def _values(path: Path, text: str) -> list[tuple[int, Any]]:
    """Return the JSON values of a text, one after another, with the lines they begin in."""
    decoder = json.JSONDecoder(object_pairs_hook=_without_doubles)
    values: list[tuple[int, Any]] = []
    line, position = 1, 0
    try:
        while (start := _SPACE.match(text, position).end()) < len(text):  # type: ignore[union-attr]  # always matches
            line += text.count("\n", position, start)
            value, position = decoder.raw_decode(text, start)
            values.append((line, value))
            line += text.count("\n", start, position)
    except json.JSONDecodeError as error:
        raise broken(path, error) from None
    except (RecursionError, ValueError) as error:
        raise unfit(path, error) from None
    return values


_SPACE = re.compile(r"\s*")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        for key, value in pairs:
            if values[key] != value:
                raise ValueError(f"{key!r} occurs twice in one object, with different values")
    return values


def _has_photo(item: object) -> bool:
    return isinstance(item, dict) and any(_plain(key) in _PHOTO_KEYS for key in item)


def _has_text(item: object) -> bool:
    first = item[0] if isinstance(item, list) and item else item
    return isinstance(first, str) or (isinstance(first, dict) and any(key in first for key in (*_WRITTEN, *_CAPTIONS)))


def _of_object(path: Path, content: dict[str, Any]) -> Iterable[Result] | None:
    """Return the entries of a list in an object, of columns, of one entry, or of captions by photo."""
    kind = kind_of_json(content)
    if kind.startswith(("captions in Karpathy", "boxes", "the scores", "a list of photos without")):
        return None
    for key in _WRAPPERS:
        items = content.get(key)
        if isinstance(items, list) and items and isinstance(items[0], dict) and _has_text(items[0]):
            return (_entry(path, f"{key}[{index}]", item) for index, item in enumerate(items))
    rows = _rows(content)
    if rows is not None:
        return (_entry(path, f"row {index}", row) for index, row in enumerate(rows))
    texts = {key: _text(value) for key, value in content.items()}
    if _photo(content) is not None and any(
        isinstance(content.get(key), str) for key in (*_WRITTEN, *_CAPTIONS, "error")
    ):
        return [_entry(path, "entry 0", content)]
    if not any(text is not None for text in texts.values()) and not kind.startswith("captions by photo"):
        return None
    return (_entry(path, f"entry {key!r}", {"key": key, "caption": content[key]}) for key in content)


def _rows(content: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the rows of columns: lists of one length, or objects with the same keys, as pandas writes them."""
    columns = {_plain(key): value for key, value in content.items() if isinstance(value, list | dict)}
    if not _has_photo(columns) or not any(key in columns for key in (*_WRITTEN, *_CAPTIONS)):
        return None
    lists = {key: list(value.values()) if isinstance(value, dict) else value for key, value in columns.items()}
    if len(set(map(len, lists.values()))) != 1:
        return None
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


# --- Tables -------------------------------------------------------------------------------------------------------


def _table_entries(path: Path, text: str) -> Iterator[Result]:
    kind = kind_of_text(text)
    if kind.startswith(("a list of captions like Flickr8k", "a table like Flickr30k", "XML", "a list of file names")):
        raise DataError(f"{path}: {kind}, not results; {RESULTS}.")
    text = without_preamble(text)
    header, _, _ = text.partition("\n")
    for delimiter in DELIMITERS:
        names = set(map(_plain, header.split(delimiter)))
        if not names.isdisjoint(_PHOTO_KEYS) and not names.isdisjoint((*_WRITTEN, *_CAPTIONS)):
            return _of_table(path, text, delimiter)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if all("\t" in line for _, line in lines):
        return _printed(path, lines)
    raise DataError(f"{path}: {kind}, without columns named like image_id and caption; {RESULTS}.")


def _of_table(path: Path, text: str, delimiter: str) -> Iterator[Result]:
    for line, row in table_rows(path, text, delimiter):
        yield _entry(path, f"line {line}", row)


_ESCAPES = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


def _printed(path: Path, lines: list[tuple[int, str]]) -> Iterator[Result]:
    """Yield what `wordgaze caption` printed: PATH, a tab, the caption, with --confidence a tab and a number."""
    for number, line in lines:
        name, caption, *more = line.rstrip("\r").split("\t")
        if len(more) > 1 or (more and not re.fullmatch(r"[01]?\.\d+|[01]|-", more[0].strip())):
            raise DataError(f"{path}: line {number} has {2 + len(more)} fields, but no line names them; {RESULTS}.")
        file = re.sub(r"\\([\\tnr]|x[01789][0-9a-f]|u202[89])", _unescaped, name)
        yield Result(Spelled(file, is_name=True), caption, f"line {number}")


def _unescaped(match: re.Match[str]) -> str:
    """Return the character that :func:`wordgaze.files.one_line` wrote so."""
    return _ESCAPES.get(match[0]) or chr(int(match[1][1:], 16))
