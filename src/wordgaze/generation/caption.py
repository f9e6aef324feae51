"""What a caption is: its text, its words and how probable the model finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wordgaze.generation.confidence import caption_features


@dataclass(frozen=True)
class CaptionWord:
    """A word and its probability: the product over its tokens, each given the photo and all before it.

    None for a word of the prompt, which nobody had to find.
    """

    text: str
    probability: float | None


@dataclass(frozen=True)
class Caption:
    """What the model says of a photo; ``str()`` is the text.

    ``log_probability``: natural logarithm, of all tokens after the prompt, with the end token. ``alternatives``: the
    next best, best first, when several captions were asked for. ``confidence``: how likely it is right, in [0, 1], as
    measured for the best caption of the model's own search; None for other captions, and where the model has no
    ``confidence.json``.
    """

    text: str
    log_probability: float
    words: tuple[CaptionWord, ...]
    alternatives: tuple[Caption, ...] = ()
    confidence: float | None = None

    def __str__(self) -> str:
        return self.text

    def features(self) -> tuple[float, ...]:
        """Return what the confidence is made of (:mod:`wordgaze.generation.confidence`)."""
        probabilities = [word.probability for word in self.words if word.probability is not None]
        return caption_features(self.log_probability, probabilities)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``wordgaze caption --json`` prints of it."""
        return {
            "caption": self.text,
            "log_probability": self.log_probability,
            **({} if self.confidence is None else {"confidence": self.confidence}),
            "words": [{"word": word.text, "probability": word.probability} for word in self.words],
            "alternatives": [
                {name: value for name, value in caption.to_dict().items() if name != "alternatives"}
                for caption in self.alternatives
            ],
        }
