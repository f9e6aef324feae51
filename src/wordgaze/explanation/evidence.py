"""Which words the photo called for. The map of another shows where the model looked, not what the word stands for.

``evidence`` is log₂ p(word | photo, words before) / p(word | no photo, words before), in bits: 0 means that the words
before it would have led to it as well. "No photo" is a photo of one color, the mean color that also fills the padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from wordgaze.explanation.attentions import AttentionReader
from wordgaze.text.tokenizer import WordSpan

# English articles, determiners, prepositions, conjunctions, auxiliaries and pronouns.
_FUNCTION_WORDS = """
a an the this that these those some any each every another other both all no its his her their our your my
of in on at by to from with without for into onto out off over under up down as about above across against along
among around behind below beneath beside between beyond during inside near next outside past through throughout
toward towards underneath upon via within than
and or but nor so if while when where which who whom whose what there here because
is are was were be been being am has have had having do does did can could will would may might must shall should
not it he she they them him we us you i me itself himself herself themselves one ones very also just too it's
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


def evidence(
    reader: AttentionReader,
    blank_states: Any,
    ids: Sequence[int],
    spans: Sequence[WordSpan],
    probabilities: Sequence[float],
) -> tuple[float, ...]:
    """Return the evidence of each word in bits.

    ``probabilities``: of the words, with the photo. ``blank_states`` (1, S, D): of a blank photo.
    """
    [forced] = reader.forced_passes(blank_states, [ids])
    blank = forced.log_probabilities
    return tuple(
        math.log2(max(probability, 1e-38)) - float(blank[span.start - 1 : span.stop - 1].sum()) / math.log(2)
        for span, probability in zip(spans, probabilities, strict=True)
    )


def is_grounded(word: str, bits: float) -> bool:
    """Return whether a word's map may be read as what it stands for: no function word, and likelier with the photo."""
    return bits > 0 and word not in FUNCTION_WORDS
