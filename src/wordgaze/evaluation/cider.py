"""CIDEr-D of tokenized captions, the references prepared once (Vedantam et al. 2015, sections 4 and 5).

An n-gram is an integer, a caption's n-grams are arrays of them; sums run in the order of the words, so that they
agree with pycocoevalcap's to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from wordgaze.errors import DataError

Id = TypeVar("Id", bound=Hashable)
Tokens = Sequence[Hashable]  # words, or ids of words
N = 4  # n-grams of one to four words
SIGMA = 6.0  # of the length penalty, in words
_WORD_BITS = 31


@dataclass(frozen=True)
class _Ngrams:
    """The different n-grams of one length in all sentences, sentence by sentence, as they first appear."""

    sentence: np.ndarray
    ids: np.ndarray
    times: np.ndarray  # how often, in that sentence


class _Vocabulary:
    """Integer ids of words and n-grams; an n-gram is the id of its words but the last, and the last word's id."""

    def __init__(self) -> None:
        self._words: dict[Hashable, int] = {}
        self._keys = [np.empty(0, np.int64) for _ in range(N)]  # sorted; for single words unused
        self._ids = [np.empty(0, np.int64) for _ in range(N)]  # of those keys

    def copy(self) -> _Vocabulary:
        """The same ids, free to learn more."""
        new = _Vocabulary()
        new._words, new._keys, new._ids = dict(self._words), list(self._keys), list(self._ids)
        return new

    def size(self, order: int) -> int:
        """How many n-grams of `order` + 1 words are known; their ids are the numbers below."""
        return len(self._keys[order]) if order else len(self._words)

    def count(self, sentences: Sequence[Tokens], *, learn: bool) -> list[_Ngrams]:
        """The n-grams of all sentences, per length; unknown ones get ids from `size` up, and keep them if `learn`."""
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        words = self._word_ids(sentences, learn)
        sentence = np.repeat(np.arange(len(sentences)), lengths)
        remaining = np.repeat(np.cumsum(lengths), lengths) - np.arange(
            len(words)
        )  # words to the sentence's end
        start, grams = np.arange(len(words)), words
        counts = [_tally(sentence, words)]
        for order in range(1, N):
            longer = remaining[start] > order
            start, grams = start[longer], grams[longer]
            grams = self._ngram_ids(order, grams << _WORD_BITS | words[start + order], learn)
            counts.append(_tally(sentence[start], grams))
        return counts

    def _word_ids(self, sentences: Sequence[Tokens], learn: bool) -> np.ndarray:
        known = self._words
        new = known if learn else {}
        ids: list[int] = []
        for sentence in sentences:
            if isinstance(sentence, str):
                raise TypeError("CIDEr takes a caption's words as a list, not as one string")
            for word in sentence:
                number = known.get(word)
                if number is None:
                    number = new.setdefault(word, len(new) if learn else len(known) + len(new))
                ids.append(number)
        return np.array(ids, np.int64)

    def _ngram_ids(self, order: int, keys: np.ndarray, learn: bool) -> np.ndarray:
        known, ids = self._keys[order], self._ids[order]
        place, found = _find(known, keys)
        result = np.empty(len(keys), np.int64)
        result[found] = ids[place[found]]
        new, which = np.unique(keys[~found], return_inverse=True)
        result[~found] = len(known) + which
        if learn:
            keys = np.concatenate([known, new])
            by_key = np.argsort(keys)
            self._keys[order] = keys[by_key]
            self._ids[order] = np.concatenate([ids, len(known) + np.arange(len(new))])[by_key]
        return result


def _find(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in the sorted `keys` each wanted one is, and whether it is there."""
    place = np.searchsorted(keys, wanted)
    found = place < len(keys)
    found[found] = keys[place[found]] == wanted[found]
    return place, found


def _tally(sentence: np.ndarray, ids: np.ndarray) -> _Ngrams:
    span = int(ids.max(initial=0)) + 1
    keys, first, times = np.unique(sentence * span + ids, return_index=True, return_counts=True)
    appearance = np.argsort(first)
    return _Ngrams(keys[appearance] // span, keys[appearance] % span, times[appearance])


class DocumentFrequencies:
    """In how many photos' references each n-gram occurs: what CIDEr weights n-grams by.

    `references` holds each photo's tokenized references.
    """

    def __init__(self, references: Iterable[Sequence[Tokens]]) -> None:
        groups = list(references)
        self.photos = len(groups)
        self._vocabulary = _Vocabulary()
        self._ngrams = self._vocabulary.count(_flat(groups), learn=True)
        owner = _owners(groups)
        self._times: list[np.ndarray] = []  # per length, by id
        for order, grams in enumerate(self._ngrams):
            size = max(1, self._vocabulary.size(order))
            self._times.append(np.bincount(np.unique(owner[grams.sentence] * size + grams.ids) % size))


def _flat(groups: Sequence[Sequence[Tokens]]) -> list[Tokens]:
    return [tokens for group in groups for tokens in group]


def _owners(groups: Sequence[Sequence[Tokens]]) -> np.ndarray:
    return np.repeat(np.arange(len(groups)), [len(group) for group in groups])


@dataclass(frozen=True)
class _Postings:
    """The references' n-grams of one length, to be found by (photo, n-gram)."""

    keys: np.ndarray  # sorted, different
    start: np.ndarray  # of each key's entries
    entries: np.ndarray  # how many it has
    reference: np.ndarray  # of each entry
    weight: np.ndarray  # tf-idf of each entry
    norm: np.ndarray  # of each reference


class CiderD:
    """CIDEr-D against fixed references, prepared once; then any number of candidate sets is scored fast.

    `references` maps a photo's id to its tokenized references, lists of words or of word ids. Document frequencies
    are the references' own unless others are given, as for self-critical training on the whole training set's.
    Scores are on pycocoevalcap's scale, 0 to 10. `DataError` where a photo has no reference.
    """

    def __init__(
        self,
        references: Mapping[Id, Sequence[Tokens]],
        *,
        frequencies: DocumentFrequencies | None = None,
    ) -> None:
        for photo, group in references.items():
            if not group:
                raise DataError(
                    f"photo {photo} has no reference caption; give it one, or leave the photo out"
                )
        groups = list(references.values())
        self._rows: dict[Hashable, int] = {photo: row for row, photo in enumerate(references)}
        if frequencies is None:
            frequencies = DocumentFrequencies(groups)
            self._vocabulary, ngrams = frequencies._vocabulary, frequencies._ngrams
        else:
            self._vocabulary = frequencies._vocabulary.copy()
            ngrams = self._vocabulary.count(_flat(groups), learn=True)
        self._unknown = np.log(float(max(1, frequencies.photos)))  # the idf of an n-gram in no document
        owner = _owners(groups)
        self._width = np.bincount(owner, minlength=len(groups))  # references of each photo
        self._first = np.cumsum(self._width) - self._width
        self._idf: list[np.ndarray] = []
        self._postings: list[_Postings] = []
        for grams, times in zip(ngrams, frequencies._times, strict=True):
            idf = np.full(max(len(times), int(grams.ids.max(initial=0)) + 1), self._unknown)
            idf[: len(times)] -= np.log(np.maximum(1.0, times))
            self._idf.append(idf)
            self._postings.append(_post(grams, idf, owner))
        self._bigrams = _bigrams(ngrams, len(owner))

    def rewards(self, photos: Sequence[Hashable], candidates: Sequence[Tokens]) -> np.ndarray:
        """The score of each candidate against the references of the photo beside it, `(candidates,)` float64.

        A photo may come any number of times, as the samples of self-critical training do. `DataError` where a
        photo is unknown.
        """
        if len(photos) != len(candidates):
            raise DataError(
                f"{len(candidates)} captions came with {len(photos)} photo ids; give one id a caption"
            )
        try:
            photo = np.array([self._rows[photo] for photo in photos], np.int64)
        except KeyError as error:
            raise DataError(
                f"photo {error.args[0]} has no reference captions; add them, or leave it out"
            ) from None
        ngrams = self._vocabulary.count(candidates, learn=False)
        width = self._width[photo]
        # Each candidate has a pair with each of its photo's references; `shift` leads from reference to pair.
        shift = np.cumsum(width) - width - self._first[photo]
        candidate = np.repeat(np.arange(len(photo)), width)
        reference = np.arange(len(candidate)) - shift[candidate]
        penalty = _length_penalty(_bigrams(ngrams, len(photo))[candidate] - self._bigrams[reference])
        total = np.zeros(len(photo))
        for grams, idf, posted in zip(ngrams, self._idf, self._postings, strict=True):
            known = grams.ids < len(idf)
            weight = grams.times * np.where(known, idf[np.where(known, grams.ids, 0)], self._unknown)
            norm = _norms(grams, weight, len(photo))
            place, found = _find(posted.keys, photo[grams.sentence] * len(idf) + grams.ids)
            found &= known
            place, times = place[found], posted.entries[place[found]]
            entry = np.arange(times.sum()) + np.repeat(posted.start[place] - np.cumsum(times) + times, times)
            pair = np.repeat(shift[grams.sentence[found]], times) + posted.reference[entry]
            # CIDEr-D clips the candidate's weight, so that repeating a word of the references wins nothing.
            product = np.minimum(np.repeat(weight[found], times), posted.weight[entry]) * posted.weight[entry]
            similarity = _sums(pair, product, len(candidate))
            scale = norm[candidate] * posted.norm[reference]
            np.divide(similarity, scale, out=similarity, where=scale != 0)
            total += _sums(candidate, similarity * penalty, len(photo))
        return total / N / width * 10.0

    def score(self, candidates: Mapping[Id, Tokens]) -> tuple[float, np.ndarray]:
        """The mean over the candidates, one a photo, and each one's score in their order."""
        each = self.rewards(list(candidates), list(candidates.values()))
        return math.fsum(each) / max(1, len(each)), each


def _post(grams: _Ngrams, idf: np.ndarray, owner: np.ndarray) -> _Postings:
    weight = grams.times * idf[grams.ids]
    keys = owner[grams.sentence] * len(idf) + grams.ids
    order = np.argsort(keys, kind="stable")
    keys, start, entries = np.unique(keys[order], return_index=True, return_counts=True)
    norm = _norms(grams, weight, len(owner))
    return _Postings(keys, start, entries, grams.sentence[order], weight[order], norm)


def _norms(grams: _Ngrams, weight: np.ndarray, sentences: int) -> np.ndarray:
    return np.sqrt(_sums(grams.sentence, weight * weight, sentences))


def _sums(where: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Sums of the values by place, in their order, `(size,)`; float64 also where there are none."""
    return np.bincount(where, values, size).astype(np.float64, copy=False)


def _bigrams(ngrams: Sequence[_Ngrams], sentences: int) -> np.ndarray:
    """The sentences' lengths as pycocoevalcap's penalty takes them: in bigrams, not words."""
    return _sums(ngrams[1].sentence, ngrams[1].times, sentences)


def _length_penalty(difference: np.ndarray) -> np.ndarray:
    values, which = np.unique(difference, return_inverse=True)
    return np.array([math.e ** (-(value**2) / (2 * SIGMA**2)) for value in values.tolist()])[which]
