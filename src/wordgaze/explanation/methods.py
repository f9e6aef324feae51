"""One map for each word of a finished caption, from one teacher-forced pass over its ids.

Letters: T ids of the caption (start and end included), P = T - 1 predictions, N patches (H_p × W_p), S = N
and the prefix tokens before them.

A method's name is what its rows (P, S) are made of: ``gradient``, ``rollout``, ``contrast``, ``mean``, ``last``,
``layer-1``, ``layer-1-head-0``, or several of these joined by ``+``, whose rows are then averaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from wordgaze.errors import ConfigError
from wordgaze.explanation.forced_pass import ForcedPass, forced_passes, with_gradients, with_rollout

if TYPE_CHECKING:
    from wordgaze.model.caption_model import CaptionModel
    from wordgaze.text.tokenizer import WordSpan


@dataclass(frozen=True)
class Method:
    """``rows``: a pass → weights (P, S), at least 0, whose scale does not matter; ``raw``: its softmax rows alone.

    ``needs`` ``gradient`` or ``rollout``: the pass's ``relevances`` (:mod:`wordgaze.explanation.forced_pass`).
    """

    rows: Callable[[ForcedPass], Tensor]
    raw: Callable[[ForcedPass], Tensor]
    needs: str = ""


def _mean(forced: ForcedPass) -> Tensor:
    """Return the mean of all layers and heads."""
    return torch.stack(forced.cross_attentions).mean(dim=(0, 1))


def _last(forced: ForcedPass) -> Tensor:
    """Return the mean of the last layer's heads."""
    return forced.cross_attentions[-1].mean(dim=0)


def _contrast(forced: ForcedPass) -> Tensor:
    """Return what the last layer looks at more for one word than for the caption as a whole."""
    return _less_the_mean(_last(forced))


def _relevance(forced: ForcedPass) -> Tensor:
    """Return the sum over the layers: a layer that the word does not depend on has small gradients, and adds little."""
    assert forced.relevances is not None
    return torch.stack(forced.relevances).sum(dim=0)


METHODS: dict[str, Method] = {
    "gradient": Method(_relevance, _mean, needs="gradient"),
    "rollout": Method(_relevance, _mean, needs="rollout"),
    "contrast": Method(_contrast, _last),
    "last": Method(_last, _last),
    "mean": Method(_mean, _mean),
}
"""Methods that any model has; ``layer-0``, ``layer-0-head-0`` and so on come with its layers. Add a method here."""

DEFAULT_METHOD = "gradient"


@dataclass(frozen=True)
class PostProcessing:
    """How rows (P, N) are changed before they are maps, in this order; each row sums to one afterwards.

    ``outliers``: patches whose mean over the caption lies so many interquartile ranges above the third quartile take
    the mean of their neighbors (some patches draw every word's attention whatever they show: "registers" of Darcet et
    al. 2024); None: never. ``mean``: how much of the caption's mean row is subtracted, clipped at zero. ``smooth``:
    the standard deviation, in patches, of a Gaussian that each row is blurred with; beyond the edges is nothing.
    """

    outliers: float | None = None
    mean: float = 0.0
    smooth: float = 0.0


DEFAULT_POST_PROCESSING = PostProcessing(smooth=1.5)
"""With ``DEFAULT_METHOD`` the pair that points best for the bundled model, by ``scripts.experiments.choose_maps``."""

_LAYER = re.compile(r"layer-(\d+)(?:-head-(\d+))?")


def available_methods(layers: int) -> tuple[str, ...]:
    """Return the names of the methods of a decoder of ``layers`` layers; heads and sums of methods come on top."""
    return (*METHODS, *(f"layer-{index}" for index in range(layers)))


def find_method(name: str, layers: int, heads: int) -> tuple[Method, ...]:
    """Return the methods that ``name`` joins by ``+``; raise ConfigError for one that the decoder does not have."""
    methods = []
    for part in name.split("+"):
        match = _LAYER.fullmatch(part)
        layer, head = (int(match[1]), int(match[2] or 0)) if match else (0, 0)
        if part in METHODS:
            methods.append(METHODS[part])
        elif match and layer < layers and head < heads:
            methods.append(_of_layer(layer, None if match[2] is None else head))
        else:
            known = ", ".join(available_methods(layers))
            raise ConfigError(
                f"There is no method {part!r} for maps; choose {known}, a head such as layer-0-head-{heads - 1}, "
                "or several joined by +."
            )
    return tuple(methods)


def _of_layer(layer: int, head: int | None) -> Method:
    def rows(forced: ForcedPass) -> Tensor:
        weights = forced.cross_attentions[layer]
        return weights.mean(dim=0) if head is None else weights[head]

    return Method(rows, rows)


@dataclass(frozen=True, eq=False)
class WordMap:
    """A word, its probability (the product of those of its tokens), and its map (H_p, W_p) float32, of sum one.

    ``entropy``: of the map in bits, from 0 (one patch) to log₂ N (all patches alike). ``prefix``: the share that went
    to the tokens before the patches, which the map leaves out; None where the decoder sees no such tokens.
    """

    text: str
    probability: float
    entropy: float
    map: np.ndarray
    prefix: float | None = None


@dataclass(frozen=True, eq=False)
class WordMaps:
    """The words of a caption with their maps over patches of ``grid_size`` (H_p, W_p).

    ``log_probability``: natural logarithm, of the whole caption with its end. ``words_attention`` (words, 1 + words)
    float32: how much self-attention each word paid, while it was predicted, to the start of the caption and to each
    word; mean over layers and heads, rows summing to one.
    """

    words: tuple[WordMap, ...]
    grid_size: tuple[int, int]
    log_probability: float
    words_attention: np.ndarray

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.words)

    @property
    def maps(self) -> np.ndarray:
        """Return the words' maps (words, H_p, W_p)."""
        maps = [word.map for word in self.words]
        return np.array(maps, np.float32).reshape(len(maps), *self.grid_size)


def word_maps(
    model: CaptionModel,
    encoder_hidden_states: Tensor,
    captions: Sequence[tuple[Sequence[int], Sequence[WordSpan]]],
    method: str = DEFAULT_METHOD,
    *,
    raw: bool = False,
    pixel_values: Tensor | None = None,
    hflip_tta: bool = False,
) -> list[WordMaps]:
    """Return the maps of captions of one photo; each caption: its ids, start token first, and where its words are.

    The photo's states are (1, S, D). The ids are read again, so the maps belong to this caption whatever search found
    it. ``raw``: the softmax rows of the method's layers, as they are. For ``rollout``: ``pixel_values``
    (1, 3, H, W), and whether the states are of ``encode_with_hflip``. Leaves nothing behind on ``model``. Raises
    ConfigError for an unknown method, and for ``rollout`` where the encoder's attention can't be read.
    """
    config = model.config.decoder
    methods = find_method(method, config.layers, config.heads)
    needs = set() if raw else {part.needs for part in methods} - {""}
    forced = forced_passes(model, encoder_hidden_states, [ids for ids, _ in captions])
    maps = []
    for (ids, spans), plain in zip(captions, forced, strict=True):
        passes = {"": plain}
        if "gradient" in needs:
            passes["gradient"] = with_gradients(model, encoder_hidden_states, ids, plain)
        if "rollout" in needs:
            assert pixel_values is not None
            passes["rollout"] = with_rollout(model, pixel_values, ids, plain, hflip_tta)
        rows = rows_of(methods, passes, model.num_prefix, raw)
        if not raw:
            rows = post_process(rows, model.grid, DEFAULT_POST_PROCESSING)
        prefix = prefix_shares(methods, passes, model.num_prefix, raw) if model.num_prefix else None
        maps.append(merge_words(rows, plain, spans, model.grid, prefix))
    return maps


def rows_of(methods: Sequence[Method], passes: Mapping[str, ForcedPass], num_prefix: int, raw: bool = False) -> Tensor:
    """Return the mean of the methods' rows over patches (P, N); ``passes`` by what methods need."""
    return torch.stack([over_patches(row, num_prefix) for row in _rows(methods, passes, raw)]).mean(dim=0)


def prefix_shares(
    methods: Sequence[Method], passes: Mapping[str, ForcedPass], num_prefix: int, raw: bool = False
) -> Tensor:
    """Return the share (P,) of the methods' rows that lies on the ``num_prefix`` tokens before the patches."""
    shares = [
        rows[:, :num_prefix].sum(dim=-1) / rows.sum(dim=-1).clamp(min=torch.finfo(rows.dtype).tiny)
        for rows in _rows(methods, passes, raw)
    ]
    return torch.stack(shares).mean(dim=0)


def _rows(methods: Sequence[Method], passes: Mapping[str, ForcedPass], raw: bool) -> list[Tensor]:
    return [method.raw(passes[""]) if raw else method.rows(passes[method.needs]) for method in methods]


def over_patches(weights: Tensor, num_prefix: int = 0) -> Tensor:
    """Return weights (P, S) without those of the prefix tokens (P, N), each row summing to one."""
    patches = weights[:, num_prefix:]
    total = patches.sum(dim=-1, keepdim=True)
    # A row that gave all to the prefix tokens says nothing about the patches.
    return torch.where(total > 0, patches / total, 1 / patches.shape[-1])


def post_process(rows: Tensor, grid: tuple[int, int], processing: PostProcessing) -> Tensor:
    """Return rows (P, N) over patches of ``grid`` (H_p, W_p) processed, each summing to one."""
    with torch.autocast("cpu", enabled=False):  # sums of a lower precision would not be one
        if processing.outliers is not None:
            rows = over_patches(_without_outliers(rows, grid, processing.outliers))
        if processing.mean:
            rows = over_patches(_less_the_mean(rows, processing.mean))
        if processing.smooth:
            down, across = (_blur(side, processing.smooth) for side in grid)
            rows = over_patches((down @ rows.reshape(-1, *grid) @ across).flatten(1))
    return rows


def _less_the_mean(rows: Tensor, share: float = 1.0) -> Tensor:
    less = (rows - share * rows.mean(dim=0)).clamp(min=0)
    return torch.where(less.sum(dim=-1, keepdim=True) > 1e-6, less, rows)  # alike for all words: as it is


def _without_outliers(rows: Tensor, grid: tuple[int, int], ranges: float) -> Tensor:
    mean = rows.mean(dim=0)
    first, third = torch.quantile(mean, torch.tensor([0.25, 0.75]))
    outlier = (mean > third + ranges * (third - first)).reshape(grid)
    inliers = (~outlier).float()
    down, across = (torch.ones(side, side).tril(1).triu(-1) for side in grid)  # each patch and its neighbors
    maps = rows.reshape(-1, *grid)
    around = (down @ (maps * inliers) @ across) / (down @ inliers @ across).clamp(min=1)
    return torch.where(outlier, around, maps).flatten(1)


def _blur(side: int, width: float) -> Tensor:
    """Return (side, side): a Gaussian around each position; what falls beyond the edges is lost."""
    positions = torch.arange(side)
    offsets = torch.arange(-side, side + 1)
    kernel = torch.exp(-0.5 * ((positions[:, None] - positions) / width) ** 2)
    return kernel / torch.exp(-0.5 * (offsets / width) ** 2).sum()


def merge_words(
    rows: Tensor,
    forced: ForcedPass,
    spans: Sequence[WordSpan],
    grid: tuple[int, int],
    prefix: Tensor | None = None,
) -> WordMaps:
    """Return the words with their maps, the mean of their tokens' rows (P, N), and what else the pass says of them.

    ``prefix`` (P,): the shares of the rows that went to the tokens before the patches, if there are any.
    """
    assert all(1 <= span.start < span.stop <= len(rows) + 1 for span in spans)
    maps = torch.zeros(len(spans), rows.shape[-1])
    attention = torch.zeros(len(spans), 1 + len(spans))
    self_attention = torch.stack(forced.attentions).mean(dim=(0, 1))  # (P, P)
    probabilities = []
    shares: list[float | None] = []
    for index, span in enumerate(spans):
        predicting = slice(span.start - 1, span.stop - 1)  # a token is predicted one position before its own
        maps[index] = rows[predicting].mean(dim=0)
        shares.append(None if prefix is None else float(prefix[predicting].mean()))
        probabilities.append(float(forced.log_probabilities[predicting].sum().exp()))
        attention[index, 0] = self_attention[predicting, 0].mean()
        for column, other in enumerate(spans, start=1):
            attention[index, column] = self_attention[predicting, other.start : other.stop].sum(dim=-1).mean()
    entropies = (torch.special.entr(maps).sum(dim=-1) / np.log(2)).tolist()
    texts, grids = [span.text for span in spans], maps.reshape(len(spans), *grid).numpy()
    return WordMaps(
        words=tuple(map(WordMap, texts, probabilities, entropies, grids, shares)),
        grid_size=grid,
        log_probability=float(forced.log_probabilities.sum()),
        words_attention=over_patches(attention).numpy(),
    )
