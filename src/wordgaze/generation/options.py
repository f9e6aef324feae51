"""How captions are searched for; a model folder's defaults are its ``generation.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from wordgaze.errors import ConfigError


@dataclass(frozen=True)
class GenerationOptions:
    """Greedy is ``num_beams=1``; ``sample`` draws instead, ``num_captions`` of them.

    Lengths count ids after the start token, the end token included; a beam's score is its log-probability divided by
    length ** ``length_penalty``. ``top_k`` 0 and ``top_p`` 1 keep every id. ``no_repeat_ngram_size`` 0 allows repeats.
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

    def __post_init__(self) -> None:
        def require(holds: bool, name: str, rule: str) -> None:
            if not holds:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {rule}.")

        require(self.num_beams >= 1, "num_beams", "at least 1")
        require(self.num_captions >= 1, "num_captions", "at least 1")
        require(self.temperature > 0, "temperature", "above 0")
        require(self.top_k >= 0, "top_k", "at least 0 (0 keeps every word)")
        require(0 < self.top_p <= 1, "top_p", "in (0, 1]")
        require(self.no_repeat_ngram_size >= 0, "no_repeat_ngram_size", "at least 0 (0 allows repeats)")
        require(self.max_length >= 1, "max_length", "at least 1")
        require(
            0 <= self.min_length <= self.max_length,
            "min_length",
            f"between 0 and max_length {self.max_length}",
        )
        if not self.sample and self.num_captions > self.num_beams:
            raise ConfigError(
                f"{self.num_captions} captions from {self.num_beams} beams is not possible; "
                f"set num_beams to at least {self.num_captions}, or sample."
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationOptions:
        """Raises ConfigError on unknown names."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"Unknown generation options: {', '.join(unknown)}.")
        return cls(**values)
