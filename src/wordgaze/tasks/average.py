"""Averages the weights of several models, and adds what other stages of training learned.

This is for runs that began from the same weights and went different ways: what each memorized differs, and the mean
keeps less of it (Wortsman et al. 2022, model soups). What a stage changed in its weights can be added to a model that
was trained otherwise (Ilharco et al. 2023, task arithmetic).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from wordgaze.errors import ConfigError, ModelError
from wordgaze.files import AnyPath, check_output_folder, check_outputs, model_files
from wordgaze.folder import TOKENIZER, WEIGHTS, ModelParts, load_folder, save_folder

Weights = Mapping[str, Tensor]
Stage = tuple[AnyPath, AnyPath]
"""The model folders after and before a stage of training."""


@dataclass(frozen=True)
class Settings:
    """Settings of the saved model; None keeps the last model's."""

    length_penalty: float | None = None
    stretch: float | None = None
    mirrored: bool | None = None

    def apply(self, parts: ModelParts) -> ModelParts:
        """Return ``parts`` with these settings; raise ConfigError for values that make no sense."""
        settings = {"max_aspect_change": self.stretch, "hflip_tta": self.mirrored}
        given = {name: value for name, value in settings.items() if value is not None}
        parts = replace(parts, preprocessing=replace(parts.preprocessing, **given))  # type: ignore[arg-type]
        if self.length_penalty is None:
            return parts
        return replace(parts, generation=replace(parts.generation, length_penalty=self.length_penalty))


def average(
    folders: Sequence[AnyPath],
    out: AnyPath,
    *,
    stages: Sequence[Stage] = (),
    scale: float = 1.0,
    round_bits: int | None = None,
    settings: Settings | None = None,
) -> None:
    """Save in ``out`` the mean of the models in ``folders``, plus ``scale`` times the mean change of the ``stages``.

    Tokenizer, preprocessing and search are the last model's, except for ``settings``. ``round_bits``: see
    :func:`rounded`. The card and the confidence describe one model, and are kept only where that model is written
    unchanged. Raises ConfigError, also where ``out`` is one of the models, and ModelError.
    """
    given = [*folders, *chain.from_iterable(stages)]
    check_output_folder(out)
    check_outputs(model_files(out) if Path(out).is_dir() else [], chain.from_iterable(map(model_files, given)))
    if not math.isfinite(scale):
        raise ConfigError(f"The scale is {scale}; it must be a finite number.")
    models = load_alike(given, folders[-1])
    last = models[Path(folders[-1])]
    states = {folder: model.model.state_dict() for folder, model in models.items()}
    mean, shared = mean_of([states[Path(folder)] for folder in folders])
    changes = [(states[Path(after)], states[Path(before)]) for after, before in stages]
    weights = with_learned(mean, changes, scale)
    if round_bits is not None:
        weights = rounded(weights, shared, round_bits)
    parts = last if settings is None else settings.apply(last)
    if len(folders) > 1 or stages or round_bits is not None or parts != last:
        parts.model.load_state_dict(weights)
        save_folder(replace(parts, card=None, confidence=None), out)
    else:
        save_folder(last, out, dtype=_stored_dtype(folders[-1]))


def load_alike(folders: Iterable[AnyPath], like: AnyPath) -> dict[Path, ModelParts]:
    """Load each model once; raise ModelError where one differs from ``like`` in sizes or tokenizer."""
    like, models = Path(like), {}
    for folder in dict.fromkeys([like, *map(Path, folders)]):
        models[folder] = load_folder(folder)
        if _shape(folder, models[folder]) != _shape(like, models[like]):
            raise ModelError(
                f"{folder} differs from {like} in its sizes or tokenizer, so their weights can't be averaged; "
                "name models of the same config and tokenizer."
            )
    return models


def mean_of(states: Sequence[Weights]) -> tuple[dict[str, Tensor], set[str]]:
    """Return the mean of the weights, and the names of those that all models share.

    Shared weights keep their bits; those of a single model don't count as shared. Counts (of batch norm) are the last
    model's.
    """
    last = states[-1]
    shared = {name for name, tensor in last.items() if all(torch.equal(state[name], tensor) for state in states)}
    mean = {
        name: tensor.clone()
        if name in shared or not tensor.is_floating_point()
        else torch.stack([state[name] for state in states]).mean(dim=0)
        for name, tensor in last.items()
    }
    return mean, shared if len(states) > 1 else set()


def with_learned(weights: Weights, stages: Sequence[tuple[Weights, Weights]], scale: float) -> dict[str, Tensor]:
    """Return ``weights`` plus ``scale`` times the mean of what the ``stages`` changed, each from (after, before)."""
    total = dict(weights)
    for after, before in stages:
        for name, tensor in total.items():
            # Else a count of batch norm.
            if tensor.is_floating_point():
                total[name] = tensor + (after[name] - before[name]) * (scale / len(stages))
    return total


def rounded(weights: Weights, shared: set[str], bits: int) -> dict[str, Tensor]:
    """Return ``weights`` with the matrices that are not ``shared`` rounded row by row, so that they compress better.

    A row of standard deviation s becomes multiples of the largest power of two that is at most s / 2**bits; the root
    mean square error is 0.29 of that step. float16 keeps such numbers exactly, and most of their last bits are zero.
    """
    result = dict(weights)
    for name, tensor in weights.items():
        if tensor.ndim < 2 or name in shared:
            continue
        rows = tensor.flatten(1)
        deviation = rows.std(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float16).tiny)
        step = torch.exp2(torch.floor(torch.log2(deviation)) - bits)
        result[name] = (torch.round(rows / step) * step).view_as(tensor)
    return result


def _shape(folder: Path, parts: ModelParts) -> tuple[dict[str, torch.Size], bytes]:
    sizes = {name: tensor.shape for name, tensor in parts.model.state_dict().items()}
    return sizes, (folder / TOKENIZER).read_bytes()


def _stored_dtype(folder: AnyPath) -> str:
    with safe_open(Path(folder, WEIGHTS), framework="pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    return "float16" if "F16" in kinds and "F32" not in kinds else "float32"
