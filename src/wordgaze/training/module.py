"""One training run's steps, as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from wordgaze.data.dataset import IGNORED, PhotoBatch, TrainingBatch, pad_captions
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.data.transform import swap_left_right
from wordgaze.errors import DataError
from wordgaze.evaluation.repeats import repeats
from wordgaze.evaluation.score import CaptionScorer
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import generate
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.encoders.vit import keep_patches
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.config import TrainingConfig
from wordgaze.training.feature_cache import unpack
from wordgaze.training.frozen import FrozenPart
from wordgaze.training.objectives import CiderReward, above_others, cross_entropy, self_critical
from wordgaze.training.optimizer import parameter_groups, warmup_cosine


class CaptionModule(LightningModule):
    """Teaches ``model`` with ``config``; validates with greedy captions and CIDEr against ``validation``.

    After each validation ``captions`` holds, per set, the photos' captions in order, and ``validated_step`` tells when;
    logged are ``loss`` and, per set, ``CIDEr/NAME`` and ``distinct/NAME`` (share of different captions), and ``CIDEr``,
    the mean over sets.

    ``references``, the training photos' captions, are what the objective ``scst`` compares its samples with; then the
    mean ``reward`` of samples is logged, the shares of them with ``repeats`` and without an end (``endless``), and how
    many ``words`` they have.
    """

    def __init__(
        self,
        model: CaptionModel,
        tokenizer: CaptionTokenizer,
        config: TrainingConfig,
        validation: Mapping[str, Sequence[CaptionedPhoto]],
        references: Sequence[Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.validation = validation
        self.frozen = FrozenPart(model.encoder, config.encoder.freeze)
        self.frozen.freeze()
        self.cached = False  # whether training batches hold the frozen layers' output
        self._validation_features: dict[tuple[int, int], tuple[Tensor, ...]] = {}
        self.captions: dict[str, list[str]] = {}
        self.broken: dict[str, set[int]] = {}  # validation photos that can't be read, by set
        self.validated_step: int | None = None
        self._reward = None if references is None else CiderReward(references)
        self._random_state: dict[str, Any] | None = None
        self.validation_options = replace(config.generation, num_beams=1, num_captions=1, sample=False)
        self.measured = () if references is None else ("reward", "repeats", "endless", "words")
        self._sampling = GenerationOptions(
            sample=True,
            num_captions=config.train.samples,
            num_beams=1,
            no_repeat_ngram_size=0,
            max_length=min(config.data.max_length, model.config.decoder.positions),
        )
        self._scorers: dict[str, tuple[frozenset[int], CaptionScorer]] = {}
        for name in validation:
            self._scorer(name)

    def train(self, mode: bool = True) -> CaptionModule:
        """Frozen layers stay in evaluation mode: no stochastic depth, no batch statistics.

        So does a model that learns from its own samples: they are drawn without dropout.
        """
        super().train(mode and self._reward is None)
        self.frozen.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Dropout goes on with the masks that it would have drawn."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint["random_state"] = {"cpu": torch.get_rng_state(), "cuda": cuda}
        checkpoint["validated_step"] = self.validated_step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._random_state = checkpoint.get("random_state")
        self.validated_step = checkpoint.get("validated_step")

    def on_fit_start(self) -> None:
        """On CPUs the backward pass of torch's fused attention takes several times as long as plain products."""
        if self.device.type == "cpu":
            for module in self.model.modules():
                if hasattr(module, "fused_attn"):
                    setattr(module, "fused_attn", False)  # noqa: B010  (mypy takes it for a tensor)

    def on_train_batch_start(self, batch: TrainingBatch, batch_index: int) -> None:
        if self._random_state is not None:
            torch.set_rng_state(self._random_state["cpu"])
            if len(self._random_state["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(self._random_state["cuda"])
            self._random_state = None

    def training_step(self, batch: TrainingBatch, batch_index: int) -> torch.Tensor:
        """Encodes each photo once for all its captions."""
        encoder_hidden_states = self._encode(batch.inputs)
        losses = []
        weight = 1.0 if self._reward is None else self.config.train.cross_entropy_weight
        if self._reward is not None:
            losses.append(self._self_critical_loss(batch, encoder_hidden_states))
        if weight:
            logits, labels = self._teacher_forced(batch.input_ids, batch.labels, encoder_hidden_states)
            losses.append(weight * cross_entropy(logits, labels, self.config.train.label_smoothing))
        loss = torch.stack(losses).sum()
        self.log("loss", loss, prog_bar=True)
        return loss

    def _encode(self, inputs: Tensor) -> Tensor:
        """Of photos (B, 3, H, W), or what is cached of them, the patches that are left (B, K, D)."""
        keep_indices = None
        if self.config.encoder.patch_drop:
            patches = self.model.grid[0] * self.model.grid[1]
            keep_indices = sample_patch_indices(
                len(inputs), patches, self.config.encoder.patch_drop, inputs.device
            )
        if not self.cached:
            return self.model.encode(inputs, keep_indices)
        encoded = self._encode_rest(unpack(inputs, self.frozen.shapes()))
        return encoded if keep_indices is None else keep_patches(encoded, keep_indices, self.model.num_prefix)

    def _encode_rest(self, features: Sequence[Tensor]) -> Tensor:
        """Return ``encoder_hidden_states`` from the frozen layers' output."""
        return self.model.bridge(self.frozen.forward_rest(features))

    def _teacher_forced(
        self, input_ids: Tensor, labels: Tensor, encoder_hidden_states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, V) and labels (n,) of the n words of captions (R, T)."""
        words = labels != IGNORED
        return self.model(input_ids, encoder_hidden_states, logits_to_keep=words).logits, labels[words]

    def _self_critical_loss(self, batch: TrainingBatch, encoder_hidden_states: Tensor) -> Tensor:
        """Draws captions with cached keys and values, then scores them in one teacher-forced pass, with gradients."""
        train, device = self.config.train, encoder_hidden_states.device
        streams = (
            np.random.default_rng((train.seed, self.current_epoch, photo, 2)) for photo in batch.photos
        )
        seeds = [int(stream.integers(2**62)) for stream in streams]
        samples = self._drawn(encoder_hidden_states, self._sampling, seeds)
        texts = [self.tokenizer.decode(sample.token_ids) for sample in samples]
        rewards = self._rewards(batch, samples, texts)
        if train.baseline == "samples":
            advantages = above_others(rewards)
        else:
            options = replace(self._sampling, sample=False, num_captions=1)
            greedy = self._drawn(encoder_hidden_states, options)
            advantages = rewards - self._rewards(
                batch, greedy, [self.tokenizer.decode(caption.token_ids) for caption in greedy]
            )
        input_ids, labels = pad_captions([sample.token_ids for sample in samples], self.tokenizer.pad_id)
        input_ids, labels = input_ids.to(device), labels.to(device)
        self.model.decoder.train(self.config.train.sample_dropout)
        logits, words = self._teacher_forced(input_ids, labels, encoder_hidden_states)
        self.model.decoder.eval()
        lengths = (labels != IGNORED).sum(dim=1)
        said = [text.split() for text in texts]
        self.log_dict(
            {
                "reward": rewards.mean(),
                "repeats": sum(map(repeats, said)) / len(said),
                "endless": sum(not self._ended(sample) for sample in samples) / len(samples),
                "words": sum(map(len, said)) / len(said),
            }
        )
        return self_critical(logits, words, advantages.flatten().to(device).repeat_interleave(lengths))

    def _drawn(
        self, encoder_hidden_states: Tensor, options: GenerationOptions, seeds: Sequence[int] | None = None
    ) -> list[GeneratedCaption]:
        """The captions of all photos, a photo's beside each other."""
        return [each for photo in self._search(encoder_hidden_states, options, seeds) for each in photo]

    def _rewards(
        self, batch: TrainingBatch, captions: Sequence[GeneratedCaption], texts: Sequence[str]
    ) -> Tensor:
        """(B, K) of K captions a photo; what is said of a mirrored view is turned round before it is compared."""
        assert self._reward is not None
        each = len(captions) // len(batch.photos)
        photos = [photo for photo in batch.photos for _ in range(each)]
        flipped = [mirrored for mirrored in batch.flipped for _ in range(each)]
        turned = [
            swap_left_right(text) if mirrored else text for text, mirrored in zip(texts, flipped, strict=True)
        ]
        rewards = self._reward(photos, turned, [self._ended(caption) for caption in captions])
        return torch.from_numpy(rewards).float().view(len(batch.photos), each)

    def _ended(self, caption: GeneratedCaption) -> bool:
        return caption.token_ids[-1] == self.tokenizer.eos_id

    def _search(
        self, encoder_hidden_states: Tensor, options: GenerationOptions, seeds: Sequence[int] | None = None
    ) -> list[list[GeneratedCaption]]:
        found = generate(
            self.model,
            encoder_hidden_states.detach(),
            options,
            bos_id=self.tokenizer.bos_id,
            eos_id=self.tokenizer.eos_id,
            pad_id=self.tokenizer.pad_id,
            prompt_ids=self.tokenizer.encode_prompt(options.prompt),
            photo_seeds=seeds,
        )
        # What autocast has cast without gradients must not serve the pass that needs them.
        torch.clear_autocast_cache()
        return found

    def on_validation_epoch_start(self) -> None:
        self.captions = {name: [""] * len(photos) for name, photos in self.validation.items()}
        self.broken = {name: set() for name in self.validation}

    def validation_step(self, batch: PhotoBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        name = list(self.validation)[dataloader_idx]
        if self.cached:
            features = self._frozen_output(batch.pixel_values, (dataloader_idx, batch_index))
            encoder_hidden_states = self._encode_rest(features)
        else:
            encoder_hidden_states = self.model.encode(batch.pixel_values)
        found = self._search(encoder_hidden_states, self.validation_options)
        for index, captions in zip(batch.indices, found, strict=True):
            self.captions[name][index] = self.tokenizer.decode(captions[0].token_ids)
        for index in batch.broken:
            self.captions[name][index] = ""
        self.broken[name].update(batch.broken)

    def _frozen_output(self, pixel_values: Tensor, position: tuple[int, int]) -> list[Tensor]:
        """Compute it once a run, and hold it in memory as the training photos' on disk: in float16."""
        if position not in self._validation_features:
            features = self.frozen.forward(pixel_values)
            self._validation_features[position] = tuple(each.to(torch.float16) for each in features)
        return [each.to(torch.float32) for each in self._validation_features[position]]

    def on_validation_epoch_end(self) -> None:
        self.validated_step = self.trainer.global_step
        self._gather_captions()
        scores = []
        for name, captions in self.captions.items():
            seen = {i: caption for i, caption in enumerate(captions) if i not in self.broken[name]}
            cider = self._scorer(name).score(seen).metrics["CIDEr"]
            scores.append(cider)
            self.log(f"CIDEr/{name}", cider)
            self.log(f"distinct/{name}", len(set(seen.values())) / len(seen))
        if scores:
            self.log("CIDEr", sum(scores) / len(scores), prog_bar=True)

    def _scorer(self, name: str) -> CaptionScorer:
        """CIDEr against the photos of a set that can be read: made anew only where others can't than before."""
        broken = frozenset(self.broken.get(name, ()))
        if name not in self._scorers or self._scorers[name][0] != broken:
            photos = enumerate(self.validation[name])
            references = {index: photo.captions for index, photo in photos if index not in broken}
            if not references:
                raise DataError(f"None of the photos of data.validation.{name} can be read any more.")
            self._scorers[name] = (broken, CaptionScorer(references, ("CIDEr",)))
        return self._scorers[name][1]

    def configure_optimizers(self) -> Any:
        train = self.config.train
        groups = parameter_groups(self.model, self.config.encoder, train)
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = warmup_cosine(optimizer, min(train.warmup_steps, total), total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By the norm; Lightning's own refuses a fused optimizer, on account of a scaler bfloat16 does without."""
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def _gather_captions(self) -> None:
        """With several devices each has captioned its share; afterwards all hold all."""
        if self.trainer.world_size == 1:
            return
        shares: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(shares, self.broken)
        for name, broken in self.broken.items():
            broken.update(*(share[name] for share in shares))
        torch.distributed.all_gather_object(shares, self.captions)
        for name, captions in self.captions.items():
            self.captions[name] = [
                next((share[name][i] for share in shares if share[name][i]), "") for i in range(len(captions))
            ]


def sample_patch_indices(photos: int, patches: int, drop: float, device: torch.device) -> Tensor:
    """Return the indices (B, K) of the patches to keep, when a share ``drop`` goes at random; at least one."""
    order = torch.rand(photos, patches, device=device).argsort(dim=1)
    return order[:, : max(1, round(patches * (1 - drop)))]
