"""One training run's steps, as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import DataError
from wordgaze.evaluation.score import CaptionScorer
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.caption_model import CaptionModel
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.config import EncoderOptions, TrainOptions
from wordgaze.training.dataset import PhotoBatch, TrainingBatch
from wordgaze.training.generate import generate_captions
from wordgaze.training.inputs import ModelInputs
from wordgaze.training.objectives import cross_entropy, teacher_forced
from wordgaze.training.optimizer import parameter_groups, warmup_cosine
from wordgaze.training.self_critical import SelfCriticalStep


class CaptionModule(LightningModule):
    """Teaches ``model`` from ``inputs``; validates with greedy captions and CIDEr against ``validation``.

    After each validation ``captions`` holds, per set, the photos' captions in order, and ``validated_step`` tells when;
    logged are ``loss`` and, per set, ``CIDEr/NAME`` and ``distinct/NAME`` (share of different captions), and ``CIDEr``,
    the mean over sets. With a ``self_critical`` step its ``StepMeasures`` are logged, too.
    """

    def __init__(
        self,
        model: CaptionModel,
        tokenizer: CaptionTokenizer,
        inputs: ModelInputs,
        validation: Mapping[str, Sequence[CaptionedPhoto]],
        *,
        encoder: EncoderOptions,
        train: TrainOptions,
        generation: GenerationOptions,
        self_critical: SelfCriticalStep | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.inputs = inputs
        self.validation = validation
        self.encoder_options = encoder
        self.options = train
        self.validation_options = replace(generation, num_beams=1, num_captions=1, sample=False)
        self.self_critical = self_critical
        self.captions: dict[str, list[str]] = {}
        self.broken: dict[str, set[int]] = {}  # validation photos that can't be read, by set
        self.validated_step: int | None = None
        self._random_state: dict[str, Any] | None = None
        self._scorers: dict[str, tuple[frozenset[int], CaptionScorer]] = {}
        for name in validation:
            self._scorer(name)

    def train(self, mode: bool = True) -> CaptionModule:
        """Set the training mode; frozen layers stay in evaluation mode: no stochastic depth, no batch statistics.

        So does a model that learns from its own samples: they are drawn without dropout.
        """
        super().train(mode and self.self_critical is None)
        self.inputs.frozen.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random state: after a stop dropout draws the masks that it would have drawn."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint["random_state"] = {"cpu": torch.get_rng_state(), "cuda": cuda}
        checkpoint["validated_step"] = self.validated_step
        # For the card: what these weights said.
        checkpoint["captions"] = {name: self._seen(name) for name in self.captions}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._random_state = checkpoint.get("random_state")
        self.validated_step = checkpoint.get("validated_step")

    def on_fit_start(self) -> None:
        # Lightning leaves the mode as it is: a loaded model would learn without dropout, frozen layers with it.
        self.train()
        if self.device.type == "cpu":
            disable_fused_attention(self.model)

    def on_train_batch_start(self, batch: TrainingBatch, batch_index: int) -> None:
        if self._random_state is not None:
            torch.set_rng_state(self._random_state["cpu"])
            if len(self._random_state["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(self._random_state["cuda"])
            self._random_state = None

    def training_step(self, batch: TrainingBatch, batch_index: int) -> torch.Tensor:
        """Return the loss of a batch; each photo is encoded once for all its captions."""
        encoder_hidden_states = self.inputs.encode(batch.inputs, self._keep_indices(batch.inputs))
        losses = []
        weight = 1.0 if self.self_critical is None else self.options.cross_entropy_weight
        if self.self_critical is not None:
            loss, measures = self.self_critical.loss(batch, encoder_hidden_states, self.current_epoch)
            self.log_dict(vars(measures))
            losses.append(loss)
        if weight:
            logits, labels = teacher_forced(self.model, batch.input_ids, batch.labels, encoder_hidden_states)
            losses.append(weight * cross_entropy(logits, labels, self.options.label_smoothing))
        loss = torch.stack(losses).sum()
        self.log("loss", loss, prog_bar=True)
        if self._trainer is not None and self._trainer.loggers:
            self.log("learning_rate", max(group["lr"] for group in self._trainer.optimizers[0].param_groups))
        return loss

    def _keep_indices(self, inputs: Tensor) -> Tensor | None:
        """Return the patches (B, K) to keep of a batch, or None for all."""
        drop = self.encoder_options.patch_drop
        if not drop:
            return None
        patches = self.model.grid[0] * self.model.grid[1]
        return sample_patch_indices(len(inputs), patches, drop, inputs.device)

    def on_validation_epoch_start(self) -> None:
        self.captions = {name: [""] * len(photos) for name, photos in self.validation.items()}
        self.broken = {name: set() for name in self.validation}

    def validation_step(self, batch: PhotoBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        name = list(self.validation)[dataloader_idx]
        states = self.inputs.encode_validation(batch.pixel_values, (dataloader_idx, batch_index))
        captions = generate_captions(self.model, self.tokenizer, states, self.validation_options)
        for index, (caption,) in zip(batch.indices, captions, strict=True):
            self.captions[name][index] = self.tokenizer.decode(caption.token_ids)
        for index in batch.broken:
            self.captions[name][index] = ""
        self.broken[name].update(batch.broken)

    def on_validation_epoch_end(self) -> None:
        self.validated_step = self.trainer.global_step
        self._gather_captions()
        scores = []
        for name in self.captions:
            seen = self._seen(name)
            cider = self._scorer(name).score(seen).metrics["CIDEr"]
            scores.append(cider)
            self.log(f"CIDEr/{name}", cider)
            self.log(f"distinct/{name}", len(set(seen.values())) / len(seen))
        if scores:
            self.log("CIDEr", sum(scores) / len(scores), prog_bar=True)

    def _seen(self, name: str) -> dict[int, str]:
        """Return the captions of the photos of a set that could be read, by index."""
        return {i: caption for i, caption in enumerate(self.captions[name]) if i not in self.broken[name]}

    def _scorer(self, name: str) -> CaptionScorer:
        """Return CIDEr against the photos of a set that can be read; made anew only where these have changed."""
        broken = frozenset(self.broken.get(name, ()))
        if name not in self._scorers or self._scorers[name][0] != broken:
            photos = enumerate(self.validation[name])
            references = {index: photo.captions for index, photo in photos if index not in broken}
            if not references:
                raise DataError(f"None of the photos of data.validation.{name} can be read any more.")
            self._scorers[name] = (broken, CaptionScorer(references, ("CIDEr",)))
        return self._scorers[name][1]

    def configure_optimizers(self) -> Any:
        train = self.options
        groups = parameter_groups(self.model, self.encoder_options, train)
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
        """Clip by the norm; Lightning's own refuses a fused optimizer, for a scaler that bfloat16 does without."""
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def _gather_captions(self) -> None:
        """Let all of several devices hold all captions: each has captioned its share."""
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


def disable_fused_attention(model: CaptionModel) -> None:
    """Compute attention with plain products: on CPUs the kernel's backward pass takes several times as long."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010  (mypy takes it for a tensor)


def sample_patch_indices(photos: int, patches: int, drop: float, device: torch.device) -> Tensor:
    """Return the indices (B, K) of the patches to keep, when a share ``drop`` goes at random; at least one."""
    order = torch.rand(photos, patches, device=device).argsort(dim=1)
    return order[:, : max(1, round(patches * (1 - drop)))]
