"""From a caption's ids to its maps and their evidence, for one model. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wordgaze.errors import ConfigError, wrong_kind
from wordgaze.explanation.attentions import AttentionReader
from wordgaze.explanation.evidence import evidence
from wordgaze.explanation.methods import METHODS, WordMaps, available_methods, find_method, word_maps
from wordgaze.generation.caption import Caption, CaptionWord
from wordgaze.text.tokenizer import CaptionTokenizer


class Explainer:
    """Explains captions of a model; ``hflip_tta``: whether its states are the mean of a photo and its mirror image."""

    def __init__(self, reader: AttentionReader, tokenizer: CaptionTokenizer, hflip_tta: bool) -> None:
        self.reader, self.tokenizer, self.hflip_tta = reader, tokenizer, hflip_tta

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the names of the ways to make maps, of :mod:`wordgaze.explanation.methods`."""
        names = available_methods(self.reader.decoder.layers)
        if self.reader.has_gradients:
            return names
        return tuple(name for name in names if name not in METHODS or not METHODS[name].needs)

    def check_method(self, name: str | None) -> str:
        """Return ``name``, or the default for None; raise ConfigError unless the model has such a method."""
        name = self.methods[0] if name is None else name
        if not isinstance(name, str):
            raise wrong_kind("method", name, f"a name: {', '.join(self.methods)}")
        methods = find_method(name, self.reader.decoder.layers, self.reader.decoder.heads)
        if not self.reader.has_gradients and any(method.needs for method in methods):
            raise ConfigError(
                f"Maps by {name} need gradients, which an exported model can't compute; choose "
                f"{', '.join(self.methods)}, or use the model folder that it was made of."
            )
        return name

    def maps(
        self, pixel_values: Any, states: Any, captions: Sequence[Sequence[int]], method: str, raw: bool
    ) -> list[WordMaps]:
        """Return the maps of ``captions``, ids of captions of one photo (1, 3, H, W) with its ``states`` (1, S, D)."""
        return word_maps(
            self.reader,
            states,
            [(ids, self.tokenizer.words(ids)) for ids in captions],
            method,
            raw=raw,
            pixel_values=pixel_values,
            hflip_tta=self.hflip_tta,
        )

    def evidence(self, blank_states: Any, ids: Sequence[int], maps: WordMaps) -> tuple[float, ...]:
        """Return the evidence of each word in bits, given the states (1, S, D) of a blank photo."""
        probabilities = [word.probability for word in maps.words]
        return evidence(self.reader, blank_states, ids, self.tokenizer.words(ids), probabilities)

    def caption(self, ids: Sequence[int], maps: WordMaps) -> Caption:
        """Return the caption of these ids, with the probabilities that its ``maps`` come with."""
        words = tuple(CaptionWord(word.text, word.probability) for word in maps.words)
        return Caption(self.tokenizer.decode(ids), maps.log_probability, words)
