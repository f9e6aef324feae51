"""From a caption's ids to its maps and their evidence, for one model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wordgaze.errors import wrong_kind
from wordgaze.explanation.evidence import evidence
from wordgaze.explanation.methods import DEFAULT_METHOD, WordMaps, available_methods, find_method, word_maps
from wordgaze.generation.caption import Caption, CaptionWord
from wordgaze.model.caption_model import CaptionModel
from wordgaze.text.tokenizer import CaptionTokenizer


class Explainer:
    """Explains captions of a model; ``hflip_tta``: whether its states are the mean of a photo and its mirror image."""

    def __init__(self, model: CaptionModel, tokenizer: CaptionTokenizer, hflip_tta: bool) -> None:
        self.model, self.tokenizer, self.hflip_tta = model, tokenizer, hflip_tta

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the names of the ways to make maps, of :mod:`wordgaze.explanation.methods`."""
        return available_methods(self.model.config.decoder.layers)

    def check_method(self, name: str | None) -> str:
        """Return ``name``, or the default for None; raise ConfigError unless the model has such a method."""
        name = DEFAULT_METHOD if name is None else name
        if not isinstance(name, str):
            raise wrong_kind("method", name, f"a name: {', '.join(self.methods)}")
        find_method(name, self.model.config.decoder.layers, self.model.config.decoder.heads)
        return name

    def maps(
        self, pixel_values: Tensor, states: Tensor, captions: Sequence[Sequence[int]], method: str, raw: bool
    ) -> list[WordMaps]:
        """Return the maps of ``captions``, ids of captions of one photo (1, 3, H, W) with its ``states`` (1, S, D)."""
        return word_maps(
            self.model,
            states,
            [(ids, self.tokenizer.words(ids)) for ids in captions],
            method,
            raw=raw,
            pixel_values=pixel_values,
            hflip_tta=self.hflip_tta,
        )

    def evidence(self, blank_states: Tensor, ids: Sequence[int], maps: WordMaps) -> tuple[float, ...]:
        """Return the evidence of each word in bits, given the states (1, S, D) of a blank photo."""
        probabilities = [word.probability for word in maps.words]
        return evidence(self.model, blank_states, ids, self.tokenizer.words(ids), probabilities)

    def caption(self, ids: Sequence[int], maps: WordMaps) -> Caption:
        """Return the caption of these ids, with the probabilities that its ``maps`` come with."""
        words = tuple(CaptionWord(word.text, word.probability) for word in maps.words)
        return Caption(self.tokenizer.decode(ids), maps.log_probability, words)
