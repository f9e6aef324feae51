"""A training run as data: what a YAML file in ``configs/`` may say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from wordgaze.data.annotations import Source
from wordgaze.data.transform import Preprocessing
from wordgaze.errors import ConfigError
from wordgaze.generation.options import GenerationOptions


@dataclass(frozen=True)
class AugmentationOptions:
    """Random views of training photos; see :class:`~wordgaze.data.transform.TrainTransform`."""

    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)
    whole: float = 0.5
    flip: float = 0.5
    color: float = 0.2
    crop: str | None = None


@dataclass(frozen=True)
class DataOptions:
    """``train`` may name several sources; ``validation`` names each set.

    ``crop`` is the model's, ``center`` or, unless its ``train.initial_model`` says otherwise, ``pad``; ``stretch`` too
    (:class:`~wordgaze.data.transform.Preprocessing`), by default 1. A model that sees photos mirrored, too, goes on to,
    once it is trained; until then each photo is seen once.
    A source of ``format: shapes`` is drawn: ``limit`` scenes with its ``seed``, into the run's folder ``captions``.
    A training caption is read up to ``max_length`` ids.
    """

    train: list[Source] = field(default_factory=list)
    validation: dict[str, Source] = field(default_factory=dict)
    batch_size: int = 32
    captions_per_photo: int = 3
    max_length: int = 24
    crop: str | None = None
    stretch: float | None = None
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    workers: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("captions_per_photo", 1), ("max_length", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; it must be at least {least}.")

    def shown_by(self, preprocessing: Preprocessing) -> Preprocessing:
        """A model's ``preprocessing``, with the ``crop`` and ``stretch`` that are asked for here."""
        crop = preprocessing.crop if self.crop is None else self.crop
        stretch = preprocessing.stretch if self.stretch is None else self.stretch
        return replace(preprocessing, crop=crop, stretch=stretch)


@dataclass(frozen=True)
class TokenizerOptions:
    """Trained on the training captions and the lines of ``extra_text``, or read from ``file``."""

    file: str | None = None
    vocab_size: int = 6000
    min_frequency: int = 2
    extra_text: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder's sizes (:class:`~wordgaze.model.config.EncoderConfig`) and how it learns.

    ``pretrained`` is ``hub``, a local file with timm's key names, or null (random); so is ``beside_pretrained``, of the
    network ``beside``. ``freeze`` is ``none``, ``all``, or the number of first layers to keep as they are. Layer i of L
    learns at ``learning_rate * layer_decay ** (L - i)``.
    ``patch_drop`` is the share of patches that a training photo goes without (Liu et al. 2022, PatchDropout): before
    the first block, or, of a cached photo and where the ViT is not timm's plain one, behind the last.
    ``cache`` is a folder for the frozen layers' output of ``cache_views`` random views of each photo, which epochs take
    in turn; null computes it anew.
    """

    name: str = "vit_tiny_patch16_224"
    image_size: tuple[int, int] | None = None
    features: str = "patches"
    map_index: int = -1
    blocks: int = 0
    width: int = 256
    heads: int = 4
    prefix_tokens: bool = False
    drop_path: float = 0.0
    beside: str | None = None
    beside_maps: tuple[int, ...] = (-2,)
    pretrained: str | None = "hub"
    beside_pretrained: str | None = "hub"
    freeze: str | int = "none"
    learning_rate: float = 1e-4
    layer_decay: float = 0.8
    patch_drop: float = 0.0
    cache: str | None = None
    cache_views: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.freeze, str) and self.freeze.isdecimal():  # from the command line
            object.__setattr__(self, "freeze", int(self.freeze))
        if isinstance(self.freeze, str) and self.freeze not in ("none", "all"):
            raise ConfigError(
                f"encoder.freeze is {self.freeze!r}; it is 'none', 'all' or a number of layers."
            )
        if not 0 <= self.patch_drop < 1:
            raise ConfigError(f"encoder.patch_drop is {self.patch_drop}; it must lie in [0, 1).")


@dataclass(frozen=True)
class DecoderOptions:
    """The decoder's sizes, or ``pretrained``: a Hugging Face GPT-2 (folder or name): its sizes and tokenizer."""

    pretrained: str | None = None
    width: int = 320
    layers: int = 3
    heads: int = 5
    mlp_ratio: float = 4.0
    positions: int = 64
    dropout: float = 0.1


_CHOICES = {
    "objective": ("cross_entropy", "scst"),
    "baseline": ("samples", "greedy"),
    "precision": ("auto", "float32", "bfloat16"),
}
_LEAST = {
    **{"epochs": 1, "accumulate": 1, "checkpoint_every": 1, "log_every": 1},
    **{"validate_every": 1, "samples": 2, "cross_entropy_weight": 0, "patience": 0},
}


@dataclass(frozen=True)
class TrainOptions:
    """Optimisation. ``precision``: ``auto`` (bfloat16 where the device is faster with it), ``float32``, ``bfloat16``.

    ``learning_rate`` is the decoder's; both rates warm up over ``warmup_steps`` and fall along a cosine. The checkpoint
    ``last`` is written every ``checkpoint_every`` steps. ``initial_model`` (a model folder, a hub id, or ``bundled``)
    gives sizes, tokenizer and first weights; ``encoder.image_size``, ``beside`` and ``blocks`` may differ from it, and
    it grows; so may ``decoder.dropout``, unless it is the default. Validation photos are captioned after every
    ``validate_every`` epochs, and at the end. ``patience``: the run ends after so many validations without a better
    CIDEr.

    ``objective: scst`` is self-critical training (Rennie et al. 2017): it raises the CIDEr-D of ``samples`` captions
    drawn for each photo, above a ``baseline``: the mean of the photo's other samples (``samples``; Luo 2020), or its
    ``greedy`` caption. Before the first step the model's logits are divided by ``temperature``, for good: one that was
    taught with smoothed labels draws too many poor captions to learn from. Samples are drawn without dropout; with
    ``sample_dropout`` the pass that learns from them has the decoder's. ``cross_entropy_weight`` times the reference
    captions' cross-entropy is added.
    """

    objective: str = "cross_entropy"
    initial_model: str | None = None
    samples: int = 5
    baseline: str = "samples"
    temperature: float = 1.0
    sample_dropout: bool = False
    cross_entropy_weight: float = 0.0
    patience: int = 0
    validate_every: int = 1
    epochs: int = 10
    max_steps: int = -1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 500
    label_smoothing: float = 0.1
    gradient_clip: float = 1.0
    accumulate: int = 1
    ema_decay: float = 0.998
    precision: str = "auto"
    devices: str | int = "auto"
    accelerator: str = "auto"
    checkpoint_every: int = 200
    log_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(map(repr, choices))
                raise ConfigError(f"train.{name} is {getattr(self, name)!r}; it is one of {known}.")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.objective == "scst" and self.initial_model is None:
            raise ConfigError(
                "train.objective is 'scst', which needs a model that captions already; "
                "name it as train.initial_model: a model folder, or 'bundled'."
            )
        if self.temperature <= 0:
            raise ConfigError(f"train.temperature is {self.temperature}; it must be above 0.")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(
                f"train.ema_decay is {self.ema_decay}; it must lie in [0, 1), 0 for no average."
            )


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines a run."""

    data: DataOptions = field(default_factory=DataOptions)
    tokenizer: TokenizerOptions = field(default_factory=TokenizerOptions)
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    decoder: DecoderOptions = field(default_factory=DecoderOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
