"""One training run's steps, as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule

from wordgaze.data.annotations import CaptionedPhoto
from wordgaze.data.dataset import IGNORED, PhotoBatch, TrainingBatch
from wordgaze.evaluation.score import CaptionScorer
from wordgaze.generation.search import generate
from wordgaze.model.caption_model import CaptionModel
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.config import TrainingConfig
from wordgaze.training.objectives import cross_entropy
from wordgaze.training.optimizer import freeze_encoder, parameter_groups, warmup_cosine


class CaptionModule(LightningModule):
    """Teaches ``model`` with ``config``; validates with greedy captions and CIDEr against ``validation``.

    After each validation ``captions`` holds, per set, the photos' captions in order; logged are ``loss`` and, per set,
    ``CIDEr/NAME`` and ``distinct/NAME`` (share of different captions), and ``CIDEr``, the mean over sets.
    """

    def __init__(
        self,
        model: CaptionModel,
        tokenizer: CaptionTokenizer,
        config: TrainingConfig,
        validation: Mapping[str, Sequence[CaptionedPhoto]],
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.validation = validation
        self.frozen_layers = freeze_encoder(model, config.encoder.freeze)
        self.cached = False  # whether training batches hold the frozen layers' output
        self.captions: dict[str, list[str]] = {}
        self._random_state: dict[str, Any] | None = None
        self.search = replace(config.generation, num_beams=1, num_captions=1, sample=False)
        self._scorers = {
            name: CaptionScorer({index: photo.captions for index, photo in enumerate(photos)}, ("CIDEr",))
            for name, photos in validation.items()
        }

    def train(self, mode: bool = True) -> CaptionModule:
        """Frozen layers stay in evaluation mode: no stochastic depth, no batch statistics."""
        super().train(mode)
        if self.frozen_layers > len(self.model.encoder.layers()):
            self.model.encoder.eval()
        for layer in self.model.encoder.layers()[: self.frozen_layers]:
            layer.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Dropout goes on with the masks that it would have drawn."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint["random_state"] = {"cpu": torch.get_rng_state(), "cuda": cuda}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._random_state = checkpoint.get("random_state")

    def on_fit_start(self) -> None:
        """On CPUs the backward pass of torch's fused attention takes several times as long as that of plain products."""
        if self.device.type == "cpu":
            for module in self.model.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = False

    def on_train_batch_start(self, batch: TrainingBatch, batch_index: int) -> None:
        if self._random_state is not None:
            torch.set_rng_state(self._random_state["cpu"])
            if len(self._random_state["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(self._random_state["cuda"])
            self._random_state = None

    def training_step(self, batch: TrainingBatch, batch_index: int) -> torch.Tensor:
        """Encodes each photo once for all its captions."""
        if self.cached:
            encoder_hidden_states = self.model.encode_frozen(batch.inputs, self.frozen_layers)
        else:
            encoder_hidden_states = self.model.encode(batch.inputs)
        words = batch.labels != IGNORED
        logits = self.model(batch.input_ids, encoder_hidden_states, logits_to_keep=words).logits
        loss = cross_entropy(logits, batch.labels[words], self.config.train.label_smoothing)
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.captions = {name: [""] * len(photos) for name, photos in self.validation.items()}

    def validation_step(self, batch: PhotoBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        name = list(self.validation)[dataloader_idx]
        found = generate(
            self.model,
            self.model.encode(batch.pixel_values),
            self.search,
            bos_id=self.tokenizer.bos_id,
            eos_id=self.tokenizer.eos_id,
            pad_id=self.tokenizer.pad_id,
        )
        for index, captions in zip(batch.indices, found, strict=True):
            self.captions[name][index] = self.tokenizer.decode(captions[0].token_ids)

    def on_validation_epoch_end(self) -> None:
        self._gather_captions()
        scores = []
        for name, captions in self.captions.items():
            cider = self._scorers[name].score(dict(enumerate(captions))).metrics["CIDEr"]
            scores.append(cider)
            self.log(f"CIDEr/{name}", cider)
            self.log(f"distinct/{name}", len(set(captions)) / len(captions))
        if scores:
            self.log("CIDEr", sum(scores) / len(scores), prog_bar=True)

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
        torch.distributed.all_gather_object(shares, self.captions)
        for name, captions in self.captions.items():
            self.captions[name] = [
                next((share[name][i] for share in shares if share[name][i]), "") for i in range(len(captions))
            ]
