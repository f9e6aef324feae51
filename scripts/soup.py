"""The mean of several models' weights, as one model folder (Wortsman et al. 2022, model soups).

    python scripts/soup.py runs/bundled_scst runs/bundled_upper_scst --out runs/bundled_soup

For runs that began from the same weights and went different ways: what each learnt by heart differs, and the mean knows
less of it. Preprocessing and search are the last model's; sizes and tokenizer all must share.

    python scripts/soup.py runs/bundled_vit --out runs/soup --learnt runs/bundled_scst runs/bundled_paired --scale 0.8

adds what a stage has changed in its weights, or a share of it, to a model that was trained otherwise (Ilharco et al.
2023, task arithmetic); of several stages the mean.

``--round 4`` makes the result smaller where it is compressed, in a wheel or a repository: by two fifths.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch

from wordgaze.files import check_script, model_files
from wordgaze.hub import TOKENIZER, ModelParts, load_folder, save_folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="model folders, weighing the same")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--learnt",
        type=Path,
        nargs=2,
        action="append",
        default=[],
        metavar=("AFTER", "BEFORE"),
        help="adds the weights of AFTER less those of BEFORE; of several pairs their mean",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how much of that mean is added")
    parser.add_argument("--length_penalty", type=float, help="of the search, otherwise the last model's")
    parser.add_argument(
        "--stretch", type=float, help="how far photos are squeezed, otherwise as the last model's"
    )
    parser.add_argument(
        "--mirrored",
        action=argparse.BooleanOptionalAction,
        help="whether a photo is seen a second time, mirrored, otherwise as the last model has it",
    )
    parser.add_argument(
        "--round",
        type=int,
        metavar="BITS",
        help="rounds what differs between the models, row by row, to steps of 2^-BITS standard deviations or less",
    )
    arguments = parser.parse_args()
    given = [*arguments.folders, *chain.from_iterable(arguments.learnt)]
    check_script(parser, model_files(arguments.out), chain.from_iterable(map(model_files, given)))
    parts, shared = mean_of(arguments.folders)
    if arguments.learnt:
        parts = with_learnt(arguments.folders[-1], parts, arguments.learnt, arguments.scale)
    if arguments.round is not None:
        round_weights(parts, shared, arguments.round)
    if arguments.length_penalty is not None:
        parts.generation = replace(parts.generation, length_penalty=arguments.length_penalty)
    if arguments.stretch is not None:
        parts.preprocessing = replace(parts.preprocessing, stretch=arguments.stretch)
    if arguments.mirrored is not None:
        parts.preprocessing = replace(parts.preprocessing, mirrored=arguments.mirrored)
    save_folder(parts, arguments.out)
    added = f", and what {len(arguments.learnt)} stages learnt" if arguments.learnt else ""
    count = len(arguments.folders)
    print(f"{arguments.out}: {f'the mean of {count} models' if count > 1 else arguments.folders[0]}{added}")


def mean_of(folders: Sequence[Path]) -> tuple[ModelParts, set[str]]:
    """The last of the models, with the mean of all their weights; those that all share keep their bits.

    Also which tensors those are: of a single model none.
    """
    models = _load_alike(folders)
    states = [each.model.state_dict() for each in models]
    same = {
        name
        for name, tensor in states[-1].items()
        if all(torch.equal(state[name], tensor) for state in states)
    }
    mean = {
        name: tensor if name in same else torch.stack([state[name] for state in states]).mean(dim=0)
        for name, tensor in states[-1].items()
    }
    models[-1].model.load_state_dict(mean)
    parts = replace(models[-1], card=None, confidence=None)  # both speak of the last model alone
    return parts, same if len(models) > 1 else set()


def with_learnt(
    folder: Path, mean: ModelParts, stages: Sequence[Sequence[Path]], scale: float = 1.0
) -> ModelParts:
    """``mean``, of the sizes and tokenizer of ``folder``, plus ``scale`` times the mean of ``stages``' changes."""
    state = mean.model.state_dict()
    *learnt, _ = (each.model.state_dict() for each in _load_alike([*chain(*stages), folder]))
    for after, before in zip(learnt[::2], learnt[1::2], strict=True):
        for name, tensor in state.items():
            if tensor.is_floating_point():  # else a count of batch norm's
                tensor += (after[name] - before[name]) * (scale / len(stages))
    return mean


def round_weights(parts: ModelParts, shared: set[str], bits: int) -> None:
    """Rounds the matrices of ``parts`` but those that are ``shared``, row by row.

    A row of standard deviation s becomes multiples of the largest power of two that is no more than s / 2**bits; of
    that step the root mean square error is 0.29. float16 keeps such numbers exactly, most of its last bits being zero.
    """
    for name, tensor in parts.model.state_dict().items():
        if tensor.ndim < 2 or name in shared:
            continue
        rows = tensor.flatten(1)
        deviation = rows.std(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float16).tiny)
        step = torch.exp2(torch.floor(torch.log2(deviation)) - bits)
        tensor.copy_((torch.round(rows / step) * step).view_as(tensor))


def _load_alike(folders: Sequence[Path]) -> list[ModelParts]:
    """The models; refused where one has other sizes, or another tokenizer, than the last."""
    models = [load_folder(folder) for folder in folders]
    sizes = [{name: tensor.shape for name, tensor in each.model.state_dict().items()} for each in models]
    words = [(folder / TOKENIZER).read_bytes() for folder in folders]
    for folder, size, tokenizer in zip(folders, sizes, words, strict=True):
        if (size, tokenizer) != (sizes[-1], words[-1]):
            raise SystemExit(
                f"{folder} differs from {folders[-1]} in its sizes or tokenizer: their weights have no mean."
            )
    return models


if __name__ == "__main__":
    main()
