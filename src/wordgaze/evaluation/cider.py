"""CIDEr-D of tokenized captions, with references prepared once (Vedantam et al. 2015, section 4)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError

Tokens = Sequence[Hashable]
_WORD_BITS = 31


@dataclass(frozen=True)
class _Counts:
    """The n-grams of one length: `ids[i]` stands `times[i]` times in sentence `rows[i]`, in order of appearance."""

    rows: np.ndarray
    ids: np.ndarray
    times: np.ndarray


class _NgramIndex:
    """Integer ids for words and n-grams; an n-gram is (the id of its first n-1 words, its last word)."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.words: dict[Hashable, int] = {}
        self.keys: list[np.ndarray] = [np.empty(0, np.int64) for _ in range(n - 1)]  # sorted, per length > 1
        self.ids: list[np.ndarray] = [np.empty(0, np.int64) for _ in range(n - 1)]  # of those keys

    def copy(self) -> _NgramIndex:
        """The same ids, free to learn more."""
        new = _NgramIndex(self.n)
        new.words, new.keys, new.ids = dict(self.words), list(self.keys), list(self.ids)
        return new

    def size(self, order: int) -> int:
        """How many n-grams of `order` + 1 words have an id."""
        return len(self.words) if order == 0 else len(self.keys[order - 1])

    def count(self, sentences: Sequence[Tokens], *, learn: bool) -> list[_Counts]:
        """The n-grams of every sentence, per length; unknown ones get ids from `size` up, kept if `learn`."""
        words = self.words if learn else dict[Hashable, int]()
        known = self.words
        flat: list[int] = []
        for sentence in sentences:
            if isinstance(sentence, str):
                raise TypeError("CIDEr takes lists of tokens; split the caption with wordgaze.evaluation.ptb")
            for word in sentence:
                number = known.get(word)
                if number is None:
                    number = words.setdefault(word, len(words) if learn else len(known) + len(words))
                flat.append(number)
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        row = np.repeat(np.arange(len(sentences)), lengths)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(flat))  # words to the sentence's end
        word_ids = np.asarray(flat, np.int64)
        gram, start = word_ids, np.arange(len(flat))
        counts = [_tally(row, gram)]
        for order in range(1, self.n):
            fits = left[start] > order
            start, gram = start[fits], gram[fits]
            gram = self._look_up(order, (gram << _WORD_BITS) | word_ids[start + order], learn)
            counts.append(_tally(row[start], gram))
        return counts

    def _look_up(self, order: int, keys: np.ndarray, learn: bool) -> np.ndarray:
        known, ids = self.keys[order - 1], self.ids[order - 1]
        place = np.searchsorted(known, keys)
        found = place < len(known)
        found[found] = known[place[found]] == keys[found]
        result = np.empty(len(keys), np.int64)
        result[found] = ids[place[found]]
        new, inverse = np.unique(keys[~found], return_inverse=True)
        result[~found] = len(known) + inverse
        if learn and len(new):
            merged = np.concatenate([known, new])
            order_of = np.argsort(merged, kind="stable")
            self.keys[order - 1] = merged[order_of]
            self.ids[order - 1] = np.concatenate([ids, len(known) + np.arange(len(new))])[order_of]
        return result


def _tally(rows: np.ndarray, ids: np.ndarray) -> _Counts:
    if not len(ids):
        return _Counts(rows, ids, np.empty(0, np.int64))
    span = int(ids.max()) + 1
    keys, first, times = np.unique(rows * span + ids, return_index=True, return_counts=True)
    appearance = np.argsort(first)  # sums then run in the order of the words, and agree to the last bit
    keys = keys[appearance]
    return _Counts(keys // span, keys % span, times[appearance])


class DocumentFrequencies:
    """In how many photos' references each n-gram stands: what CIDEr's idf is made of.

    `references` holds for each photo its tokenized references.
    """

    def __init__(self, references: Iterable[Sequence[Tokens]], n: int = 4) -> None:
        groups = list(references)
        self.photos = len(groups)
        self._index = _NgramIndex(n)
        self._frequencies = _frequencies(self._index, self._index.count(_flat(groups), learn=True), groups)


def _frequencies(
    index: _NgramIndex, counts: Sequence[_Counts], groups: Sequence[Sequence[Tokens]]
) -> list[np.ndarray]:
    """Per n-gram length and id, the number of groups that hold it."""
    owners, result = _owners(groups), []
    for order, grams in enumerate(counts):
        size = index.size(order)
        once = np.unique(owners[grams.rows] * size + grams.ids)
        result.append(np.bincount(once % max(size, 1), minlength=size))
    return result


def _flat(groups: Sequence[Sequence[Tokens]]) -> list[Tokens]:
    return [tokens for group in groups for tokens in group]


def _owners(groups: Sequence[Sequence[Tokens]]) -> np.ndarray:
    return np.repeat(np.arange(len(groups)), [len(group) for group in groups])


class CiderD:
    """CIDEr-D against fixed references: made once, then any number of candidate sets is scored fast.

    `references` maps a photo id to its tokenized references (lists of words or of word ids). The document frequencies
    are those of the references, unless others are given (SCST: those of the whole training set). Scores are on
    pycocoevalcap's scale (0 to 10). `DataError` where a photo has no reference or is not known.
    """

    def __init__(
        self,
        references: Mapping[Hashable, Sequence[Tokens]],
        *,
        frequencies: DocumentFrequencies | None = None,
        n: int = 4,
        sigma: float = 6.0,
    ) -> None:
        for photo, group in references.items():
            if not group:
                raise DataError(
                    f"photo {photo} has no reference caption; give it at least one or leave it out"
                )
        groups = list(references.values())
        self._photos = {photo: number for number, photo in enumerate(references)}
        self._sigma = sigma
        if frequencies is None:
            self._index = _NgramIndex(n)
            counts = self._index.count(_flat(groups), learn=True)
            photos, seen = len(groups), _frequencies(self._index, counts, groups)
        else:
            self._index = frequencies._index.copy()
            counts = self._index.count(_flat(groups), learn=True)
            photos, seen = frequencies.photos, frequencies._frequencies
        self._n = self._index.n
        self._unseen = np.log(float(max(photos, 1)))  # the idf of an n-gram that no document holds
        self._idf = []
        for order, times in enumerate(seen):
            idf = np.full(max(self._index.size(order), 1), self._unseen)
            idf[: len(times)] -= np.log(np.maximum(1.0, times))
            self._idf.append(idf)
        owners = _owners(groups)
        rows = len(owners)
        self._first = np.searchsorted(owners, np.arange(len(groups)))  # of each photo's references
        self._references = np.bincount(owners, minlength=len(groups))
        self._lengths = np.bincount(counts[1].rows, counts[1].times, rows)
        self._postings = []
        self._norms = []
        for order, grams in enumerate(counts):
            values = grams.times * self._idf[order][grams.ids]
            self._norms.append(np.sqrt(np.bincount(grams.rows, values * values, rows)))
            keys = owners[grams.rows] * len(self._idf[order]) + grams.ids
            by_key = np.argsort(keys, kind="stable")
            keys, start, times = np.unique(keys[by_key], return_index=True, return_counts=True)
            self._postings.append((keys, start, times, grams.rows[by_key], values[by_key]))

    def rewards(self, photos: Sequence[Hashable], candidates: Sequence[Tokens]) -> np.ndarray:
        """One score per candidate; a photo may come several times (the samples of SCST)."""
        try:
            owner = np.array([self._photos[photo] for photo in photos], np.int64)
        except KeyError as error:
            raise DataError(f"photo {error.args[0]} has no reference captions to score against") from None
        if len(owner) != len(candidates):
            raise DataError(f"there are {len(photos)} photo ids for {len(candidates)} candidate captions")
        counts = self._index.count(candidates, learn=False)
        width = self._references[owner]
        offset = np.cumsum(width) - width  # of each candidate's (candidate, reference) pairs
        pair_candidate = np.repeat(np.arange(len(owner)), width)
        pair_reference = (
            np.arange(len(pair_candidate)) - offset[pair_candidate] + self._first[owner][pair_candidate]
        )
        length = np.bincount(counts[1].rows, counts[1].times, len(owner))
        delta = length[pair_candidate] - self._lengths[pair_reference]
        size, which = np.unique(delta, return_inverse=True)
        penalty = np.array([math.e ** (-(d**2) / (2 * self._sigma**2)) for d in size.tolist()])[which]
        total = np.zeros(len(owner))
        for order, grams in enumerate(counts):
            idf = self._idf[order]
            known = grams.ids < self._index.size(order)
            weight = np.full(len(grams.ids), self._unseen)
            weight[known] = idf[grams.ids[known]]
            values = grams.times * weight
            norm = np.sqrt(np.bincount(grams.rows, values * values, len(owner)))
            keys, start, times, reference, strength = self._postings[order]
            wanted = owner[grams.rows] * len(idf) + grams.ids
            place = np.searchsorted(keys, wanted)
            hit = known & (place < len(keys))
            hit[hit] = keys[place[hit]] == wanted[hit]
            place = place[hit]
            repeat = times[place]
            entry = np.repeat(start[place] - (np.cumsum(repeat) - repeat), repeat) + np.arange(repeat.sum())
            row = np.repeat(grams.rows[hit], repeat)
            product = np.minimum(np.repeat(values[hit], repeat), strength[entry]) * strength[entry]
            pair = offset[row] + reference[entry] - self._first[owner[row]]
            similarity = np.bincount(pair, product, len(pair_candidate)).astype(np.float64)  # of nothing: integers
            scale = norm[pair_candidate] * self._norms[order][pair_reference]
            np.divide(similarity, scale, out=similarity, where=scale != 0)
            total += np.bincount(pair_candidate, similarity * penalty, len(owner))
        return total / self._n / width * 10.0

    def score(self, candidates: Mapping[Hashable, Tokens]) -> tuple[float, np.ndarray]:
        """The mean over the candidates, and each one's score in their order."""
        each = self.rewards(list(candidates), list(candidates.values()))
        return math.fsum(each) / max(len(each), 1), each
