"""Options as the settings of a YAML file: what an option class is composed of stands side by side there.

``EncoderOptions`` *has* a shape; a config says ``encoder.width``, not ``encoder.shape.width``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_type_hints

SPREAD = {"spread": True}
"""Metadata of a field whose own fields are settings of the group that it belongs to."""
HIDDEN = {"hidden": True}
"""Metadata of a field that is no setting."""
_Options = TypeVar("_Options")


def setting_fields(kind: type) -> Iterator[dataclasses.Field[Any]]:
    """Yield the fields of an option class that are settings, those of its parts at the place of the part."""
    for field in dataclasses.fields(kind):
        if field.metadata.get("spread"):
            yield from setting_fields(_part(field))
        elif not field.metadata.get("hidden"):
            yield field


def settings_of(options: Any) -> dict[str, Any]:
    """Return the options as YAML holds them: groups of plain values, every default spelled out."""
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.metadata.get("spread"):
            settings |= settings_of(value)
        elif not field.metadata.get("hidden"):
            settings[field.name] = _plain(value)
    return settings


def options_from(kind: type[_Options], settings: Mapping[str, Any]) -> _Options:
    """Return the options of a group of ``settings``, of which some may be missing."""
    values = dict(settings)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # an option class is a dataclass
        if field.metadata.get("spread"):
            part = _part(field)
            names = [inner.name for inner in setting_fields(part) if inner.name in values]
            values[field.name] = options_from(part, {name: values.pop(name) for name in names})
    return kind(**values)


def flat_class(kind: type) -> type:
    """Return a dataclass of the settings of ``kind``, without its checks, for a parser that knows no parts."""
    columns: list[tuple[str, Any, Any]] = []
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.metadata.get("spread"):
            part = _part(field)
            types = get_type_hints(part)
            columns += [
                (inner.name, types[inner.name], dataclasses.field(default=inner.default))
                for inner in setting_fields(part)
            ]
        else:
            default = dataclasses.field(default=field.default, default_factory=field.default_factory)
            columns.append((field.name, hints[field.name], default))
    return dataclasses.make_dataclass(kind.__name__, columns)


def _part(field: dataclasses.Field[Any]) -> type:
    """Return the class of a part, which is that of its default."""
    return type(field.default)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return settings_of(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
