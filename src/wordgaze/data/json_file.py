"""JSON files of other people: read, and each value checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container
from pathlib import Path
from typing import Any, TypeAlias

from wordgaze.data.text_file import kind_of_text, read_text
from wordgaze.errors import DataError, first_line

PhotoId: TypeAlias = "int | str"

ANOTHER = "check that this is the right file"


def read_json(path: Path, remedy: str = ANOTHER) -> Any:
    """Return the file's content; raises DataError where it can't be read, or is no JSON.

    ``remedy``: what to do where the file is of another kind.
    """
    return json_of(path, read_text(path), remedy)


def json_of(path: Path, text: str, remedy: str = ANOTHER) -> Any:
    """Return :func:`read_json` of the file ``path``, of which ``text`` has been read."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip()[:1] not in ("{", "["):
            raise DataError(f"{path}: not JSON, but {kind_of_text(text)}; {remedy}.") from None
        first = _first_line(text)
        if first is not None:
            raise DataError(f"{path}: {kind_of_lines(first)}; {remedy}.") from None
        raise broken(path, error) from None
    except (RecursionError, ValueError) as error:
        raise unfit(path, error) from None


def broken(path: Path, error: json.JSONDecodeError) -> DataError:
    """Return the error of a file that begins as JSON and continues as something else."""
    cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
    remedy = "it ends in the middle, so get the file again" if cut else "fix it there, or get the file again"
    if error.doc[error.pos : error.pos + 1] == "'":
        remedy = "this is how Python prints it; write it with json.dump"
    return DataError(f"{path}: broken JSON in line {error.lineno}, column {error.colno} ({error.msg}); {remedy}.")


def unfit(path: Path, error: Exception) -> DataError:
    """Return the error of JSON that Python does not take: nested too deeply, or a number of 5,000 digits."""
    if isinstance(error, RecursionError):
        return DataError(f"{path}: JSON nested too deeply; {ANOTHER}.")
    return DataError(f"{path}: JSON that can't be read ({first_line(error)}); {ANOTHER}.")


def _first_line(text: str) -> dict[str, Any] | None:
    """Return the first object of JSON Lines, None where the text is none."""
    try:
        value, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    more = text.lstrip()[end:].lstrip()
    return value if isinstance(value, dict) and more.startswith("{") else None


def kind_of_lines(first: dict[str, Any]) -> str:
    """Return what JSON Lines are, by their first object."""
    if "file" in first and ("caption" in first or "error" in first):
        return "captions as `wordgaze caption --json` prints them (JSON Lines)"
    if "file_name" in first:
        return "an image folder's metadata.jsonl, a JSON object a line"
    return f"JSON Lines, an object a line, with {keys_of(first)}"


def kind_of_json(content: object) -> str:
    """Return what a file is by its content, in words that stand alone; "" where that is not plain."""
    if isinstance(content, list):
        first = content[0] if content else None
        if not isinstance(first, dict):
            return f"a list at its top, of {json.dumps(first):.40}" if content else "an empty list"
        if "conversations" in first:
            return "a list of conversations (LLaVA's format)"
        if "bbox" in first:
            return "a list of detected boxes"
        if "references" in first and "image_id" in first:
            return "what `wordgaze evaluate --per-image` wrote"
        if isinstance(first.get("caption"), list) or ("image" in first and "caption" in first):
            return "a list of photos with their captions (BLIP's format)"
        if "image_id" in first and "caption" in first:
            return "a list of results, one caption a photo"
        return f"a list at its top, of objects with {keys_of(first)}"
    if not isinstance(content, dict):
        return f"a {type(content).__name__} at its top"
    return _kind_of_object(content)


def _kind_of_object(content: dict[str, Any]) -> str:
    images, annotations = (content.get(key) for key in ("images", "annotations"))
    image, annotation = (items[0] if isinstance(items, list) and items else {} for items in (images, annotations))
    if isinstance(image, dict) and "sentences" in image:
        return "captions in Karpathy's format"
    if isinstance(annotation, dict) and "bbox" in annotation:
        return "boxes in COCO's format"
    if isinstance(annotation, dict) and "caption" in annotation:
        return "captions in COCO's format"
    if isinstance(images, list) and annotations is None:
        return "a list of photos without captions (COCO's image_info)"
    if isinstance(content.get("metrics"), dict):
        return "the scores that `wordgaze evaluate --json` wrote"
    if content and all(isinstance(value, str | list) for value in content.values()):
        captions = [
            caption for value in content.values() for caption in (value if isinstance(value, list) else [value])
        ]
        if captions and all(isinstance(caption, str) and " " in caption for caption in captions):
            return "captions by photo, {PHOTO: [CAPTION, ...]}"
    return ""


def keys_of(item: dict[str, Any]) -> str:
    """Return the first few keys, for a sentence."""
    return ", ".join(list(map(str, item))[:5])[:80] or "nothing in it"


def read_object(path: Path, remedy: str = "it must be a JSON object") -> dict[str, Any]:
    """Return the file's content, which must be an object; raises DataError."""
    return object_of(path, read_text(path), remedy)


def object_of(path: Path, text: str, remedy: str) -> dict[str, Any]:
    """Return :func:`read_object` of the file ``path``, of which ``text`` has been read."""
    content = json_of(path, text, remedy)
    if not isinstance(content, dict):
        raise DataError(f"{path}: {kind_of_json(content)}; {remedy}.")
    return content


def items_of(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the list ``key`` at the top, of objects; raises DataError."""
    items = content.get(key)
    if not isinstance(items, list):
        kind = kind_of_json(content)
        raise DataError(
            f"{path}: {f'{kind}, with ' if kind else ''}no list {key!r} at its top, but {keys_of(content)}; {ANOTHER}."
        )
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise DataError(f"{path}: {key}[{index}] is {item!r:.60}; it must be an object.")
    return items


def value_of(path: Path, location: str, item: object, key: str, *types: type) -> Any:
    """Return the value under ``key`` of the object at ``location``; raise DataError unless it is of ``types``."""
    if not isinstance(item, dict):
        raise DataError(f"{path}: {location} is {item!r:.60}; it must be an object.")
    value = item.get(key)
    if not isinstance(value, types) or isinstance(value, bool):
        problem = f"has {key} {value!r:.60}" if key in item else f"has no {key!r}"
        has = "" if key in item else f" (it has {keys_of(item)})"
        kinds = " or ".join(_KINDS[kind] for kind in types)
        raise DataError(f"{path}: {location} {problem}; give {kinds}{has}.")
    return value


_KINDS = {int: "a whole number", str: "a text", list: "a list"}


def caption_of(path: Path, location: str, item: object, key: str) -> str:
    """Return a caption; "" where it is null or NaN, which is how other programs write that there is none."""
    value = item.get(key, "") if isinstance(item, dict) else ""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value_of(path, location, item, key, str))


def id_of(path: Path, location: str, item: dict[str, Any], key: str) -> PhotoId:
    """Return a photo's id, a whole number or a text; pandas writes numbers as 7.0. Raises DataError."""
    value = item.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    photo_id: PhotoId = value_of(path, location, item, key, int, str)
    return photo_id


def new_id(path: Path, location: str, item: dict[str, Any], seen: Container[PhotoId]) -> PhotoId:
    """Return an item's own id; raise DataError where an earlier item has it."""
    photo_id = id_of(path, location, item, "id")
    if photo_id in seen:
        raise DataError(f"{path}: {location} has the id {photo_id!r} of an earlier one; give each its own.")
    return photo_id


def known_id(path: Path, location: str, item: dict[str, Any], key: str, known: Container[PhotoId], where: str) -> Any:
    """Return an id that the list named ``where`` has, as a number or as text; raise DataError for others."""
    value = id_of(path, location, item, key)
    if value in known:
        return value
    other: PhotoId | None = str(value) if isinstance(value, int) else whole(value)
    if other is None or other not in known:
        raise DataError(f"{path}: {location} has {key} {value!r}, which {where!r} does not list; add or drop it.")
    return other


def whole(value: object) -> int | None:
    """Return the whole number that an id is: 7 of 7, 7.0, "7", "0007" and "7.0"; None for others."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"\s*(\d{1,18})(\.0*)?\s*", value, re.ASCII) if isinstance(value, str) else None
    return int(match[1]) if match else None
