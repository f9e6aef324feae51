"""A training run: from a config to a model folder, going on where it stopped."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordgaze import compat  # noqa: F401  (before lightning: torchmetrics imports torchvision)

# isort: split
import lightning.pytorch as pl
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_only
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wordgaze.data.annotations import CaptionSet, Source, load_sources
from wordgaze.data.datamodule import CaptionDataModule
from wordgaze.data.shapes import write_shapes
from wordgaze.data.transform import PhotoTransform, Preprocessing, TrainTransform
from wordgaze.errors import ConfigError, DataError, ModelError, first_line
from wordgaze.generation.limits import check_fits
from wordgaze.generation.options import GenerationOptions
from wordgaze.hub import ModelParts, load_folder, resolve, save_folder
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.callbacks import (
    Checkpoints,
    Patience,
    Said,
    SampleCaptions,
    TrainingLog,
    drop_rows_behind,
)
from wordgaze.training.config import DecoderOptions, EncoderOptions, TrainingConfig, TrainOptions
from wordgaze.training.feature_cache import FeatureCache, cache_key, pack
from wordgaze.training.module import CaptionModule
from wordgaze.training.pretrained import gpt2_config, gpt2_tokenizer, load_gpt2
from wordgaze.training.surgery import expand, fold_temperature_

CONFIG_FILE = "training.yaml"
LOG, SAMPLES = "log.csv", "samples.csv"
_MAY_CHANGE = {
    *("train.epochs", "train.max_steps", "train.checkpoint_every", "train.log_every", "train.devices"),
    *("train.patience", "train.validate_every", "train.accelerator", "train.precision", "data.workers"),
    "encoder.cache",
}
_EMPTY = {"--data.train": "[]", "--data.validation": "{}"}
# An encoder or a decoder of any size.
_HOW_IT_LEARNS = {"freeze", "learning_rate", "layer_decay", "patch_drop", "cache", "cache_views", "dropout"}
_GROWS = {"image_size", "blocks", "beside", "beside_maps", "beside_pretrained"}


@dataclass(frozen=True)
class TrainingResult:
    """``folder`` is a model folder with the best averaged weights; ``cider`` is theirs on the validation photos.

    ``first``: whether this is the first, or only, of the processes that have trained.
    """

    folder: Path
    cider: float | None
    steps: int
    first: bool = True


def parse_config(config: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Reads a YAML file and dotted overrides (``--train.epochs 3``); raises ConfigError in a sentence."""
    if not Path(config).is_file():
        raise ConfigError(
            f"The config {config} does not exist; name a YAML file, such as configs/shapes.yaml."
        )
    parser = _parser()
    try:
        values = parser.parse_args(["--config", str(config), *_replacing(overrides)])
        fields = vars(parser.instantiate_classes(values))
        return TrainingConfig(**{name: value for name, value in fields.items() if name != "config"})
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f"{config} with its overrides can't be used: {_in_a_line(error)}") from error


def _replacing(overrides: Sequence[str]) -> Iterator[str]:
    """Sources given here replace the config's; without an empty list before them they would be merged, one by one."""
    for text in overrides:
        name = text.split("=")[0]
        if name in _EMPTY:
            yield f"{name}={_EMPTY[name]}"
        yield text


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, prog="wordgaze train")
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(TrainingConfig)
    return parser


def _in_a_line(error: BaseException) -> str:
    """jsonargparse tells the setting first, and in the next lines what is wrong with it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3]) or "unknown options"


def train(
    config: TrainingConfig,
    out: str | Path,
    *,
    restart: bool = False,
    say: Callable[[str], None] = lambda line: None,
    callbacks: Sequence[pl.Callback] = (),
) -> TrainingResult:
    """Trains, or goes on from ``out``/checkpoints/last.ckpt, and leaves ``out`` a model folder.

    ``say`` is given the lines that a person may want to read meanwhile; ``callbacks`` are Lightning's.
    """
    out = Path(out)
    checkpoints = out / "checkpoints"
    # Of several devices' processes, the first has made by now what the others find.
    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    if not first:
        say = _silent
    if restart and first:
        shutil.rmtree(checkpoints, ignore_errors=True)
    last = checkpoints / "last.ckpt"
    checkpoint = _load_checkpoint(last) if last.exists() else None
    fresh = checkpoint is None and first
    if fresh:
        for name in (LOG, SAMPLES, CONFIG_FILE, "tokenizer.json"):
            (out / name).unlink(missing_ok=True)
    elif checkpoint is not None and first:
        for name in (LOG, SAMPLES):
            drop_rows_behind(out / name, checkpoint["global_step"])
    _check_same_run(config, out, checkpoint is not None)
    checkpoints.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.train.seed, workers=True, verbose=False)
    # That a feature map's network has weights for a head it has not is no news.
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)

    training = load_sources([_drawn(source, out, fresh) for source in config.data.train], check_files=True)
    validation = {
        name: load_sources([_drawn(source, out, fresh)], check_files=True)
        for name, source in config.data.validation.items()
    }
    if config.train.patience and not validation:
        raise ConfigError(
            "train.patience waits for a better CIDEr; name a set in data.validation, or set it to 0."
        )
    initial = _initial_model(config)
    tokenizer = initial.tokenizer if initial else _tokenizer(config, training, out, fresh)
    model = initial.model if initial else build_model(config, tokenizer.vocab_size)
    check_fits(config.generation, model.config.decoder)
    preprocessing = initial.preprocessing if initial else Preprocessing(**model.preprocessing_defaults())
    preprocessing = config.data.shown_by(preprocessing)
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
    )
    if data.batches_per_epoch == 0:
        raise DataError(
            f"{len(training)} training photos do not fill a batch of {config.data.batch_size}; lower it."
        )
    if config.train.objective == "scst":
        fold_temperature_(model.decoder, config.train.temperature)
    references = [photo.captions for photo in training] if config.train.objective == "scst" else None
    module = CaptionModule(
        model, tokenizer, config, {name: photos.photos for name, photos in validation.items()}, references
    )
    for line in _beginning(config, training, validation, model, checkpoint, out):
        say(line)
    if config.encoder.cache is not None:
        cache = _feature_cache(config, module, data, preprocessing)
        if not first:
            cache.wait()
        elif cache.missing:
            say(f"computing the frozen layers' output of {cache.missing} views into {cache.path}.npy")
            _fill(cache, config, module, data)
        data.train_set.stored = cache
        module.cached = True
    trainer = _trainer(config, out, module, say, callbacks)
    if checkpoint is not None:
        progress = checkpoint["loops"]["fit_loop"]
        data.resume(checkpoint["epoch"], progress["epoch_loop.batch_progress"]["current"]["ready"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=FutureWarning)
        if initial and validation and checkpoint is None:
            trainer.validate(module, data, verbose=False)  # what the run has to beat
        _fit(trainer, module, data, last if checkpoint is not None else None)
        if validation and module.validated_step != trainer.global_step:  # it ended within an epoch
            trainer.validate(module, data, verbose=False)
    best = _load_checkpoint(checkpoints / "best.ckpt") if (checkpoints / "best.ckpt").exists() else None
    if best is not None:  # else the averaged weights of the last step are there already
        module.load_state_dict(best["state_dict"])
    generation = config.generation
    if initial and generation == GenerationOptions():
        generation = initial.generation
    parts = ModelParts(model.float().eval(), tokenizer, preprocessing, generation)
    if trainer.is_global_zero:
        save_folder(parts, out, card=_card(config, training, trainer.global_step, best))
    return TrainingResult(out, None if best is None else _cider(best), trainer.global_step, first)


def _silent(line: str) -> None:
    """The other devices' processes say what the first one says."""


def _fit(
    trainer: pl.Trainer, module: CaptionModule, data: CaptionDataModule, checkpoint: Path | None
) -> None:
    try:
        trainer.fit(
            module, data, ckpt_path=None if checkpoint is None else str(checkpoint), weights_only=False
        )
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except DataError as error:
        # From a worker process the sentence comes at the end of a traceback.
        raise DataError(str(error).rsplit("DataError: ", 1)[-1].strip()) from error


def build_model(config: TrainingConfig, vocab_size: int) -> CaptionModel:
    """The model a config describes, its encoder and decoder pretrained if it says so."""
    options = config.encoder
    names = {field.name for field in dataclasses.fields(EncoderConfig)}
    encoder = EncoderConfig(**{name: getattr(options, name) for name in names})
    pretrained = config.decoder.pretrained
    if pretrained is not None:
        decoder = gpt2_config(pretrained, config.decoder.dropout)
        if decoder.vocab_size != vocab_size:
            raise ConfigError(
                f"The tokenizer has {vocab_size} ids, {pretrained} {decoder.vocab_size}; leave tokenizer.file out."
            )
    else:
        sizes = {k: v for k, v in dataclasses.asdict(config.decoder).items() if k != "pretrained"}
        decoder = DecoderConfig(vocab_size=vocab_size, **sizes)
    model = CaptionModel(CaptionModelConfig(encoder, decoder), options.pretrained, options.beside_pretrained)
    if pretrained is not None:
        load_gpt2(model.decoder, pretrained)
    return model


def _initial_model(config: TrainingConfig) -> ModelParts | None:
    """What ``train.initial_model`` names; raises ConfigError where the config asks for another tokenizer or sizes."""
    name = config.train.initial_model
    if name is None:
        return None
    parts = load_folder(resolve(None if name == "bundled" else name))
    for group in ("tokenizer", "encoder", "decoder"):
        asked = dataclasses.asdict(getattr(config, group))
        default = dataclasses.asdict(type(getattr(config, group))())
        has = {} if group == "tokenizer" else dataclasses.asdict(getattr(parts.model.config, group))
        for field, value in asked.items():
            if field not in {*_HOW_IT_LEARNS, *_GROWS} and value not in (
                None,
                default[field],
                has.get(field),
            ):
                raise ConfigError(
                    f"{group}.{field} is {value!r}, but train.initial_model names {name}, which has its own; "
                    f"leave {group}.{field} out, or train from the beginning."
                )
    encoder, decoder = parts.model.config.encoder, parts.model.config.decoder
    grown = _grown(config.encoder, encoder)
    dropout = (
        decoder.dropout if config.decoder.dropout == DecoderOptions().dropout else config.decoder.dropout
    )
    if (grown, dropout) != (encoder, decoder.dropout):
        parts.model = expand(parts.model, grown, config.encoder.beside_pretrained, dropout)
        size = parts.model.preprocessing_defaults()["size"]
        parts.preprocessing = dataclasses.replace(parts.preprocessing, size=size)
    return parts


def _grown(options: EncoderOptions, initial: EncoderConfig) -> EncoderConfig:
    """The initial model's encoder, with what ``options`` ask for of the fields in which a model can grow."""
    new: dict[str, Any] = {} if options.image_size is None else {"image_size": options.image_size}
    if options.blocks:
        new["blocks"] = options.blocks
    maps = tuple(options.beside_maps)
    if options.beside is not None:
        new |= {"beside": options.beside, "beside_maps": maps}
    elif maps not in (EncoderOptions().beside_maps, initial.beside_maps):
        raise ConfigError(
            f"encoder.beside_maps {maps} names no network; set encoder.beside too, or leave them out."
        )
    return dataclasses.replace(initial, **new)


def _device(train: TrainOptions) -> torch.device:
    return torch.device("cuda" if train.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def _bfloat16(train: TrainOptions) -> bool:
    return bool(choose_precision(train.precision, train.accelerator) == "bf16-mixed")


def _feature_cache(
    config: TrainingConfig, module: CaptionModule, data: CaptionDataModule, preprocessing: Preprocessing
) -> FeatureCache:
    """The frozen layers' output, or the place where it will be."""
    model, frozen, train = module.model, module.frozen, config.train
    if not frozen:
        raise ConfigError(
            "encoder.cache keeps what frozen layers put out, but none is frozen; set cache to null."
        )
    views = config.encoder.cache_views
    made_with = f"{_device(train).type} {'bfloat16' if _bfloat16(train) else 'float32'}"
    key = cache_key(model, frozen, data.train_set, preprocessing, config.data.augmentation, views, made_with)
    return FeatureCache(Path(str(config.encoder.cache)) / key, len(data.train_set), views)


def _fill(
    cache: FeatureCache, config: TrainingConfig, module: CaptionModule, data: CaptionDataModule
) -> None:
    device, bfloat16 = _device(config.train), _bfloat16(config.train)
    encoder = module.model.encoder.eval().to(device)

    def compute(pixel_values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            # A few at a time: convolutions on CPUs are a third faster while their maps stay in its caches.
            few = pixel_values.to(device).split(8 if device.type == "cpu" else len(pixel_values))
            return torch.cat([pack(module.frozen.forward(photos)) for photos in few])

    cache.fill(data.train_set.view, compute)
    encoder.cpu()


def _drawn(source: Source, out: Path, fresh: bool) -> Source:
    """A source of drawn scenes becomes the COCO file they are in, drawn now unless they were."""
    if source.format != "shapes":
        return source
    folder = out / source.captions
    captions = folder / "captions.json"
    if fresh or not captions.exists():
        shutil.rmtree(folder, ignore_errors=True)
        write_shapes(folder, source.limit or 1000, source.seed)
    return dataclasses.replace(source, captions=str(captions), format="coco", limit=None)


def _tokenizer(config: TrainingConfig, training: CaptionSet, out: Path, fresh: bool) -> CaptionTokenizer:
    """The run's own, once it has one; else read or trained, and kept in ``out``."""
    kept = out / "tokenizer.json"
    if kept.exists() and not fresh:
        return CaptionTokenizer.load(kept)
    if config.decoder.pretrained is not None and config.tokenizer.file is None:
        tokenizer = gpt2_tokenizer(config.decoder.pretrained)
    elif config.tokenizer.file is not None:
        tokenizer = CaptionTokenizer.load(config.tokenizer.file)
    else:
        captions = [caption for photo in training for caption in photo.captions]
        tokenizer = CaptionTokenizer.train(
            [*captions, *_lines(config.tokenizer.extra_text)],
            vocab_size=config.tokenizer.vocab_size,
            min_frequency=config.tokenizer.min_frequency,
        )
    tokenizer.save(kept)
    return tokenizer


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


def _trainer(
    config: TrainingConfig,
    out: Path,
    module: CaptionModule,
    say: Callable[[str], None],
    more: Sequence[pl.Callback],
) -> pl.Trainer:
    train = config.train
    names = list(module.validation)
    callbacks: list[pl.Callback] = []
    if train.ema_decay:
        # By interpolation, which leaves frozen weights as they are; the weighted sum of EMAWeightAveraging rounds them.
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(train.ema_decay)))
    callbacks += [
        TrainingLog(out / LOG, train.log_every, config.data.batch_size, names, module.measured),
        SampleCaptions(out / SAMPLES, module.validation, say),
        Said(say),
    ]
    if train.patience:
        callbacks.append(Patience(train.patience, say))
    callbacks += [*more, Checkpoints(out / "checkpoints", train.checkpoint_every)]
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return pl.Trainer(
        accelerator=train.accelerator,
        devices=train.devices,
        precision=choose_precision(train.precision, train.accelerator),
        max_epochs=train.epochs,
        max_steps=train.max_steps,
        check_val_every_n_epoch=train.validate_every,
        gradient_clip_val=train.gradient_clip or None,
        accumulate_grad_batches=train.accumulate,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,  # Checkpoints does it, and writes nothing outside the run's folder
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the data module's own sampler shares the photos out
        log_every_n_steps=train.log_every,
    )


def choose_precision(wanted: str, accelerator: str = "auto") -> Any:
    """Lightning's name of a precision; ``auto`` is bfloat16 where the device multiplies faster in it."""
    if wanted == "auto":
        if accelerator != "cpu" and torch.cuda.is_available():
            wanted = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        else:
            faster = (
                torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported()
            )
            wanted = "bfloat16" if faster or torch.cpu._is_amx_tile_supported() else "float32"
    return {"bfloat16": "bf16-mixed", "float32": "32-true"}[wanted]


def _load_checkpoint(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # torch raises many kinds for a broken file
        raise ModelError(
            f"The checkpoint {path} can't be read ({first_line(error)}); use --restart."
        ) from error


def _cider(checkpoint: dict[str, Any]) -> float:
    return float(checkpoint["callbacks"]["Checkpoints"]["best"])


def _check_same_run(config: TrainingConfig, out: Path, resuming: bool) -> None:
    """A run goes on only with the settings it began with; how long and how often may change."""
    path = out / CONFIG_FILE
    if resuming and path.exists():
        before, now = (dataclasses.asdict(one) for one in (parse_config(path), config))
        changed = {
            f"{group}.{name}"
            for group in now
            for name in now[group]
            if now[group][name] != before[group][name]
        }
        changed = {name for name in changed if not name.startswith("generation.")} - _MAY_CHANGE
        if changed:
            raise ConfigError(
                f"{out} holds a run with other settings of {', '.join(sorted(changed))}; "
                "give the same settings to go on, another --out, or --restart to begin anew."
            )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(describe(config), encoding="utf-8")


def describe(config: TrainingConfig) -> str:
    """The config as YAML, every default spelled out."""
    import yaml

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return str(yaml.safe_dump(plain(dataclasses.asdict(config)), sort_keys=False, allow_unicode=True))


def _beginning(
    config: TrainingConfig,
    training: CaptionSet,
    validation: dict[str, CaptionSet],
    model: CaptionModel,
    checkpoint: dict[str, Any] | None,
    out: Path,
) -> Iterator[str]:
    """What a run is made of."""
    captions = sum(len(photo.captions) for photo in training)
    held = ", ".join(f"{name} {len(photos)}" for name, photos in validation.items()) or "none"
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) / 1e6
    yield from training.description.splitlines()
    yield (
        f"{len(training)} training photos with {captions} captions; validation photos: {held}; "
        f"{size:.1f} M parameters, {learning:.1f} M learning; {config.train.epochs} epochs into {out}"
    )
    if checkpoint is not None:
        yield (
            f"going on from {out / 'checkpoints' / 'last.ckpt'}: "
            f"epoch {checkpoint['epoch'] + 1}, step {checkpoint['global_step']}"
        )


def _card(config: TrainingConfig, training: CaptionSet, steps: int, best: dict[str, Any] | None) -> str:
    captions = sum(len(photo.captions) for photo in training)
    cider = None if best is None else _cider(best)
    score = "" if cider is None else f"\nBest mean CIDEr on the validation sets (greedy): {cider:.3f}.\n"
    return (
        "---\ntags:\n- image-to-text\n- wordgaze\n---\n\n# A wordgaze captioner\n\n"
        f"Trained with `wordgaze train` for {steps} steps on {len(training)} photos with {captions} captions, "
        f"seed {config.train.seed}.\n{score}\n## Configuration\n\n```yaml\n{describe(config)}```\n"
    )
