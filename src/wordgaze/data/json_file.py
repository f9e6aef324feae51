"""JSON files of other people: read, and each value checked in its place."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import Any, TypeAlias

from wordgaze.errors import DataError

PhotoId: TypeAlias = "int | str"


def read_json(path: Path) -> Any:
    """The file's content; raises DataError where it can't be read, or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: broken JSON in line {error.lineno}, column {error.colno} ({error.msg}); "
            "mend it there, or get the file again"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); is this the right file?") from None
    except RecursionError:
        raise DataError(f"{path}: JSON nested too deeply; is this the right file?") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check path and permissions") from None


def read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: a {type(content).__name__} at its top; it must be a JSON object")
    return content


def items_of(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = content.get(key)
    if not isinstance(items, list):
        found = ", ".join(list(content)[:5]) or "nothing"
        raise DataError(f"{path}: no list {key!r} at its top, but {found}; is this the right file?")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise DataError(f"{path}: {key}[{index}] is {item!r:.60}; it must be an object")
    return items


def value_of(path: Path, place: str, item: object, key: str, *types: type) -> Any:
    if not isinstance(item, dict):
        raise DataError(f"{path}: {place} is {item!r:.60}; it must be an object")
    value = item.get(key)
    if not isinstance(value, types) or isinstance(value, bool):
        found = f"has {key} {value!r:.60}" if key in item else f"has no {key!r}"
        raise DataError(f"{path}: {place} {found}; give {' or '.join(_KINDS[kind] for kind in types)}")
    return value


_KINDS = {int: "a whole number", str: "a text", list: "a list"}


def new_id(path: Path, place: str, item: dict[str, Any], seen: Container[PhotoId]) -> PhotoId:
    photo_id: PhotoId = value_of(path, place, item, "id", int, str)
    if photo_id in seen:
        raise DataError(f"{path}: {place} has the id {photo_id!r} of an earlier one; give each its own")
    return photo_id


def known_id(
    path: Path, place: str, item: dict[str, Any], key: str, known: Container[PhotoId], where: str
) -> Any:
    value = value_of(path, place, item, key, int, str)
    if value not in known:
        raise DataError(f"{path}: {place} has {key} {value!r}, which {where!r} does not list; add or drop it")
    return value
