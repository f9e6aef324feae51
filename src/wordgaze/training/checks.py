"""What a setting may be, in a table: its type by the dataclass, its range by a rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from wordgaze.errors import ConfigError


class Rule(NamedTuple):
    """What holds of a value, and how a sentence says it: "train.epochs is 0; it must be at least 1"."""

    holds: Callable[[Any], bool]
    text: str


def at_least(least: float, most: float = math.inf) -> Rule:
    text = f"at least {least:,}" if math.isinf(most) else f"from {least:,} to {most:,}"
    return Rule(lambda value: least <= value <= most and value != math.inf, text)


def above(limit: float) -> Rule:
    return Rule(lambda value: limit < value < math.inf, f"above {limit}")


def share(whole: bool) -> Rule:
    """Return the rule of a number from 0 to 1; 1 itself only if ``whole``."""
    if whole:
        return Rule(lambda value: 0 <= value <= 1, "from 0 to 1")
    return Rule(lambda value: 0 <= value < 1, "in [0, 1)")


def one_of(*choices: str | None) -> Rule:
    names = ", ".join("null" if choice is None else repr(choice) for choice in choices)
    return Rule(lambda value: value in choices, f"one of {names}")


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _all(holds: Callable[[object], bool], value: object, length: int | None = None) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    return (length is None or len(value) == length) and all(map(holds, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


# What a field's annotation says; null is seen to for all.
TYPES: dict[str, Rule] = {
    "int": Rule(is_whole, "a whole number"),
    "float": Rule(_is_number, "a number"),
    "bool": Rule(lambda value: isinstance(value, bool), "true or false"),
    "str": Rule(_is_text, "a text"),
    "str | int": Rule(lambda value: _is_text(value) or is_whole(value), "a text or a whole number"),
    "list[str]": Rule(lambda value: _all(_is_text, value), "a list of texts"),
    "tuple[int, int]": Rule(lambda value: _all(is_whole, value, 2), "two whole numbers, such as [224, 224]"),
    "tuple[int, ...]": Rule(lambda value: _all(is_whole, value), "a list of whole numbers"),
    "tuple[float, float]": Rule(lambda value: _all(_is_number, value, 2), "two numbers, such as [0.5, 1.0]"),
    "list[Source]": Rule(
        lambda value: _all(lambda source: not isinstance(source, str), value),
        "a list of sources, such as [{captions: FILE}]",
    ),
    "dict[str, Source]": Rule(
        lambda value: isinstance(value, Mapping), "sources by name, such as {NAME: {captions: FILE}}"
    ),
}


def type_rule(annotation: str) -> Rule | None:
    """Return what values a field may have, from its annotation as it is written; None where that is not for us."""
    plain = annotation.removesuffix(" | None")
    rule = TYPES.get(plain)
    if rule is None or plain == annotation:
        return rule
    return Rule(lambda value: value is None or rule.holds(value), f"{rule.text}, or null")


def check_fields(options: Any, group: str, rules: Mapping[str, Rule]) -> None:
    """Raise ConfigError, which names the field, where one of ``options``, a dataclass, has a wrong type or range."""
    for field in fields(options):
        value = getattr(options, field.name)
        for rule in (type_rule(str(field.type)), rules.get(field.name)):
            if rule is not None and not rule.holds(value):
                raise ConfigError(f"{group}.{field.name} is {_shown(value)}; it must be {rule.text}.")


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
