"""How the tensors of a checkpoint become ours: a recipe for each of ours, and what is said where they do not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wordgaze.convert.checkpoint import Weights
from wordgaze.errors import ModelError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.empty import assign

Combine = Callable[..., Tensor]


@dataclass(frozen=True)
class Recipe:
    """One tensor of ours: what ``combine`` makes of the checkpoint's ``sources``, by default the only one as it is."""

    sources: tuple[str, ...]
    combine: Combine | None = None

    def __call__(self, tensors: Mapping[str, Tensor]) -> Tensor:
        given = [tensors[name] for name in self.sources]
        return given[0] if self.combine is None else self.combine(*given)


@dataclass
class Recipes:
    """Recipes by the name of our tensor.

    ``tied``: a tensor that copies another → that other; it may be missing, unless it is in ``needed``. ``unused``:
    patterns of names that a family carries without using them.
    """

    recipes: dict[str, Recipe] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)
    unused: list[str] = field(default_factory=list)

    def add(self, target: str, *sources: str, combine: Combine | None = None) -> None:
        """Enter the recipe of one tensor."""
        self.recipes[target] = Recipe(sources, combine)

    def add_layer(self, target: str, source: str, combine: Combine | None = None) -> None:
        """Enter weight and bias of a layer or norm that is the same in both."""
        for kind in ("weight", "bias"):
            self.add(f"{target}.{kind}", f"{source}.{kind}", combine=combine)

    def include(self, other: Recipes, target: str = "", source: str = "") -> None:
        """Enter those of a part, whose names get these prefixes on either side."""
        for name, recipe in other.recipes.items():
            sources = tuple(source + each for each in recipe.sources)
            self.recipes[target + name] = Recipe(sources, recipe.combine)
        self.tied |= {source + copy: source + original for copy, original in other.tied.items()}
        self.needed |= {source + name for name in other.needed}
        self.unused += [re.escape(source) + pattern for pattern in other.unused]


def fill(model: CaptionModel, recipes: Recipes, weights: Weights) -> None:
    """Give an empty model the tensors of a checkpoint, one after the other.

    Raises ModelError, which names the tensor, before any is read where names or shapes do not fit.
    """
    _check_names(recipes, weights)
    _check_shapes(model, recipes, weights)
    for copy, original in recipes.tied.items():
        if copy in weights and not torch.equal(weights[copy], weights[original]):
            raise ModelError(
                f"{weights.file}: {copy} differs from {original}; a model whose output layer is not tied to its "
                "embeddings can't be expressed here."
            )
    ours = {}
    for target, recipe in recipes.recipes.items():
        ours[target] = recipe({name: weights[name] for name in recipe.sources}).contiguous()
    assign(model, ours)


def _check_names(recipes: Recipes, weights: Weights) -> None:
    used = {name for recipe in recipes.recipes.values() for name in recipe.sources}
    if missing := sorted((used | recipes.needed) - set(weights)):
        raise ModelError(
            f"{weights.file} has no tensor {missing[0]}{_more(missing)}, so it is not the whole model of its "
            "config.json; download it again, or use another checkpoint."
        )
    unused = re.compile("|".join(f"(?:{pattern})" for pattern in recipes.unused) or r"(?!)")
    extra = sorted(name for name in set(weights) - used if name not in recipes.tied and not unused.fullmatch(name))
    if extra:
        raise ModelError(
            f"{weights.file} has a tensor {extra[0]}{_more(extra)}, which a model of its config.json does not have; "
            "use a checkpoint that fits its config.json."
        )


def _check_shapes(model: CaptionModel, recipes: Recipes, weights: Weights) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert set(expected) == set(recipes.recipes), set(expected) ^ set(recipes.recipes)
    shapes = {name: torch.empty(shape, device="meta") for name, shape in weights.shapes.items()}
    for target, recipe in recipes.recipes.items():
        try:
            result = tuple(recipe(shapes).shape)
        except (RuntimeError, IndexError, ValueError):  # tensors that can't even be put together
            result = None
        if result != expected[target]:
            said = ", ".join(f"{name} of shape {weights.shapes[name]}" for name in recipe.sources)
            raise ModelError(
                f"{weights.file} has {said}, which does not make the {expected[target]} that its config.json says; "
                "take both files from the same checkpoint."
            )


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
