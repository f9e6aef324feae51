"""A step of self-critical training (Rennie et al. 2017): draw captions, score them, learn from the better ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from wordgaze.evaluation.repeats import repeats
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.model.caption_model import CaptionModel
from wordgaze.text.left_right import swap_left_right
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.config import TrainOptions
from wordgaze.training.dataset import IGNORED, TrainingBatch, pad_captions
from wordgaze.training.generate import generate_captions
from wordgaze.training.objectives import Reward, above_others, self_critical, teacher_forced


@dataclass(frozen=True)
class StepMeasures:
    """Of a step's samples: their mean reward, the shares with repeats and without an end, and their mean length."""

    reward: Tensor
    repeats: float
    endless: float
    words: float


MEASURES = tuple(field.name for field in fields(StepMeasures))


class SelfCriticalStep:
    """Raises the ``reward`` of captions that ``model`` draws for a batch's photos, above the baseline of ``options``.

    A caption is at most ``max_length`` ids long. Nothing here knows of Lightning: a step can be taken and timed alone.
    """

    def __init__(
        self,
        model: CaptionModel,
        tokenizer: CaptionTokenizer,
        reward: Reward,
        options: TrainOptions,
        max_length: int,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.reward = reward
        self.options = options
        self.sampling = GenerationOptions(
            sample=True,
            num_captions=options.samples,
            num_beams=1,
            no_repeat_ngram_size=0,
            max_length=min(max_length, model.config.decoder.positions),
        )

    def loss(self, batch: TrainingBatch, encoder_hidden_states: Tensor, epoch: int) -> tuple[Tensor, StepMeasures]:
        """Draw captions with cached keys and values, then score them in one teacher-forced pass, with gradients."""
        device = encoder_hidden_states.device
        samples = self.draw(encoder_hidden_states, self.sampling, self._seeds(batch, epoch))
        texts = [self.tokenizer.decode(sample.token_ids) for sample in samples]
        rewards = self.score(batch, samples, texts)
        advantages = self._advantages(batch, encoder_hidden_states, rewards)
        input_ids, labels = pad_captions([sample.token_ids for sample in samples], self.tokenizer.pad_id)
        input_ids, labels = input_ids.to(device), labels.to(device)
        with _mode(self.model.decoder, self.options.sample_dropout):
            logits, token_ids = teacher_forced(self.model, input_ids, labels, encoder_hidden_states)
        lengths = (labels != IGNORED).sum(dim=1)
        loss = self_critical(logits, token_ids, advantages.flatten().to(device).repeat_interleave(lengths))
        return loss, self._measures(samples, texts, rewards)

    def draw(
        self, encoder_hidden_states: Tensor, options: GenerationOptions, seeds: Sequence[int] | None = None
    ) -> list[GeneratedCaption]:
        """Return the captions of all photos, a photo's one after another."""
        captions = generate_captions(self.model, self.tokenizer, encoder_hidden_states, options, seeds)
        return [caption for photo in captions for caption in photo]

    def score(self, batch: TrainingBatch, captions: Sequence[GeneratedCaption], texts: Sequence[str]) -> Tensor:
        """Return rewards (B, K) of K captions a photo; those of a flipped view are compared with sides swapped."""
        count = len(captions) // len(batch.photos)
        photos = [photo for photo in batch.photos for _ in range(count)]
        flipped = [is_flipped for is_flipped in batch.flipped for _ in range(count)]
        unflipped = [
            swap_left_right(text) if is_flipped else text for text, is_flipped in zip(texts, flipped, strict=True)
        ]
        rewards = self.reward(photos, unflipped, [self._has_ended(caption) for caption in captions])
        return torch.from_numpy(rewards).float().view(len(batch.photos), count)

    def _seeds(self, batch: TrainingBatch, epoch: int) -> list[int]:
        """Return a seed for each photo, so that a resumed run draws what it would have drawn."""
        streams = (np.random.default_rng((self.options.seed, epoch, photo, 2)) for photo in batch.photos)
        return [int(stream.integers(2**62)) for stream in streams]

    def _advantages(self, batch: TrainingBatch, encoder_hidden_states: Tensor, rewards: Tensor) -> Tensor:
        if self.options.baseline == "samples":
            return above_others(rewards)
        options = replace(self.sampling, sample=False, num_captions=1)
        greedy = self.draw(encoder_hidden_states, options)
        texts = [self.tokenizer.decode(caption.token_ids) for caption in greedy]
        return rewards - self.score(batch, greedy, texts)

    def _measures(self, samples: Sequence[GeneratedCaption], texts: Sequence[str], rewards: Tensor) -> StepMeasures:
        words = [text.split() for text in texts]
        return StepMeasures(
            reward=rewards.mean(),
            repeats=sum(map(repeats, words)) / len(words),
            endless=sum(not self._has_ended(sample) for sample in samples) / len(samples),
            words=sum(map(len, words)) / len(words),
        )

    def _has_ended(self, caption: GeneratedCaption) -> bool:
        return caption.token_ids[-1] == self.tokenizer.eos_id


@contextmanager
def _mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Set a module's training mode, and at the end, also that by an error, the one that it had."""
    before = module.training
    module.train(training)
    try:
        yield
    finally:
        module.train(before)
