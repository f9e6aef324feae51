"""A training run: from a config to a model folder, going on where it stopped."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordgaze import compat  # noqa: F401  (before lightning: torchmetrics imports torchvision)

# isort: split
import lightning.pytorch as pl
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from wordgaze.data.annotations import CaptionSet, Source, load_sources
from wordgaze.data.datamodule import CaptionDataModule
from wordgaze.data.shapes import write_shapes
from wordgaze.data.transform import PhotoTransform, Preprocessing, TrainTransform
from wordgaze.errors import ConfigError, DataError, ModelError
from wordgaze.hub import ModelParts, save_folder
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.callbacks import Progress, SampleCaptions, TrainingLog
from wordgaze.training.config import TrainingConfig
from wordgaze.training.feature_cache import FeatureCache, cache_key
from wordgaze.training.module import CaptionModule
from wordgaze.training.pretrained import gpt2_config, gpt2_tokenizer, load_gpt2

CONFIG_FILE = "training.yaml"


@dataclass(frozen=True)
class TrainingResult:
    """``folder`` is a model folder with the best averaged weights; ``cider`` is theirs on the validation photos."""

    folder: Path
    cider: float | None
    steps: int


def parse_config(config: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Reads a YAML file and dotted overrides (``--train.epochs 3``); raises ConfigError in a sentence."""
    if not Path(config).is_file():
        raise ConfigError(
            f"The config {config} does not exist; name a YAML file, such as configs/shapes.yaml."
        )
    parser = _parser()
    try:
        values = parser.parse_args(["--config", str(config), *overrides])
        fields = vars(parser.instantiate_classes(values))
        return TrainingConfig(**{name: value for name, value in fields.items() if name != "config"})
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f"{config} with its overrides can't be used: {_first_line(error)}") from error


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, prog="wordgaze train")
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(TrainingConfig)
    return parser


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3]) or "unknown options"


def train(config: TrainingConfig, out: str | Path, *, restart: bool = False) -> TrainingResult:
    """Trains, or goes on from ``out``/checkpoints/last.ckpt, and leaves ``out`` a model folder."""
    out = Path(out)
    checkpoints = out / "checkpoints"
    if restart and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        for path in (
            checkpoints,
            out / "log.csv",
            out / "samples.csv",
            out / CONFIG_FILE,
            out / "tokenizer.json",
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    last = checkpoints / "last.ckpt"
    checkpoint = _load_checkpoint(last) if last.exists() else None
    _check_same_run(config, out, checkpoint is not None)
    checkpoints.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.train.seed, workers=True, verbose=False)

    training = load_sources([_drawn(source, out) for source in config.data.train])
    validation = {
        name: load_sources([_drawn(source, out)]) for name, source in config.data.validation.items()
    }
    tokenizer = _tokenizer(config, training, out)
    model = build_model(config, tokenizer.vocab_size)
    preprocessing = Preprocessing(crop=config.data.crop, **model.preprocessing_defaults())
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
    module = CaptionModule(
        model, tokenizer, config, {name: photos.photos for name, photos in validation.items()}
    )
    _say_start(config, training, validation, model, checkpoint, out)
    if config.encoder.cache is not None:
        _cache_features(config, module, data, preprocessing)
    trainer = _trainer(config, out, module)
    if checkpoint is not None:
        progress = checkpoint["loops"]["fit_loop"]
        data.resume(checkpoint["epoch"], progress["epoch_loop.batch_progress"]["current"]["ready"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=FutureWarning)
        trainer.fit(module, data, ckpt_path=str(last) if checkpoint is not None else None, weights_only=False)
    best = _best_weights(checkpoints)
    if best is not None:
        module.load_state_dict(best["state_dict"])
    parts = ModelParts(model.float().eval(), tokenizer, preprocessing, config.generation)
    if trainer.is_global_zero:
        save_folder(parts, out, card=_card(config, training, trainer.global_step, best))
    return TrainingResult(out, None if best is None else _cider(best), trainer.global_step)


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
    model = CaptionModel(CaptionModelConfig(encoder, decoder), options.pretrained)
    if pretrained is not None:
        load_gpt2(model.decoder, pretrained)
    return model


def _cache_features(
    config: TrainingConfig, module: CaptionModule, data: CaptionDataModule, preprocessing: Preprocessing
) -> None:
    """Lets training batches hold the frozen layers' output, computed now unless the cache has it."""
    model, layers, train = module.model, module.frozen_layers, config.train
    bfloat16 = choose_precision(train.precision, train.accelerator) == "bf16-mixed"
    device = torch.device("cuda" if train.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    key = cache_key(model, layers, data.train_set, preprocessing, config.data.augmentation, str(bfloat16))
    views = config.encoder.cache_views
    cache = FeatureCache(Path(str(config.encoder.cache)) / key, len(data.train_set), views)
    encoder = model.encoder.eval().to(device)

    def compute(pixel_values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            return encoder.begin(pixel_values.to(device), layers)

    cache.fill(data.train_set.view, compute)
    model.encoder.cpu()
    data.train_set.stored = cache
    module.cached = True


def _drawn(source: Source, out: Path) -> Source:
    """A source of drawn scenes becomes the COCO file they are in, drawn now unless they were."""
    if source.format != "shapes":
        return source
    folder = out / source.captions
    captions = folder / "captions.json"
    if not captions.exists():
        write_shapes(folder, source.limit or 1000, source.seed)
    return dataclasses.replace(source, captions=str(captions), format="coco", limit=None)


def _tokenizer(config: TrainingConfig, training: CaptionSet, out: Path) -> CaptionTokenizer:
    """The run's own, once it has one; else read or trained, and kept in ``out``."""
    kept = out / "tokenizer.json"
    if kept.exists():
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


def _trainer(config: TrainingConfig, out: Path, module: CaptionModule) -> pl.Trainer:
    train = config.train
    names = list(module.validation)
    callbacks: list[pl.Callback] = [EMAWeightAveraging(decay=train.ema_decay)] if train.ema_decay else []
    callbacks += [
        TrainingLog(out / "log.csv", train.log_every, config.data.batch_size, names),
        SampleCaptions(out / "samples.csv", module.validation),
        Progress(config.data.batch_size),
    ]
    folder = out / "checkpoints"
    if names:
        callbacks.append(
            ModelCheckpoint(
                folder, "best", monitor="CIDEr", mode="max", enable_version_counter=False, save_top_k=1
            )
        )
    callbacks.append(
        ModelCheckpoint(
            folder,
            "last",
            every_n_train_steps=train.checkpoint_every,
            save_top_k=1,
            enable_version_counter=False,
        )
    )
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return pl.Trainer(
        accelerator=train.accelerator,
        devices=train.devices,
        precision=choose_precision(train.precision, train.accelerator),
        max_epochs=train.epochs,
        max_steps=train.max_steps,
        gradient_clip_val=train.gradient_clip or None,
        accumulate_grad_batches=train.accumulate,
        callbacks=callbacks,
        logger=False,
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
            f"The checkpoint {path} can't be read ({_first_line(error)}); use --restart."
        ) from error


def _best_weights(checkpoints: Path) -> dict[str, Any] | None:
    best, last = checkpoints / "best.ckpt", checkpoints / "last.ckpt"
    path = best if best.exists() else last
    return _load_checkpoint(path) if path.exists() else None


def _cider(checkpoint: dict[str, Any]) -> float | None:
    for state in checkpoint["callbacks"].values():
        if (
            isinstance(state, dict)
            and state.get("monitor") == "CIDEr"
            and state.get("best_model_score") is not None
        ):
            return float(state["best_model_score"])
    return None


def _check_same_run(config: TrainingConfig, out: Path, resuming: bool) -> None:
    """A run goes on only with the settings it began with; how long and how often may change."""
    path = out / CONFIG_FILE
    text = describe(config)
    if resuming and path.exists() and path.read_text(encoding="utf-8") != text:
        import yaml

        before, now = yaml.safe_load(path.read_text(encoding="utf-8")), yaml.safe_load(text)
        changed = [
            f"{group}.{name}"
            for group in now
            for name in now[group]
            if now[group][name] != before.get(group, {}).get(name)
        ]
        free = {
            "train.epochs",
            "train.max_steps",
            "train.checkpoint_every",
            "train.log_every",
            "data.workers",
        }
        if set(changed) - free:
            raise ConfigError(
                f"{out} holds a run with other settings of {', '.join(sorted(set(changed) - free))}; "
                "give the same settings to go on, another --out, or --restart to begin anew."
            )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def describe(config: TrainingConfig) -> str:
    """The config as YAML, every default spelled out."""
    import yaml

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return str(yaml.safe_dump(plain(dataclasses.asdict(config)), sort_keys=False, allow_unicode=True))


def _say_start(
    config: TrainingConfig,
    training: CaptionSet,
    validation: dict[str, CaptionSet],
    model: CaptionModel,
    checkpoint: dict[str, Any] | None,
    out: Path,
) -> None:
    captions = sum(len(photo.captions) for photo in training)
    held = ", ".join(f"{name} {len(photos)}" for name, photos in validation.items()) or "none"
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) / 1e6
    print(
        f"wordgaze: {len(training)} training photos with {captions} captions; validation photos: {held}; "
        f"{size:.1f} M parameters, {learning:.1f} M learning; {config.train.epochs} epochs into {out}",
        file=sys.stderr,
    )
    if checkpoint is not None:
        print(
            f"wordgaze: going on from {out / 'checkpoints' / 'last.ckpt'}: "
            f"epoch {checkpoint['epoch'] + 1}, step {checkpoint['global_step']}",
            file=sys.stderr,
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
