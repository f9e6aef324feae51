"""Show, Attend and Tell (Xu et al. 2015): an LSTM that attends softly to the patches, word by word.

Letters: B photos, C captions (or beams) a photo, R = B·C rows, T tokens, N patches, F their width, D the LSTM's,
V vocabulary. The patches of our ViT stand for VGG's feature map; they are fine-tuned, as in the other arms. Trained as
its reimplementations for PyTorch do: one caption a row, Adam with two rates, dropout, gradients clipped by value.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wordgaze.generation.search import search
from wordgaze.generation.torch_stepper import DecoderModel, TorchStepper
from wordgaze.model.encoders.build import Encoder
from wordgaze.training.dataset import IGNORED, TrainingBatch

from .budget import Learner, Plan, learn
from .budget import measure as measure_learner
from .common import Task, Trained

WIDTH = 396
"""Of words, LSTM and attention alike; with a vocabulary of 6,000 as many parameters as our decoder of the config."""
DROPOUT = 0.5
LEARNING_RATE, ENCODER_SHARE = 4e-4, 0.25  # the encoder's is a quarter, 1e-4
CLIP = 5.0  # of a gradient's values
COVERAGE = 1.0  # λ of equation 14


class State:
    """What a caption's next word depends on: ``hidden`` and ``cell`` (R, D), and its photo's patches.

    ``patches`` (B, N, F), and ``keys`` (B, N, D), what the attention compares with.
    """

    def __init__(self, patches: Tensor, keys: Tensor, hidden: Tensor, cell: Tensor) -> None:
        self.patches, self.keys, self.hidden, self.cell = patches, keys, hidden, cell

    def reorder(self, rows: Tensor) -> None:
        """Let row i become what row ``rows[i]`` was; beams move within their photo."""
        self.hidden, self.cell = self.hidden[rows], self.cell[rows]

    def keep_photos(self, photos: Tensor, rows: Tensor) -> None:
        """Keep the ``photos`` (B',) and their ``rows`` (R',), in that order; the others are finished."""
        self.patches, self.keys = self.patches[photos], self.keys[photos]
        self.reorder(rows)


class AttentionLstm(nn.Module):
    """The decoder of section 3.1.2 with the deterministic soft attention of section 4.2."""

    def __init__(self, vocab_size: int, features: int, width: int = WIDTH, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.first_hidden = nn.Linear(features, width)
        self.first_cell = nn.Linear(features, width)
        self.key = nn.Linear(features, width)
        self.query = nn.Linear(width, width)
        self.energy = nn.Linear(width, 1, bias=False)  # the softmax would take a bias out
        self.gate = nn.Linear(width, 1)
        self.cell = nn.LSTMCell(width + features, width)
        self.from_hidden = nn.Linear(width, width, bias=False)
        self.from_context = nn.Linear(features, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, vocab_size)
        for module in (self.embedding, self.output):
            nn.init.uniform_(module.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def start(self, patches: Tensor, captions: int = 1) -> State:
        """Return the state before any word, from the photo's mean patch, with ``captions`` rows a photo."""
        mean = patches.mean(dim=1).repeat_interleave(captions, dim=0)
        return State(patches, self.key(patches), self.first_hidden(mean).tanh(), self.first_cell(mean).tanh())

    def step(self, words: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Read embedded ``words`` (R, D) into ``state``; return the next word's features (R, D) and weights (R, N)."""
        photos, patches, width = state.keys.shape
        query = self.query(state.hidden).view(photos, -1, 1, width)
        energy = self.energy((state.keys[:, None] + query).tanh()).squeeze(-1)  # (B, C, N)
        weights = energy.softmax(dim=-1)
        context = (weights @ state.patches).flatten(0, 1)
        context = self.gate(state.hidden).sigmoid() * context  # section 4.2.1
        state.hidden, state.cell = self.cell(torch.cat((words, context), dim=1), (state.hidden, state.cell))
        features = words + self.from_hidden(state.hidden) + self.from_context(context)  # equation 7
        return features, weights.view(-1, patches)

    def forward(self, input_ids: Tensor, patches: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher-forced logits (n, V) of the n ``positions`` (R, T, booleans), and weights (R, T, N)."""
        state = self.start(patches, len(input_ids) // len(patches))
        steps = [self.step(words, state) for words in self.embedding(input_ids).unbind(dim=1)]
        features = torch.stack([out for out, _ in steps], dim=1)[positions]
        return self.output(self.dropout(features)), torch.stack([weights for _, weights in steps], dim=1)


class ShowAttendTell(nn.Module):
    """Encoder and decoder, as :class:`wordgaze.generation.torch_stepper.TorchStepper` asks for them."""

    def __init__(self, encoder: Encoder, vocab_size: int, width: int = WIDTH) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = AttentionLstm(vocab_size, encoder.width, width)

    def start(self, encoder_hidden_states: Tensor) -> State:
        return self.decoder.start(encoder_hidden_states)

    def decode(self, input_ids: Tensor, state: State) -> Tensor:
        """Return logits (R, V) of the word after the last of ``input_ids`` (R, T)."""
        captions = len(input_ids) // len(state.hidden)
        if captions > 1:  # the first word: a photo's samples begin alike
            state.hidden = state.hidden.repeat_interleave(captions, dim=0)
            state.cell = state.cell.repeat_interleave(captions, dim=0)
        features, _ = self.decoder.step(self.decoder.embedding(input_ids[:, -1]), state)
        return self.decoder.output(self.decoder.dropout(features))

    def loss(self, pixel_values: Tensor, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of equation 14: cross-entropy, and the penalty unless each patch is attended to once."""
        words = labels != IGNORED
        logits, weights = self.decoder(input_ids, self.encoder(pixel_values), words)
        looked = (weights * words[:, :, None]).sum(dim=1)
        return functional.cross_entropy(logits.float(), labels[words]) + COVERAGE * (1 - looked).square().mean()

    def fuse(self, fused: bool) -> None:
        """Use torch's fused attention in the encoder, or plain products."""
        for module in self.encoder.modules():
            if hasattr(module, "fused_attn"):
                setattr(module, "fused_attn", fused)  # noqa: B010  (mypy takes it for a tensor)


def settings(task: Task, learning_rate: float) -> dict[str, Any]:
    return {
        "learning_rate": learning_rate,
        "encoder_learning_rate": ENCODER_SHARE * learning_rate,
        "optimizer": "Adam",
        "gradient_values": CLIP,
        "width": WIDTH,
        "dropout": DROPOUT,
        "coverage": COVERAGE,
    }


def measure(task: Task, learning_rate: float) -> float:
    return measure_learner(task, lambda: _learner(task, learning_rate), task.one_caption_a_row())


def run(task: Task, plan: Plan, learning_rate: float) -> Trained:
    learner = _learner(task, learning_rate)
    progress = learn(task, learner, task.one_caption_a_row(), plan, task.folder / "last.ckpt")
    model = cast(ShowAttendTell, learner.model.eval())
    model.fuse(True)
    tokenizer = task.tokenizer

    def caption(pixel_values: Tensor) -> list[str]:
        states = model.encoder(pixel_values.to(task.device))
        results = search(
            # Its state is no DecoderCache, but is used like one.
            TorchStepper(cast(DecoderModel, model), states),
            task.config.generation,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
        )
        return [tokenizer.decode(captions[0].token_ids) for captions in results]

    return Trained.of(model, caption, 1, progress)


def _learner(task: Task, learning_rate: float) -> Learner:
    torch.manual_seed(task.config.train.seed)
    model = ShowAttendTell(task.encoder(), task.tokenizer.vocab_size).to(task.device)
    # As for our own arm: on CPUs the backward pass of torch's fused attention takes several times as long.
    model.fuse(task.device.type != "cpu")
    optimizer = torch.optim.Adam(
        [
            {"params": model.encoder.parameters(), "lr": ENCODER_SHARE * learning_rate},
            {"params": model.decoder.parameters(), "lr": learning_rate},
        ]
    )

    def loss(batch: TrainingBatch) -> Tensor:
        inputs = (batch.inputs, batch.input_ids, batch.labels)
        return model.loss(*(tensor.to(task.device) for tensor in inputs))

    return Learner(model, loss, optimizer, lambda: nn.utils.clip_grad_value_(model.parameters(), CLIP))
