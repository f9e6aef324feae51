"""One map for each word of a finished caption, from one teacher-forced pass over its ids. Imports no torch.

Letters: T ids of the caption (start and end included), P = T - 1 predictions, N patches (H_p × W_p), S = N
and the prefix tokens before them.

A method's name is what its rows (P, S) are made of: ``gradient``, ``rollout``, ``contrast``, ``mean``, ``last``,
``layer-1``, ``layer-1-head-0``, or several of these joined by ``+``, whose rows are then averaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wordgaze.errors import ConfigError
from wordgaze.explanation.attentions import AttentionReader, ForcedPass
from wordgaze.text.tokenizer import WordSpan


@dataclass(frozen=True)
class Method:
    """``rows``: a pass → weights (P, S), at least 0, whose scale does not matter; ``raw``: its softmax rows alone.

    ``needs`` ``gradient`` or ``rollout``: the pass's ``relevances`` (:mod:`wordgaze.explanation.attentions`).
    """

    rows: Callable[[ForcedPass], np.ndarray]
    raw: Callable[[ForcedPass], np.ndarray]
    needs: str = ""


def _mean(forced: ForcedPass) -> np.ndarray:
    """Return the mean of all layers and heads."""
    return np.stack(forced.cross_attentions).mean(axis=(0, 1))


def _last(forced: ForcedPass) -> np.ndarray:
    """Return the mean of the last layer's heads."""
    return forced.cross_attentions[-1].mean(axis=0)


def _contrast(forced: ForcedPass) -> np.ndarray:
    """Return what the last layer looks at more for one word than for the caption as a whole."""
    return _less_the_mean(_last(forced))


def _relevance(forced: ForcedPass) -> np.ndarray:
    """Return the sum over the layers: a layer that the word does not depend on has small gradients, and adds little."""
    assert forced.relevances is not None
    return np.stack(forced.relevances).sum(axis=0)


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
    def rows(forced: ForcedPass) -> np.ndarray:
        weights = forced.cross_attentions[layer]
        return weights.mean(axis=0) if head is None else weights[head]

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
    reader: AttentionReader,
    states: Any,
    captions: Sequence[tuple[Sequence[int], Sequence[WordSpan]]],
    method: str = DEFAULT_METHOD,
    *,
    raw: bool = False,
    pixel_values: Any = None,
    hflip_tta: bool = False,
) -> list[WordMaps]:
    """Return the maps of captions of one photo; each caption: its ids, start token first, and where its words are.

    The photo's states are (1, S, D). The ids are read again, so the maps belong to this caption whatever search found
    it. ``raw``: the softmax rows of the method's layers, as they are. For ``rollout``: ``pixel_values``
    (1, 3, H, W), and whether the states are of ``encode_with_hflip``. Leaves nothing behind on the model. Raises
    ConfigError for an unknown method, and for ``rollout`` where the encoder's attention can't be read.
    """
    methods = find_method(method, reader.decoder.layers, reader.decoder.heads)
    needs = set() if raw else {part.needs for part in methods} - {""}
    forced = reader.forced_passes(states, [ids for ids, _ in captions])
    maps = []
    for (ids, spans), plain in zip(captions, forced, strict=True):
        passes = {"": plain}
        if "gradient" in needs:
            passes["gradient"] = reader.with_gradients(states, ids, plain)
        if "rollout" in needs:
            assert pixel_values is not None
            passes["rollout"] = reader.with_rollout(pixel_values, ids, plain, hflip_tta)
        rows = rows_of(methods, passes, reader.num_prefix, raw)
        if not raw:
            rows = post_process(rows, reader.grid, DEFAULT_POST_PROCESSING)
        prefix = prefix_shares(methods, passes, reader.num_prefix, raw) if reader.num_prefix else None
        maps.append(merge_words(rows, plain, spans, reader.grid, prefix))
    return maps


def rows_of(
    methods: Sequence[Method], passes: Mapping[str, ForcedPass], num_prefix: int, raw: bool = False
) -> np.ndarray:
    """Return the mean of the methods' rows over patches (P, N); ``passes`` by what methods need."""
    return np.stack([over_patches(row, num_prefix) for row in _rows(methods, passes, raw)]).mean(axis=0)


def prefix_shares(
    methods: Sequence[Method], passes: Mapping[str, ForcedPass], num_prefix: int, raw: bool = False
) -> np.ndarray:
    """Return the share (P,) of the methods' rows that lies on the ``num_prefix`` tokens before the patches."""
    shares = [
        rows[:, :num_prefix].sum(axis=-1) / np.maximum(rows.sum(axis=-1), np.finfo(rows.dtype).tiny)
        for rows in _rows(methods, passes, raw)
    ]
    return np.stack(shares).mean(axis=0)


def _rows(methods: Sequence[Method], passes: Mapping[str, ForcedPass], raw: bool) -> list[np.ndarray]:
    return [method.raw(passes[""]) if raw else method.rows(passes[method.needs]) for method in methods]


def over_patches(weights: np.ndarray, num_prefix: int = 0) -> np.ndarray:
    """Return weights (P, S) without those of the prefix tokens (P, N), each row summing to one."""
    patches = weights[:, num_prefix:]
    total = patches.sum(axis=-1, keepdims=True)
    # A row that gave all to the prefix tokens says nothing about the patches.
    even = np.full_like(patches, 1 / patches.shape[-1])
    return np.divide(patches, total, out=even, where=total > 0)


def post_process(rows: np.ndarray, grid: tuple[int, int], processing: PostProcessing) -> np.ndarray:
    """Return rows (P, N) over patches of ``grid`` (H_p, W_p) processed, each summing to one."""
    if processing.outliers is not None:
        rows = over_patches(_without_outliers(rows, grid, processing.outliers))
    if processing.mean:
        rows = over_patches(_less_the_mean(rows, processing.mean))
    if processing.smooth:
        down, across = (_blur(side, processing.smooth) for side in grid)
        rows = over_patches((down @ rows.reshape(-1, *grid) @ across).reshape(rows.shape))
    return rows


def _less_the_mean(rows: np.ndarray, share: float = 1.0) -> np.ndarray:
    less = np.maximum(rows - share * rows.mean(axis=0), 0)
    return np.where(less.sum(axis=-1, keepdims=True) > 1e-6, less, rows)  # alike for all words: as it is


def _without_outliers(rows: np.ndarray, grid: tuple[int, int], ranges: float) -> np.ndarray:
    mean = rows.mean(axis=0)
    first, third = np.quantile(mean, [0.25, 0.75])
    outlier = (mean > third + ranges * (third - first)).reshape(grid)
    inliers = (~outlier).astype(np.float32)
    down, across = (np.triu(np.tri(side, k=1, dtype=np.float32), -1) for side in grid)  # each patch and its neighbors
    maps = rows.reshape(-1, *grid)
    around = (down @ (maps * inliers) @ across) / np.maximum(down @ inliers @ across, 1)
    return np.where(outlier, around, maps).reshape(rows.shape)


def _blur(side: int, width: float) -> np.ndarray:
    """Return (side, side): a Gaussian around each position; what falls beyond the edges is lost."""
    positions, offsets = np.arange(side, dtype=np.float32), np.arange(-side, side + 1, dtype=np.float32)
    kernel = np.exp(-0.5 * ((positions[:, None] - positions) / width) ** 2)
    return kernel / np.exp(-0.5 * (offsets / width) ** 2).sum()


def merge_words(
    rows: np.ndarray,
    forced: ForcedPass,
    spans: Sequence[WordSpan],
    grid: tuple[int, int],
    prefix: np.ndarray | None = None,
) -> WordMaps:
    """Return the words with their maps, the mean of their tokens' rows (P, N), and what else the pass says of them.

    ``prefix`` (P,): the shares of the rows that went to the tokens before the patches, if there are any.
    """
    assert all(1 <= span.start < span.stop <= len(rows) + 1 for span in spans)
    maps = np.zeros((len(spans), rows.shape[-1]), np.float32)
    attention = np.zeros((len(spans), 1 + len(spans)), np.float32)
    self_attention = np.stack(forced.attentions).mean(axis=(0, 1))  # (P, P)
    probabilities = []
    shares: list[float | None] = []
    for index, span in enumerate(spans):
        predicting = slice(span.start - 1, span.stop - 1)  # a token is predicted one position before its own
        maps[index] = rows[predicting].mean(axis=0)
        shares.append(None if prefix is None else float(prefix[predicting].mean()))
        probabilities.append(float(np.exp(forced.log_probabilities[predicting].sum())))
        attention[index, 0] = self_attention[predicting, 0].mean()
        for column, other in enumerate(spans, start=1):
            attention[index, column] = self_attention[predicting, other.start : other.stop].sum(axis=-1).mean()
    entropies = 0 - (maps * np.log2(maps, out=np.zeros_like(maps), where=maps > 0)).sum(axis=-1)
    texts, grids = [span.text for span in spans], maps.reshape(len(spans), *grid)
    return WordMaps(
        words=tuple(map(WordMap, texts, probabilities, entropies.tolist(), grids, shares)),
        grid_size=grid,
        log_probability=float(forced.log_probabilities.sum()),
        words_attention=over_patches(attention),
    )
