"""The steps of a run: what it needs for them, and how it may end."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import lightning.pytorch as pl
import torch

from wordgaze.data.transform import PhotoTransform
from wordgaze.device import busy
from wordgaze.errors import ConfigError, DataError, is_out_of_memory
from wordgaze.folder import ModelParts
from wordgaze.generation.limits import check_fits
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.caption_model import CaptionModel
from wordgaze.signals import StopSignals
from wordgaze.training.augmentation import TrainTransform
from wordgaze.training.callbacks import OnMessage
from wordgaze.training.checkpoint_file import best_cider, load_checkpoint
from wordgaze.training.config import DataOptions, EncoderOptions, TrainOptions
from wordgaze.training.data_module import CaptionDataModule
from wordgaze.training.dataset import PhotoViews, Views
from wordgaze.training.devices import device_of, is_bfloat16
from wordgaze.training.feature_cache import FeatureCache, cache_key
from wordgaze.training.frozen import FrozenPart
from wordgaze.training.inputs import CachedInputs, ModelInputs, PixelInputs
from wordgaze.training.load_data import TrainingData
from wordgaze.training.loggers import DrawCaption, SamplePictures
from wordgaze.training.module import CaptionModule
from wordgaze.training.objectives import CiderReward
from wordgaze.training.run_folder import RunFolder
from wordgaze.training.self_critical import SelfCriticalStep
from wordgaze.training.sharded import ShardedCaptionModule, whole_model
from wordgaze.training.starting_model import StartingModel
from wordgaze.training.summary import describe_captions, describe_sources
from wordgaze.training.trainer import make_trainer


@dataclass(frozen=True)
class Fitted:
    """How a run ended: after how many steps, and with which CIDEr on the validation photos, where there are any.

    ``captions``: what the best weights said of them, by set and index, without photos that could not be read.
    """

    steps: int
    cider: float | None
    captions: dict[str, dict[int, str]] = field(default_factory=dict)


def fit(
    start: StartingModel,
    data: TrainingData,
    folder: RunFolder,
    encoder: EncoderOptions,
    train: TrainOptions,
    generation: GenerationOptions,
    on_message: OnMessage,
    signals: StopSignals,
    callbacks: Sequence[pl.Callback] = (),
    draw: DrawCaption | None = None,
) -> Fitted:
    """Teach ``start``'s model, which has the best weights afterwards, else those of the last step.

    Nothing is written before everything has been checked.
    """
    parts = start.parts
    prompt = parts.tokenizer.encode_prompt(generation.prompt)
    check_fits(generation, parts.model.config.decoder, len(prompt))
    frozen = freeze_encoder(parts, encoder)
    self_critical = self_critical_step(parts, data, train)
    if draw is not None and train.loggers and train.strategy != "fsdp":  # there is no whole model to draw with
        callbacks = (*callbacks, SamplePictures(parts, data.validation_photos, draw, on_message))
    trainer = make_trainer(train, data, folder, on_message, signals, callbacks)
    data.drawn.check()
    folder.begin(None if start.is_initial else parts.tokenizer)
    data.drawn.move()
    for line in _describe_run(parts, data, folder, train.epochs):
        on_message(line)
    views, inputs = choose_inputs(parts, data, frozen, encoder, train, folder.first, on_message)
    data_module = make_data_module(parts, data, views, train.seed)
    kind = ShardedCaptionModule if train.strategy == "fsdp" else CaptionModule
    module = kind(
        parts.model,
        parts.tokenizer,
        inputs,
        data.validation_photos,
        encoder=encoder,
        train=train,
        generation=generation,
        self_critical=self_critical,
    )
    if train.compile:
        compile_layers(parts.model)
    with _readable_errors(folder, on_message), _enough_memory(trainer, data.options, folder):
        _run(trainer, module, data_module, folder, validate_first=start.is_initial)
    best = load_checkpoint(folder.best) if folder.best.exists() else None
    if isinstance(module, ShardedCaptionModule):
        parts.model = whole_model(parts.model, (best or load_checkpoint(folder.last))["state_dict"])
    elif best is not None:
        module.load_state_dict(best["state_dict"])
    if best is None:
        return Fitted(trainer.global_step, None)
    return Fitted(trainer.global_step, best_cider(best), best.get("captions", {}))


def _describe_run(parts: ModelParts, data: TrainingData, folder: RunFolder, epochs: int) -> Iterator[str]:
    """Yield lines on what a run is made of."""
    names = ", ".join(f"{name} {len(photos)}" for name, photos in data.validation.items()) or "none"
    parameters = list(parts.model.parameters())
    size = sum(parameter.numel() for parameter in parameters) / 1e6
    learning = sum(parameter.numel() for parameter in parameters if parameter.requires_grad) / 1e6
    for captions in (data.training, *data.validation.values()):
        yield from describe_sources(captions)
    longest = min(data.options.max_length, parts.model.config.decoder.positions)
    yield describe_captions(data.training, parts.tokenizer, longest)
    yield (
        f"{len(data.training)} training photos with {data.captions} captions; validation photos: {names}; "
        f"{size:.1f} M parameters, {learning:.1f} M learning; {epochs} epochs into {folder.path}"
    )
    if sentence := busy(torch.get_num_threads()):
        yield sentence
    if folder.checkpoint is not None:
        if folder.damage is not None:
            yield f"WARNING: {folder.damage}; the one before it takes its place"
        yield (
            f"resuming from {folder.last}: epoch {folder.checkpoint['epoch'] + 1}, "
            f"step {folder.checkpoint['global_step']}"
        )


def freeze_encoder(parts: ModelParts, encoder: EncoderOptions) -> FrozenPart:
    """Stop the layers that ``encoder.freeze`` names from learning; raise ConfigError where that makes no sense."""
    frozen = FrozenPart(parts.model.encoder, encoder.freeze)
    frozen.freeze()
    if encoder.cache is not None and not frozen:
        raise ConfigError("encoder.cache stores the output of frozen layers, but none is frozen; set cache to null.")
    return frozen


def compile_layers(model: CaptionModel) -> None:
    """Let torch compile the encoder's layers: equal ones share a compilation, and checkpoints keep their names."""
    for layer in model.encoder.layers():
        layer.compile()


def choose_inputs(
    parts: ModelParts,
    data: TrainingData,
    frozen: FrozenPart,
    encoder: EncoderOptions,
    train: TrainOptions,
    first: bool,
    on_message: OnMessage,
) -> tuple[Views, ModelInputs]:
    """Return what steps see of the training photos: pixels, or a cache, which the first process fills."""
    augmentation = data.options.augmentation
    transform = TrainTransform(parts.preprocessing, **asdict(augmentation))
    views = PhotoViews(data.training.photos, transform, train.seed, data.options.on_broken == "skip")
    if encoder.cache is None:
        return views, PixelInputs(parts.model, frozen)
    device, bfloat16 = device_of(train.accelerator), is_bfloat16(train.precision, train.accelerator)
    made_with = f"{device.type} {'bfloat16' if bfloat16 else 'float32'}"
    key = cache_key(parts.model, frozen, views, augmentation, encoder.cache_views, made_with)
    cache = FeatureCache(Path(encoder.cache) / key, views, encoder.cache_views)
    inputs = CachedInputs(parts.model, frozen)
    if not first:
        cache.wait()
    elif cache.missing:
        on_message(f"computing the frozen layers' output of {cache.missing} views into {cache.path}.npy")
        parts.model.encoder.eval().to(device)
        cache.fill(lambda pixel_values: inputs.compute(pixel_values, device, bfloat16))
        parts.model.encoder.cpu()
    return cache, inputs


def make_data_module(parts: ModelParts, data: TrainingData, views: Views, seed: int) -> CaptionDataModule:
    """Return the batches of a run."""
    options = data.options
    return CaptionDataModule(
        data.training.photos,
        data.validation_photos,
        views,
        state={"kept_photos": data.kept.to_dict(), "tokenizer": parts.tokenizer.fingerprint()},
        encode=parts.tokenizer.encode,
        pad_id=parts.tokenizer.pad_id,
        transform=PhotoTransform(parts.preprocessing),
        batch_size=options.batch_size,
        captions_per_photo=options.captions_per_photo,
        max_length=min(options.max_length, parts.model.config.decoder.positions),
        workers=options.workers,
        seed=seed,
    )


def self_critical_step(parts: ModelParts, data: TrainingData, train: TrainOptions) -> SelfCriticalStep | None:
    """Return the step of self-critical training, or None for cross-entropy alone."""
    if train.objective != "scst":
        return None
    reward = CiderReward([photo.captions for photo in data.training])
    return SelfCriticalStep(parts.model, parts.tokenizer, reward, train, data.options.max_length)


def _run(
    trainer: pl.Trainer,
    module: CaptionModule,
    data: CaptionDataModule,
    folder: RunFolder,
    validate_first: bool,
) -> None:
    resumed = None
    if folder.position is not None:
        data.resume(*folder.position)
        resumed = str(folder.last)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=FutureWarning)
        if validate_first and module.validation and resumed is None:
            trainer.validate(module, data, verbose=False)  # what the run has to beat
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
        if module.validation and module.validated_step != trainer.global_step:  # it ended within an epoch
            trainer.validate(module, data, verbose=False)


@contextmanager
def _enough_memory(trainer: pl.Trainer, options: DataOptions, folder: RunFolder) -> Iterator[None]:
    """Raise ConfigError where a step or a validation needs more memory than there is, on any device."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        kept = f"; what was learned before is kept in {folder.last}" if folder.last.exists() else ""
        raise ConfigError(
            f"Out of memory at step {trainer.global_step}, with data.batch_size {options.batch_size} and "
            f"data.captions_per_photo {options.captions_per_photo}: halve data.batch_size and double train.accumulate "
            f"({2 * trainer.accumulate_grad_batches}), for steps as large, with --restart or another --out{kept}."
        ) from error


@contextmanager
def _readable_errors(folder: RunFolder, on_message: OnMessage) -> Iterator[None]:
    """Raise what ends a run as a user should see it: Ctrl-C as such, a photo's error without a worker's traceback."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:  # Lightning raises it on Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except DataError as error:
        if folder.last.exists():
            on_message(f"what was learned before is kept in {folder.last}; the same command resumes from there")
        # From a worker process the sentence comes at the end of a traceback.
        raise DataError(str(error).rsplit("DataError: ", 1)[-1].strip()) from error
    finally:
        # Lightning ignores Ctrl-C once there was one, for good.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
