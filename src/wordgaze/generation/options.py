"""How captions are searched for; a model folder's defaults are its ``generation.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from wordgaze.errors import ConfigError, shown, wrong_kind

# Beyond these the arithmetic of a search leaves its floats: what is divided by them, or raised to them.
_TEMPERATURES = (1e-30, 1e30)
_LENGTH_PENALTIES = (-50.0, 50.0)
_SEEDS = (-(2**63), 2**64 - 1)  # of torch's generators


@dataclass(frozen=True)
class GenerationOptions:
    """Greedy is ``num_beams=1``; ``sample`` draws instead, ``num_captions`` of them.

    Lengths count ids after the start token, the end token included; a beam's score is its log-probability divided by
    length ** ``length_penalty``. ``top_k`` 0 and ``top_p`` 1 keep every id. ``no_repeat_ngram_size`` 0 allows repeats.
    ``early_stopping`` says when a beam search with as many finished captions as beams ends: at once (True), when the
    likeliest unfinished beam would not be among them if it ended now (False), or could not be at any length ("never").
    ``prompt`` is the text that captions begin with; lengths and scores do not count it.
    Raises ConfigError, which names the option, for a value of another kind or out of its range.
    """

    num_beams: int = 3
    num_captions: int = 1
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 3
    min_length: int = 0
    max_length: int = 30
    seed: int = 0
    early_stopping: bool | str = False
    prompt: str = ""

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_captions", "max_length"):
            self._check_whole(name, "a whole number of at least 1", 1)
        self._check_whole("top_k", "a whole number of at least 0 (0 keeps every word)", 0)
        self._check_whole("no_repeat_ngram_size", "a whole number of at least 0 (0 allows repeats)", 0)
        rule = f"a whole number from 0 to max_length, {shown(self.max_length)}"
        self._check_whole("min_length", rule, 0, self.max_length)
        self._check_whole("seed", "a whole number of at most 64 bits", *_SEEDS)
        self._check_number("temperature", "a number above 0 (from 1e-30 to 1e30)", *_TEMPERATURES)
        self._check_number("length_penalty", "a number from -50 to 50", *_LENGTH_PENALTIES)
        self._check_number("top_p", "a number above 0, and at most 1", 0.0, 1.0)
        if self.top_p == 0:
            raise ConfigError("top_p is 0; it must be a number above 0, and at most 1.")
        self._set("sample", yes_or_no("sample", self.sample))
        self._check_early_stopping()
        if not isinstance(self.prompt, str):
            raise wrong_kind("prompt", self.prompt, "a text, the beginning of the caption")
        if not self.sample and self.num_captions > self.num_beams:
            raise ConfigError(
                f"{shown(self.num_captions)} captions from {shown(self.num_beams)} beams is not possible; "
                f"set num_beams to at least {shown(self.num_captions)}, or sample."
            )

    def _check_early_stopping(self) -> None:
        if self.early_stopping == "never" and isinstance(self.early_stopping, str):
            return
        try:
            self._set("early_stopping", yes_or_no("early_stopping", self.early_stopping))
        except ConfigError:
            raise wrong_kind("early_stopping", self.early_stopping, "True, False or 'never'") from None

    def _check_whole(self, name: str, rule: str, minimum: int, maximum: int | None = None) -> None:
        self._set(name, whole_number(name, getattr(self, name), rule, minimum, maximum))

    def _check_number(self, name: str, rule: str, minimum: float, maximum: float) -> None:
        self._set(name, _number(name, getattr(self, name), rule, minimum, maximum))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen for others: NumPy's numbers become Python's

    def override(self, **options: Any) -> GenerationOptions:
        """Return a copy with other values; raise ConfigError for an unknown name, and suggest a close one."""
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                close = get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"the options are {', '.join(known)}."
                raise ConfigError(f"There is no option {name!r}; {hint}")
        return replace(self, **options)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``generation.json`` holds; what older versions do not know, only where it says something."""
        unsaid = {name for name in ("early_stopping", "prompt") if not getattr(self, name)}
        return {name: value for name, value in asdict(self).items() if name not in unsaid}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationOptions:
        """Return what ``to_dict`` has written, defaults where names are missing; raise ConfigError on unknown names."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"Generation options are a {type(values).__name__}; give names with values.")
        unknown = sorted(str(name) for name in values if name not in {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"Unknown generation options: {', '.join(unknown)}.")
        return cls(**values)


def whole_number(name: str, value: object, rule: str, minimum: int, maximum: int | None = None) -> int:
    """Return ``value`` as an int; raise ConfigError unless it is one, Python's or NumPy's, within the bounds.

    ``rule`` says in the error what it must be. ``True`` is no number, nor is ``2.0`` a whole one.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise wrong_kind(name, value, rule)
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        raise ConfigError(f"{name} is {shown(number)}; it must be {rule}.")
    return number


def yes_or_no(name: str, value: object) -> bool:
    """Return ``value`` as a bool; raise ConfigError unless it is one, Python's or NumPy's."""
    if isinstance(value, bool):
        return value
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise wrong_kind(name, value, "True or False")


def _number(name: str, value: object, rule: str, minimum: float, maximum: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong_kind(name, value, rule)
    # Compared before it becomes a float, which a huge whole number can't; `not`, so that not-a-number is refused.
    number: Any = value
    if not minimum <= number <= maximum:
        raise ConfigError(f"{name} is {shown(value)}; it must be {rule}.")
    return float(number)
