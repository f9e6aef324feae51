"""A training run as data: what a YAML file in ``configs/`` may say."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from wordgaze.data.captions import Source
from wordgaze.data.transform import Preprocessing
from wordgaze.errors import ConfigError
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.config import DecoderConfig, EncoderConfig
from wordgaze.training.checks import Rule, above, at_least, check_fields, is_whole, one_of, share
from wordgaze.training.devices import device_ids
from wordgaze.training.settings import HIDDEN, SPREAD

LARGEST_SEED = 2**32 - 1
"""NumPy's and Lightning's limit."""
_CROP = one_of(None, "pad", "center")
LOGGERS = ("tensorboard", "wandb")
_RATE = at_least(0)  # at 0 nothing learns: what a run has to beat


def logger_names(loggers: str | None) -> list[str]:
    """Return the names in ``train.loggers``."""
    return [name.strip() for name in loggers.split(",")] if loggers else []


@dataclass(frozen=True)
class AugmentationOptions:
    """Random views of training photos; see :class:`~wordgaze.training.augmentation.TrainTransform`."""

    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)
    whole: float = 0.5
    flip: float = 0.5
    color: float = 0.2
    crop: str | None = None

    def __post_init__(self) -> None:
        shares, ratios = (
            "two shares of the photo above 0, the smaller first",
            "two ratios above 0, the smaller first",
        )
        rules = {
            "scale": Rule(lambda scale: 0 < scale[0] <= scale[1] <= 1, shares),
            "ratio": Rule(lambda ratio: 0 < ratio[0] <= ratio[1] < math.inf, ratios),
            **dict.fromkeys(("whole", "flip", "color"), share(whole=True)),
            "crop": _CROP,
        }
        check_fields(self, "data.augmentation", rules)


@dataclass(frozen=True)
class DataOptions:
    """``train`` may name several sources; ``validation`` names each set.

    ``crop`` is the model's, ``center`` or, unless its ``train.initial_model`` says otherwise, ``pad``; ``stretch`` too
    (:class:`~wordgaze.data.transform.Preprocessing`), by default 1. A model that averages a photo and its mirror image
    (``mirrored``) does so again once it is trained; while it learns, it sees one of them.
    A source of ``format: shapes`` is drawn: ``limit`` scenes with its ``seed``, into the run's folder ``captions``.
    A training caption is read up to ``max_length`` ids.
    ``on_broken``: a photo that can't be read ends the run (``stop``), or is left out (``skip``).
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
    on_broken: str = "stop"

    def __post_init__(self) -> None:
        rules = {
            "batch_size": at_least(1),
            "captions_per_photo": at_least(1, 1000),
            "max_length": at_least(1),
            "workers": at_least(0, 1024),
            "crop": _CROP,
            "stretch": Rule(lambda stretch: stretch is None or 1 <= stretch < math.inf, "at least 1, or null"),
            "on_broken": one_of("stop", "skip"),
        }
        check_fields(self, "data", rules)

    def files(self) -> Iterator[str]:
        """Yield the files that the sources name; a folder of photos is none."""
        for source in (*self.train, *self.validation.values()):
            named = filter(None, (source.captions, source.instances, source.exclude))
            yield from filter(os.path.isfile, named)

    def shown_by(self, preprocessing: Preprocessing) -> Preprocessing:
        """Return a model's ``preprocessing`` with the ``crop`` and ``stretch`` that are asked for here."""
        crop = preprocessing.crop if self.crop is None else self.crop
        stretch = preprocessing.max_aspect_change if self.stretch is None else self.stretch
        return replace(preprocessing, crop=crop, max_aspect_change=stretch)


@dataclass(frozen=True)
class TokenizerOptions:
    """Trained on the training captions and the lines of ``extra_text``, or read from ``file``."""

    file: str | None = None
    vocab_size: int = 6000
    min_frequency: int = 2
    extra_text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # All bytes and three special tokens: what the tokenizer itself asks for.
        rules = {"vocab_size": at_least(259, 1_000_000), "min_frequency": at_least(0)}
        check_fields(self, "tokenizer", rules)

    def files(self) -> Iterator[str]:
        """Yield the files that the options name."""
        yield from filter(None, (self.file, *self.extra_text))


@dataclass(frozen=True)
class EncoderShape(EncoderConfig):
    """The sizes of an encoder as a config gives them; with ``train.initial_model``, those that are to change.

    Each is checked alone. Whether they fit together is asked when the encoder is known: of :meth:`whole`.
    """

    def __post_init__(self) -> None:
        rules = {
            "image_size": Rule(
                lambda size: size is None or min(size) >= 1, "height and width of at least 1 pixel, or null"
            ),
            "features": one_of("patches", "map"),
            "blocks": at_least(0),
            "width": at_least(1),
            "heads": at_least(1),
            "drop_path": share(whole=False),
        }
        check_fields(self, "encoder", rules)

    def whole(self) -> EncoderConfig:
        """Return the encoder of these sizes; raise ConfigError where they do not fit together."""
        return EncoderConfig(**vars(self))


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder's ``shape`` and how it learns.

    ``pretrained`` is ``hub``, a local file with timm's key names, or null (random); so is ``beside_pretrained``, of the
    network ``beside``. ``freeze`` is ``none``, ``all``, or the number of first layers to keep as they are. Layer i of L
    learns at ``learning_rate * layer_decay ** (L - i)``.
    ``patch_drop`` is the share of patches that a training photo goes without (Liu et al. 2022, PatchDropout): before
    the first block, or, of a cached photo and where the ViT is not timm's plain one, after the last.
    ``cache`` is a folder for the frozen layers' output of ``cache_views`` random views of each photo, which epochs take
    in turn; null computes it anew.
    """

    shape: EncoderShape = field(default=EncoderShape(), metadata=SPREAD)
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
        rules = {
            "freeze": Rule(
                lambda freeze: freeze >= 0 if is_whole(freeze) else freeze in ("none", "all"),
                "'none', 'all' or a number of layers",
            ),
            "learning_rate": _RATE,
            "layer_decay": share(whole=True),
            "patch_drop": share(whole=False),
            "cache_views": at_least(1),
        }
        check_fields(self, "encoder", rules)

    def files(self) -> Iterator[str]:
        """Yield the files and folders that the options name, where they are files at all."""
        yield from filter(None, (self.pretrained, self.beside_pretrained))


@dataclass(frozen=True)
class DecoderShape(DecoderConfig):
    """The sizes of a decoder as a config gives them, each checked alone, as :class:`EncoderShape`."""

    vocab_size: int = field(default=DecoderConfig.vocab_size, metadata=HIDDEN)  # the tokenizer decides

    def __post_init__(self) -> None:
        rules = {
            **dict.fromkeys(("width", "layers", "heads", "positions"), at_least(1)),
            "mlp_ratio": above(0),
            "dropout": share(whole=False),
        }
        check_fields(self, "decoder", rules)

    def whole(self, vocab_size: int) -> DecoderConfig:
        """Return the decoder of these sizes; raise ConfigError where they do not fit together."""
        return DecoderConfig(**vars(self) | {"vocab_size": vocab_size})


@dataclass(frozen=True)
class DecoderOptions:
    """The decoder's ``shape``, or ``pretrained``: a Hugging Face GPT-2 (folder or name): its sizes and tokenizer."""

    pretrained: str | None = None
    shape: DecoderShape = field(default=DecoderShape(), metadata=SPREAD)

    def __post_init__(self) -> None:
        check_fields(self, "decoder", {})

    def files(self) -> Iterator[str]:
        """Yield the files and folders that the options name, where they are files at all."""
        yield from filter(None, (self.pretrained,))


_TRAIN_RULES = {
    "objective": one_of("cross_entropy", "scst"),
    "baseline": one_of("samples", "greedy"),
    "precision": one_of("auto", "float32", "bfloat16"),
    "strategy": one_of("auto", "ddp", "fsdp"),
    "loggers": Rule(
        lambda names: names is None or set(logger_names(names)) <= set(LOGGERS),
        f"names from {' and '.join(map(repr, LOGGERS))} with commas between them, or null",
    ),
    "accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "devices": Rule(
        lambda devices: devices == "auto" or devices == -1 or bool(device_ids(devices)),
        "'auto', a number of devices from 1, -1 for all, or ids such as '0,1'",
    ),
    **dict.fromkeys(("epochs", "accumulate", "checkpoint_every", "log_every", "validate_every"), at_least(1)),
    "max_steps": Rule(lambda steps: steps == -1 or steps >= 1, "at least 1, or -1 for no limit"),
    "samples": at_least(2),
    "patience": at_least(0),
    "warmup_steps": at_least(0),
    **dict.fromkeys(("cross_entropy_weight", "weight_decay", "gradient_clip"), at_least(0)),
    "learning_rate": _RATE,
    "temperature": above(0),
    "label_smoothing": share(whole=False),
    "ema_decay": share(whole=False)._replace(text="in [0, 1), 0 for no average"),
    "seed": at_least(0, LARGEST_SEED),
}


@dataclass(frozen=True)
class TrainOptions:
    """Optimisation. ``precision``: ``auto`` (bfloat16 where the device is faster with it), ``float32``, ``bfloat16``.

    ``learning_rate`` is the decoder's; both rates warm up over ``warmup_steps`` and fall along a cosine. The checkpoint
    ``last`` is written every ``checkpoint_every`` steps. ``initial_model`` (a model folder, a hub id, or ``bundled``)
    gives sizes, tokenizer and first weights; ``encoder.image_size``, ``beside`` and ``blocks`` may differ from it,
    and it is expanded; so may ``decoder.dropout``, unless it is the default. Validation photos are captioned after
    every ``validate_every`` epochs, and at the end. ``patience``: the run ends after this many validations without a
    better CIDEr.

    ``objective: scst`` is self-critical training (Rennie et al. 2017): it raises the CIDEr-D of ``samples`` captions
    drawn for each photo, above a ``baseline``: the mean of the photo's other samples (``samples``; Luo 2020), or its
    ``greedy`` caption. Before the first step the model's logits are divided by ``temperature``, for good: one that was
    taught with smoothed labels draws too many poor captions to learn from. Samples are drawn without dropout; with
    ``sample_dropout`` the pass that learns from them has the decoder's. ``cross_entropy_weight`` times the reference
    captions' cross-entropy is added.

    ``strategy`` of several devices: ``ddp`` has the whole model on each, as ``auto``, ``fsdp`` a share of it.
    ``compile``: the encoder's layers run as torch compiles them. ``loggers``: ``tensorboard``, ``wandb``, or both with
    a comma, beside ``log.csv``.
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
    strategy: str = "auto"
    compile: bool = False
    loggers: str | None = None
    checkpoint_every: int = 200
    log_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.devices, str) and self.devices.removeprefix("-").isdecimal():  # from the command line
            object.__setattr__(self, "devices", int(self.devices))
        check_fields(self, "train", _TRAIN_RULES)
        if self.objective == "scst" and self.initial_model is None:
            raise ConfigError(
                "train.objective is 'scst', which needs a model that captions already; "
                "name it as train.initial_model: a model folder, or 'bundled'."
            )
        if self.strategy == "fsdp" and self.ema_decay:
            raise ConfigError(
                "train.strategy is 'fsdp', but a model in shares has no average of its weights; set train.ema_decay "
                "to 0."
            )

    def files(self) -> Iterator[str]:
        """Yield the model that a run starts from, where that is a folder at all."""
        yield from filter(None, (self.initial_model,))


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines a run."""

    data: DataOptions = field(default_factory=DataOptions)
    tokenizer: TokenizerOptions = field(default_factory=TokenizerOptions)
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    decoder: DecoderOptions = field(default_factory=DecoderOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)

    def files(self) -> Iterator[str]:
        """Yield the files that a run reads, but for photos and what lies beside them.

        Of a model's folder its own files: a run may be kept in a folder within it.
        """
        for group in (self.data, self.tokenizer, self.encoder, self.decoder, self.train):
            for path in group.files():
                if os.path.isdir(path):
                    yield from (entry.path for entry in os.scandir(path) if entry.is_file())
                elif os.path.isfile(path):
                    yield path

    def check(self) -> None:
        """Raise ConfigError where settings of two groups, or a setting and the disk, do not fit together."""
        cache = self.encoder.cache
        if cache is not None and os.path.exists(cache) and not os.path.isdir(cache):
            raise ConfigError(f"encoder.cache {cache} is a file; name a folder, or a new one.")
        if self.train.patience and not self.data.validation:
            raise ConfigError("train.patience waits for a better CIDEr; name a set in data.validation, or set it to 0.")
