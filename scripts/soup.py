"""The mean of several models' weights, as one model folder (Wortsman et al. 2022, model soups).

    python scripts/soup.py runs/bundled_scst runs/bundled_upper_scst --out runs/bundled_soup

For runs that began from the same weights and went different ways: what each learnt by heart differs, and the mean knows
less of it. Preprocessing and search are the last model's; encoder and tokenizer all must share.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from wordgaze.hub import TOKENIZER, ModelParts, load_folder, save_folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="model folders, weighing the same")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--length_penalty", type=float, help="of the search, otherwise the last model's")
    arguments = parser.parse_args()
    parts = mean_of(arguments.folders)
    if arguments.length_penalty is not None:
        parts.generation = replace(parts.generation, length_penalty=arguments.length_penalty)
    save_folder(parts, arguments.out)
    print(f"{arguments.out}: the mean of {len(arguments.folders)} models")


def mean_of(folders: Sequence[Path]) -> ModelParts:
    """The last of the models, with the mean of all their weights; those that all share keep their bits."""
    models = [load_folder(folder) for folder in folders]
    last = models[-1]
    for folder, each in zip(folders, models, strict=True):
        if (
            each.model.config.encoder != last.model.config.encoder
            or (folder / TOKENIZER).read_bytes() != (folders[-1] / TOKENIZER).read_bytes()
        ):
            raise SystemExit(
                f"{folder} differs from {folders[-1]} in its encoder or tokenizer: they have no mean."
            )
    states = [each.model.state_dict() for each in models]
    mean = {
        name: tensor
        if all(torch.equal(state[name], tensor) for state in states)
        else torch.stack([state[name] for state in states]).mean(dim=0)
        for name, tensor in states[-1].items()
    }
    last.model.load_state_dict(mean)
    return replace(last, card=None, confidence=None)  # both speak of the last model alone


if __name__ == "__main__":
    main()
