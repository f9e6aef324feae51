"""What must be equal for captions of several runs to be mixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from wordgaze.errors import shown


@dataclass(frozen=True)
class RunIdentity:
    """A model's fingerprint, the precision it computes in, and the options of its captions.

    ``options``: those that are not wordgaze's defaults, as plain values of JSON. Batch size, device and whatever else
    changes no caption, but for near-ties, is no part of it.
    """

    fingerprint: str
    precision: str
    options: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)

    def difference(self, other: Mapping[str, Any]) -> str | None:
        """Return a clause that says how ``other``, of earlier rows, differs, such as "its rows are of another model"...

        ``other``: what :meth:`to_dict` gave, perhaps beside other values. None where both are equal.
        """
        missing = [name for name in ("fingerprint", "precision", "options") if name not in other]
        if missing:
            return f"its rows don't say what they were made with (they have no {', '.join(missing)})"
        fingerprint, precision, options = other["fingerprint"], other["precision"], other["options"]
        if fingerprint != self.fingerprint:
            return f"its rows are of another model (fingerprint {_plain(fingerprint)}, now {self.fingerprint})"
        if precision != self.precision:
            return f"its rows were computed in {_plain(precision)}, and now it is {self.precision}"
        if not isinstance(options, Mapping):
            return f"its rows have {shown(options)} for options"
        names = dict.fromkeys((*options, *self.options))
        changes = [
            f"{_plain(name)} {_value(options, name)}, now {_value(self.options, name)}"
            for name in names
            if _value(options, name) != _value(self.options, name)
        ]
        return f"its rows were made with other options ({'; '.join(changes)})" if changes else None


def _value(options: Mapping[str, Any], name: str) -> str:
    return shown(options[name]) if name in options else "as by default"


def _plain(value: object) -> str:
    return value if isinstance(value, str) and value.isascii() and value.isprintable() else shown(value)
