"""A training run: from a config to a model folder, going on where it stopped."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before Lightning, which imports torchvision.
from wordgaze import compat as compat

# isort: split
import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_only
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wordgaze.convert.gpt2 import gpt2_tokenizer
from wordgaze.data.captions import CaptionSet, load_sources
from wordgaze.data.datamodule import CaptionDataModule
from wordgaze.data.transform import PhotoTransform, Preprocessing, TrainTransform
from wordgaze.device import busy
from wordgaze.errors import ConfigError, DataError, first_line
from wordgaze.folder import ModelParts, save_folder
from wordgaze.generation.limits import check_fits
from wordgaze.generation.options import GenerationOptions
from wordgaze.hub import resolve
from wordgaze.model.caption_model import CaptionModel
from wordgaze.tasks.starting_model import build_model as build_model
from wordgaze.tasks.starting_model import initial_model
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.callbacks import Patience, Said, SampleCaptions, TrainingLog
from wordgaze.training.checkpoints import Checkpoints
from wordgaze.training.config import TrainingConfig
from wordgaze.training.config_file import describe as describe
from wordgaze.training.config_file import parse_config as parse_config
from wordgaze.training.devices import check_devices, device_of, in_bfloat16
from wordgaze.training.devices import choose_precision as choose_precision
from wordgaze.training.drawn import DrawnSources
from wordgaze.training.feature_cache import FeatureCache, cache_key, pack
from wordgaze.training.module import CaptionModule
from wordgaze.training.run_folder import RunFolder, best_cider, check_length, load_checkpoint
from wordgaze.training.surgery import fold_temperature_
from wordgaze.training.usable import find_broken, without_broken, without_empty
from wordgaze.training.watch import BrokenPhotos, FiniteLoss

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingResult:
    """``folder`` is a model folder with the best averaged weights; ``cider`` is theirs on the validation photos.

    ``first``: whether this is the first, or only, of the processes that have trained.
    """

    folder: Path
    cider: float | None
    steps: int
    first: bool = True


@dataclass
class _Run:
    """What a run is made of, all of it checked; nothing is written yet.

    ``tokenizer`` is what the run itself has to keep: None where a model or the folder has it already. ``initial`` is
    the model that it starts from, if it names one.
    """

    training: CaptionSet
    validation: dict[str, CaptionSet]
    drawn: DrawnSources
    tokenizer: CaptionTokenizer | None
    initial: ModelParts | None
    preprocessing: Preprocessing
    data: CaptionDataModule
    module: CaptionModule
    checkpoint: dict[str, Any] | None


def train(
    config: TrainingConfig,
    out: str | Path,
    *,
    restart: bool = False,
    say: Say = lambda line: None,
    callbacks: Sequence[pl.Callback] = (),
    inputs: Iterable[str | Path] = (),
) -> TrainingResult:
    """Train, or go on from ``out``/checkpoints/last.ckpt, and leave ``out`` a model folder.

    ``say`` is given the lines that a person may want to read meanwhile; ``callbacks`` are Lightning's. ``inputs`` are
    files beside those of the config that must not be written over, such as the config itself. Nothing is written or
    deleted before everything has been checked.
    """
    folder = RunFolder(out)
    # Of several devices' processes, the first has made by now what the others find.
    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    if not first:
        say = _silent
    check_devices(config.train)
    reads = [*inputs, *_inputs(config)]
    if first:
        _check_initial(config, folder)
        folder.check(config, reads, restart)
    with tempfile.TemporaryDirectory(prefix="wordgaze-") as beside:
        run = _prepare(config, folder, Path(beside), restart and first, say)
        trainer = _trainer(config, folder, run.module, say, callbacks)
        if first:
            run.drawn.check(reads)
            if run.checkpoint is None:
                folder.begin(config, run.tokenizer, reads)
            else:
                folder.resume(config, run.checkpoint["global_step"], reads)
            run.drawn.move()
    for line in _beginning(config, run, folder):
        say(line)
    if config.encoder.cache is not None:
        _use_cache(config, run, first, say)
    if run.checkpoint is not None:
        run.data.resume(*_place(run.checkpoint, run.data))
    _fit(trainer, run, folder, say)
    return _finish(config, run, folder, trainer, first)


def _silent(line: str) -> None:
    """The other devices' processes say what the first one says."""


def _inputs(config: TrainingConfig) -> Iterator[str]:
    """Yield the files that a run of ``config`` reads, but for photos and what lies beside them.

    Of a model's folder its own files: a run may be kept in a folder within it.
    """
    named: list[str | None] = [
        config.tokenizer.file,
        *config.tokenizer.extra_text,
        config.train.initial_model,
    ]
    named += [config.encoder.pretrained, config.encoder.beside_pretrained, config.decoder.pretrained]
    for path in filter(None, named):
        if os.path.isdir(path):
            yield from (entry.path for entry in os.scandir(path) if entry.is_file())
        elif os.path.isfile(path):
            yield path
    for source in (*config.data.train, *config.data.validation.values()):
        files = (source.captions, source.instances, source.exclude)
        yield from (path for path in files if path is not None and os.path.isfile(path))


def _check_initial(config: TrainingConfig, folder: RunFolder) -> None:
    """Raise ConfigError where a run would be written into the model that it starts from."""
    name = config.train.initial_model
    if name is None or not folder.path.exists():
        return
    model = resolve(None) if name == "bundled" else Path(name).expanduser()
    if model.exists() and os.path.samefile(model, folder.path):
        raise ConfigError(
            f"train.initial_model {name} is the folder {folder.path} to train into, and its model would be lost; "
            "choose another --out."
        )


def _prepare(config: TrainingConfig, folder: RunFolder, beside: Path, restart: bool, say: Say) -> _Run:
    """Check and build all that a run needs; what it draws is drawn into ``beside``."""
    checkpoint = None if restart else folder.checkpoint()
    if checkpoint is not None:
        check_length(config, checkpoint, folder.path)
    _check_cache(config)
    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    drawn = DrawnSources(folder, beside, anew=first and checkpoint is None)
    training, validation = _photos(config, drawn, say)
    pl.seed_everything(config.train.seed, workers=True, verbose=False)
    # That a feature map's network has weights for a head it has not is no news.
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
    initial = initial_model(config)
    own = None if initial else _tokenizer(config, training, folder, first and checkpoint is None)
    tokenizer = initial.tokenizer if initial else own
    assert tokenizer is not None
    training = without_empty(training, tokenizer, say)
    model = initial.model if initial else build_model(config, tokenizer.vocab_size)
    prompt = tokenizer.encode_prompt(config.generation.prompt)
    check_fits(config.generation, model.config.decoder, len(prompt))
    preprocessing = initial.preprocessing if initial else Preprocessing(**model.preprocessing_defaults())
    preprocessing = config.data.shown_by(preprocessing)
    data = _data(config, training, validation, tokenizer, model, preprocessing)
    self_critical = config.train.objective == "scst"
    if self_critical:
        fold_temperature_(model.decoder, config.train.temperature)
    references = [photo.captions for photo in training] if self_critical else None
    sets = {name: photos.photos for name, photos in validation.items()}
    module = CaptionModule(model, tokenizer, config, sets, references)
    if config.encoder.cache is not None and not module.frozen:
        raise ConfigError(
            "encoder.cache keeps what frozen layers put out, but none is frozen; set cache to null."
        )
    return _Run(training, validation, drawn, own, initial, preprocessing, data, module, checkpoint)


def _check_cache(config: TrainingConfig) -> None:
    cache = config.encoder.cache
    if cache is not None and os.path.exists(cache) and not os.path.isdir(cache):
        raise ConfigError(f"encoder.cache {cache} is a file; name a folder, or a new one.")


def _photos(
    config: TrainingConfig, drawn: DrawnSources, say: Say
) -> tuple[CaptionSet, dict[str, CaptionSet]]:
    """Return the photos to train on, and those to validate on by their set's name: all of them can be read."""
    if config.train.patience and not config.data.validation:
        raise ConfigError(
            "train.patience waits for a better CIDEr; name a set in data.validation, or set it to 0."
        )
    training = load_sources([drawn.source(source) for source in config.data.train], check_files=True)
    validation = {
        name: load_sources([drawn.source(source)], check_files=True)
        for name, source in config.data.validation.items()
    }
    sets = (training, *validation.values())
    paths = (photo.path for photos in sets for photo in photos)
    broken = find_broken((path for path in paths if not drawn.holds(path)), say)
    skip = config.data.on_broken == "skip"
    training, *others = (drawn.settled(without_broken(photos, broken, skip, say)) for photos in sets)
    return training, dict(zip(validation, others, strict=True))


def _tokenizer(
    config: TrainingConfig, training: CaptionSet, folder: RunFolder, anew: bool
) -> CaptionTokenizer:
    """The run's own, once it has one; else read or trained."""
    kept = None if anew else folder.tokenizer()
    if kept is not None:
        return kept
    if config.decoder.pretrained is not None and config.tokenizer.file is None:
        return gpt2_tokenizer(config.decoder.pretrained)
    if config.tokenizer.file is not None:
        return CaptionTokenizer.load(config.tokenizer.file)
    captions = [caption for photo in training for caption in photo.captions]
    return CaptionTokenizer.train(
        [*captions, *_lines(config.tokenizer.extra_text)],
        vocab_size=config.tokenizer.vocab_size,
        min_frequency=config.tokenizer.min_frequency,
    )


def _lines(files: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for file in files:
        try:
            lines += Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"The text file {file} can't be read ({error}); correct tokenizer.extra_text."
            ) from error
    return [line for line in lines if line.strip()]


def _data(
    config: TrainingConfig,
    training: CaptionSet,
    validation: Mapping[str, CaptionSet],
    tokenizer: CaptionTokenizer,
    model: CaptionModel,
    preprocessing: Preprocessing,
) -> CaptionDataModule:
    data = CaptionDataModule(
        training.photos,
        {name: photos.photos for name, photos in validation.items()},
        encode=tokenizer.encode,
        pad_id=tokenizer.pad_id,
        train_transform=TrainTransform(preprocessing, **dataclasses.asdict(config.data.augmentation)),
        transform=PhotoTransform(preprocessing),
        batch_size=config.data.batch_size,
        captions_per_photo=config.data.captions_per_photo,
        max_length=min(config.data.max_length, model.config.decoder.positions),
        workers=config.data.workers,
        seed=config.train.seed,
        skip_broken=config.data.on_broken == "skip",
    )
    if data.batches_per_epoch == 0:
        raise DataError(
            f"{len(training)} training photos do not fill a batch of {config.data.batch_size}; lower it."
        )
    return data


def _place(checkpoint: Mapping[str, Any], data: CaptionDataModule) -> tuple[int, int]:
    """Return in which epoch, and after how many of its batches, a checkpoint was written."""
    progress = checkpoint["loops"]["fit_loop"]
    return checkpoint["epoch"], progress["epoch_loop.batch_progress"]["current"]["ready"]


def _use_cache(config: TrainingConfig, run: _Run, first: bool, say: Say) -> None:
    """Let the run read the frozen layers' output, which the first process computes where it is missing."""
    frozen, train = run.module.frozen, config.train
    views, photos = config.encoder.cache_views, run.data.train_set
    made_with = f"{device_of(train).type} {'bfloat16' if in_bfloat16(train) else 'float32'}"
    key = cache_key(
        run.module.model, frozen, photos, run.preprocessing, config.data.augmentation, views, made_with
    )
    cache = FeatureCache(Path(str(config.encoder.cache)) / key, len(photos), views)
    if not first:
        cache.wait()
    elif cache.missing:
        say(f"computing the frozen layers' output of {cache.missing} views into {cache.path}.npy")
        _fill(cache, config, run.module, run.data)
    photos.replaced |= cache.replaced
    photos.stored = cache
    run.module.cached = True


def _fill(
    cache: FeatureCache, config: TrainingConfig, module: CaptionModule, data: CaptionDataModule
) -> None:
    device, bfloat16 = device_of(config.train), in_bfloat16(config.train)
    encoder = module.model.encoder.eval().to(device)

    def compute(pixel_values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            # A few at a time: convolutions on CPUs are a third faster while their maps stay in its caches.
            few = pixel_values.to(device).split(8 if device.type == "cpu" else len(pixel_values))
            return torch.cat([pack(module.frozen.forward(photos)) for photos in few])

    cache.fill(data.train_set.view, compute, data.train_set.replaced)
    encoder.cpu()


def _trainer(
    config: TrainingConfig, folder: RunFolder, module: CaptionModule, say: Say, more: Sequence[pl.Callback]
) -> pl.Trainer:
    train = config.train
    names = list(module.validation)
    callbacks: list[pl.Callback] = [FiniteLoss(train.log_every)]
    if train.ema_decay:
        # By interpolation, which leaves frozen weights as they are; the weighted sum of EMAWeightAveraging rounds them.
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(train.ema_decay)))
    callbacks += [
        TrainingLog(folder.log, train.log_every, config.data.batch_size, names, module.measured),
        SampleCaptions(folder.samples, module.validation, say),
        Said(say),
    ]
    if train.patience:
        callbacks.append(Patience(train.patience, say))
    checkpoints = Checkpoints(
        folder.checkpoints, train.checkpoint_every, train.validate_every if names else 0
    )
    stop = config.data.on_broken == "stop"
    broken = BrokenPhotos(module.validation, checkpoints, say, stop, train.log_every)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        return pl.Trainer(
            accelerator=train.accelerator,
            devices=train.devices,
            precision=choose_precision(train.precision, train.accelerator),
            max_epochs=train.epochs,
            max_steps=train.max_steps,
            check_val_every_n_epoch=train.validate_every,
            gradient_clip_val=train.gradient_clip or None,
            accumulate_grad_batches=train.accumulate,
            callbacks=[*callbacks, *more, checkpoints, broken],
            logger=False,
            enable_checkpointing=False,  # Checkpoints does it, and writes nothing outside the run's folder
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the data module's own sampler shares the photos out
            log_every_n_steps=train.log_every,
        )
    except MisconfigurationException as error:
        raise ConfigError(
            f"train.accelerator {train.accelerator!r} with train.devices {train.devices!r} does not work here "
            f"({first_line(error)}); give 'cpu' or 'auto'."
        ) from error


def _beginning(config: TrainingConfig, run: _Run, folder: RunFolder) -> Iterator[str]:
    """What a run is made of."""
    captions = sum(len(photo.captions) for photo in run.training)
    held = ", ".join(f"{name} {len(photos)}" for name, photos in run.validation.items()) or "none"
    parameters = list(run.module.model.parameters())
    size = sum(parameter.numel() for parameter in parameters) / 1e6
    learning = sum(parameter.numel() for parameter in parameters if parameter.requires_grad) / 1e6
    yield from run.training.description.splitlines()
    yield (
        f"{len(run.training)} training photos with {captions} captions; validation photos: {held}; "
        f"{size:.1f} M parameters, {learning:.1f} M learning; {config.train.epochs} epochs into {folder.path}"
    )
    if sentence := busy(torch.get_num_threads()):
        yield sentence
    if run.checkpoint is not None:
        yield (
            f"going on from {folder.last}: epoch {run.checkpoint['epoch'] + 1}, "
            f"step {run.checkpoint['global_step']}"
        )


def _fit(trainer: pl.Trainer, run: _Run, folder: RunFolder, say: Say) -> None:
    handler = signal.getsignal(signal.SIGINT)
    resumed = None if run.checkpoint is None else str(folder.last)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", category=FutureWarning)
            if run.initial and run.validation and run.checkpoint is None:
                trainer.validate(run.module, run.data, verbose=False)  # what the run has to beat
            trainer.fit(run.module, run.data, ckpt_path=resumed, weights_only=False)
            if (
                run.validation and run.module.validated_step != trainer.global_step
            ):  # it ended within an epoch
                trainer.validate(run.module, run.data, verbose=False)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except DataError as error:
        if folder.last.exists():
            say(f"what was learnt before is kept in {folder.last}: the same command goes on from there")
        # From a worker process the sentence comes at the end of a traceback.
        raise DataError(str(error).rsplit("DataError: ", 1)[-1].strip()) from error
    finally:
        # Lightning ignores Ctrl-C once there was one, for good.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _finish(
    config: TrainingConfig, run: _Run, folder: RunFolder, trainer: pl.Trainer, first: bool
) -> TrainingResult:
    """Save the best weights as the model, else those of the last step, which are there already."""
    best = load_checkpoint(folder.best) if folder.best.exists() else None
    if best is not None:
        run.module.load_state_dict(best["state_dict"])
    generation = config.generation
    if run.initial and generation == GenerationOptions():
        generation = run.initial.generation
    model = run.module.model.float().eval()
    parts = ModelParts(model, run.module.tokenizer, run.preprocessing, generation)
    if trainer.is_global_zero:
        save_folder(parts, folder.path, card=_card(config, run.training, trainer.global_step, best))
    return TrainingResult(folder.path, None if best is None else best_cider(best), trainer.global_step, first)


def _card(config: TrainingConfig, training: CaptionSet, steps: int, best: dict[str, Any] | None) -> str:
    captions = sum(len(photo.captions) for photo in training)
    cider = None if best is None else best_cider(best)
    score = "" if cider is None else f"\nBest mean CIDEr on the validation sets (greedy): {cider:.3f}.\n"
    return (
        "---\ntags:\n- image-to-text\n- wordgaze\n---\n\n# A wordgaze captioner\n\n"
        f"Trained with `wordgaze train` for {steps} steps on {len(training)} photos with {captions} captions, "
        f"seed {config.train.seed}.\n{score}\n## Configuration\n\n```yaml\n{describe(config)}```\n"
    )
