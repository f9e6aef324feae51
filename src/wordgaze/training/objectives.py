"""What a model is taught: to say a reference's next word, or captions that score well (self-critical training)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from wordgaze.evaluation.cider import CiderD
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.model.caption_model import CaptionModel
from wordgaze.training.dataset import IGNORED

_END = ("<end>",)  # no word of a caption: the tokenizer would take it apart


def teacher_forced(
    model: CaptionModel, input_ids: Tensor, labels: Tensor, encoder_hidden_states: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logits (n, V) and labels (n,) of the n words of captions (R, T)."""
    words = labels != IGNORED
    return model(input_ids, encoder_hidden_states, logits_to_keep=words).logits, labels[words]


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Return the mean over n words, in nats; ``logits`` (n, V), ``labels`` (n,).

    Smoothing as in Szegedy et al. 2016, section 7.
    """
    return functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def self_critical(logits: Tensor, labels: Tensor, advantages: Tensor) -> Tensor:
    """Return the mean over n sampled words of - advantage * log-probability (Rennie et al. 2017, equation 6).

    ``logits`` (n, V), ``labels`` (n,) the sampled ids, ``advantages`` (n,) how far the reward of the word's caption
    lies above the baseline.
    """
    return (functional.cross_entropy(logits.float(), labels, reduction="none") * advantages).mean()


def above_others(rewards: Tensor) -> Tensor:
    """Return each sample's reward less the mean of the photo's other samples; both (B, K) (Luo 2020, section 3)."""
    others = rewards.shape[1] - 1
    return rewards - (rewards.sum(dim=1, keepdim=True) - rewards) / others


Reward = Callable[[Sequence[int], Sequence[str], Sequence[bool]], np.ndarray]
"""(photos, captions, whether each has an end) → rewards (captions,)."""


class CiderReward:
    """CIDEr-D of captions against a training photo's references, ``references`` its captions, photo by photo.

    N-grams are weighted by all photos' references. The end counts as a word, in references as in captions: without it
    a model learns to stop after "a man on a", which costs nothing else (Luo 2020, section 5).
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        words = iter(tokenize_all(caption for captions in references for caption in captions))
        self._cider = CiderD(
            {photo: [(*next(words), *_END) for _ in captions] for photo, captions in enumerate(references)}
        )

    def __call__(self, photos: Sequence[int], captions: Sequence[str], ended: Sequence[bool]) -> np.ndarray:
        """Return rewards (captions,), 0 to 10, of each caption for its photo; ``ended``: whether it has an end."""
        words = tokenize_all(captions)
        return self._cider.rewards(
            photos, [(*row, *_END) if end else row for row, end in zip(words, ended, strict=True)]
        )
