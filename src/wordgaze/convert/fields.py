"""Fields of a checkpoint's ``config.json``, read and not assumed; what can't be expressed is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordgaze.errors import ModelError, shown

# transformers' names of activations → ours.
ACTIVATIONS = {
    **{name: "gelu" for name in ("gelu", "gelu_python")},
    **{name: "gelu_tanh" for name in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh")},
    **{name: "silu" for name in ("silu", "swish")},
    **{name: name for name in ("relu", "tanh")},
}


class Fields:
    """An object of a JSON ``file``, at ``place`` in it; a field that is missing has its class's default."""

    def __init__(self, values: Mapping[str, Any], place: str = "", file: str = "config.json") -> None:
        self.values, self.place, self.file = values, place, file

    def part(self, name: str) -> Fields:
        """Return an inner object; raises ModelError where there is none."""
        value = self.values.get(name)
        if not isinstance(value, Mapping):
            raise ModelError(f"{self.file} has no object {self._named(name)}; use a checkpoint that has one.")
        return Fields(value, self._named(name), self.file)

    def get(self, name: str, default: Any) -> Any:
        """Return a field; null counts as missing."""
        value = self.values.get(name)
        return default if value is None else value

    def whole(self, name: str, default: int | None, least: int = 1) -> int:
        """Return a whole number; raises ModelError."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.refused(name, f"it must be a whole number of at least {least}")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a number of at least 0; raises ModelError."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise self.refused(name, "it must be a number of at least 0")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false; raises ModelError."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.refused(name, "it must be true or false")
        return value

    def side(self, name: str, default: int) -> tuple[int, int]:
        """Return a height and width, which may be given as one number; raises ModelError."""
        value = self.get(name, default)
        sides = value if isinstance(value, list | tuple) else (value, value)
        if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) for side in sides):
            raise self.refused(name, "it must be a whole number, or two")
        if min(sides) < 1:
            raise self.refused(name, "it must be at least 1")
        return sides[0], sides[1]

    def activation(self, name: str, default: str) -> str:
        """Return our name of an activation; raises ModelError."""
        value = self.get(name, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self.refused(name, f"this activation can't be expressed here; there are {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def must_be(self, name: str, value: Any, default: Any, reason: str) -> None:
        """Raise ModelError unless a field has the only value that can be expressed."""
        if self.get(name, default) != value:
            raise self.refused(name, reason)

    def refused(self, name: str, reason: str) -> ModelError:
        """Return the error for a field, with its value."""
        found = self.values.get(name, "missing")
        value = "missing" if found == "missing" else shown(found)
        return ModelError(f"{self.file}: {self._named(name)} is {value}: {reason}; use another checkpoint.")

    def _named(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name
